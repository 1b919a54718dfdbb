"""TritonServer with a real Triton: what it opens, what it closes, what it leaves."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil
import socket
import subprocess
import time
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest
import tritonclient.grpc as triton

from nemotron_serving.launcher.errors import StartError
from nemotron_serving.launcher.options import ServeOptions, TlsFiles
from nemotron_serving.launcher.processes import Turns
from nemotron_serving.launcher.server import TritonServer
from nemotron_serving.launcher.triton_command import ADMIN_HEADER, RESTRICTED
from tests.integration.conftest import Server
from tests.waiting import allowed, wait_until

from .conftest import left_behind
from .raw_grpc import is_answered

ADMIN_PATHS = {
    "shared-memory": "/v2/systemsharedmemory/status",
    "statistics": "/v2/models/stats",
    "trace": "/v2/trace/setting",
    "logging": "/v2/logging",
}


def get(server: TritonServer, path: str, **headers: str) -> int:
    connection = HTTPConnection(server.endpoints.host, server.endpoints.http_port, timeout=30)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status


def test_it_answers_and_leaves_nothing(options: ServeOptions, tmp_path: Path) -> None:
    with TritonServer(options) as server:
        connection = HTTPConnection(server.endpoints.host, server.endpoints.http_port, timeout=30)
        body = json.dumps({"text_input": "Hi", "max_tokens": 3})
        connection.request("POST", "/v2/models/ensemble/generate", body)
        answer = json.loads(connection.getresponse().read())
        connection.close()
        assert answer["text_output"] == "word word word "
        wait_until(lambda: server.in_flight() == 0)  # the last response is sent a moment before the request is over
        assert list(server.model_pids) == ["ensemble"]
        server.stop()
        # Not only at the end: a start after this one makes its own.
        assert not list(Path("/dev/shm").glob(f"{server.runtime_dir.name}*"))  # noqa: S108
    assert not server.runtime_dir.exists()
    assert not left_behind(tmp_path)


def test_a_cleaner_of_temporary_files_leaves_it_alone(roomy_server: Server) -> None:
    """systemd-tmpfiles takes such a lock on what it is about to remove, or leaves it."""
    directory = os.open(roomy_server.info["runtime_dir"], os.O_RDONLY)
    try:
        with pytest.raises(BlockingIOError):
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(directory)


def test_what_it_writes_is_for_this_user_alone(roomy_server: Server) -> None:
    """Prompts and answers pass through the shared memory, and stay there until others take their place."""
    roomy_server.generate(text_input="Hi", max_tokens=2)
    runtime_dir = Path(roomy_server.info["runtime_dir"])
    shared_memory = list(Path("/dev/shm").glob(f"{runtime_dir.name}*"))  # noqa: S108
    assert shared_memory
    for path in (runtime_dir, Path(roomy_server.info["log"]), *shared_memory):
        assert path.stat().st_mode & 0o077 == 0, path
    triton = psutil.Process(roomy_server.info["triton_pid"])
    for process in (triton, *triton.children(recursive=True)):
        assert "Umask:\t0077" in Path(f"/proc/{process.pid}/status").read_text(), process


def test_a_hang_says_which_process_a_signal_has_stopped(options: ServeOptions) -> None:
    with TritonServer(dataclasses.replace(options, hang_seconds=1.0)) as server:
        assert server.hang() is None
        psutil.Process(server.model_pids["ensemble"]).suspend()
        hang: str | None = None
        deadline = time.monotonic() + allowed(10)
        while hang is None and time.monotonic() < deadline:
            server.sleep(0.05)
            hang = server.hang()
        assert hang is not None
        assert "has made no progress for" in hang
        assert hang.endswith("(stopped by a signal: the process of model 'ensemble')")


def test_what_the_machine_keeps_from_running_does_not_hang(
    options: ServeOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    withheld = [True]
    monkeypatch.setattr(Turns, "withheld", lambda _: withheld[0])
    with TritonServer(dataclasses.replace(options, hang_seconds=1.0)) as server:
        psutil.Process(server.model_pids["ensemble"]).suspend()
        for _ in range(30):
            assert server.hang() is None
            server.sleep(0.1)
        withheld[0] = False
        wait_until(server.hang)


def test_endpoints_for_administrators_want_the_key(options: ServeOptions) -> None:
    with TritonServer(dataclasses.replace(options, admin_key="opensesame")) as server:
        assert set(ADMIN_PATHS) == set(RESTRICTED) - {"model-repository"}, "that one has no GET"
        for path in ADMIN_PATHS.values():
            assert get(server, path) == 403, path
            assert get(server, path, **{ADMIN_HEADER: "guess"}) == 403, path
            assert get(server, path, **{ADMIN_HEADER: "opensesame"}) == 200, path
        for path in ("/v2", "/v2/health/ready", "/v2/models/ensemble", "/v2/models/ensemble/config"):
            assert get(server, path) == 200, path
        client = triton.InferenceServerClient(f"{server.endpoints.host}:{server.endpoints.grpc_port}")
        assert client.get_model_metadata("ensemble").name == "ensemble"
        with pytest.raises(triton.InferenceServerException, match="restricted"):
            client.get_model_repository_index()
        assert client.get_model_repository_index(headers={f"triton-grpc-protocol-{ADMIN_HEADER}": "opensesame"})
        client.close()


def test_without_a_key_nothing_opens_them_also_for_who_reads_the_arguments(options: ServeOptions) -> None:
    """Every user of a machine sees them. The header is one that neither protocol can carry."""
    service = "/inference.GRPCInferenceService"
    with TritonServer(options) as server:
        where = (server.endpoints.host, server.endpoints.grpc_port)
        (restricted,) = [one for one in psutil.Process(server.pid).cmdline() if "--http-restricted-api" in one]
        name, _, value = restricted.partition(f"{RESTRICTED[-1]}:")[2].partition("=")
        for path in ADMIN_PATHS.values():
            lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close", f"{name}: {value}", "", ""]
            with socket.create_connection((server.endpoints.host, server.endpoints.http_port), 10) as connection:
                connection.sendall("\r\n".join(lines).encode())
                assert connection.recv(100).startswith(b"HTTP/1.1 403 ")
        assert is_answered(where, f"{service}/ServerLive", "a", "b")
        for method in ("LogSettings", "TraceSetting", "SystemSharedMemoryStatus", "ModelStatistics", "RepositoryIndex"):
            assert not is_answered(where, f"{service}/{method}", f"triton-grpc-protocol-{name}", value)
    with TritonServer(dataclasses.replace(options, admin_key="opensesame")) as server:
        where = (server.endpoints.host, server.endpoints.grpc_port)
        assert is_answered(where, f"{service}/LogSettings", f"triton-grpc-protocol-{ADMIN_HEADER}", "opensesame")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
def test_mutual_tls(options: ServeOptions, tmp_path: Path) -> None:
    certificate, key = tmp_path / "server.crt", tmp_path / "server.key"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, *subject],
        check=True,
        capture_output=True,
    )
    secured = dataclasses.replace(options, tls=TlsFiles(certificate, key, client_ca=certificate))
    with TritonServer(secured) as server:
        scheme, _, address = server.endpoints.grpc_url.partition("://")
        assert scheme == "grpcs"
        files = {"root_certificates": str(certificate), "private_key": str(key), "certificate_chain": str(certificate)}
        client = triton.InferenceServerClient(address, ssl=True, **files)
        assert client.is_server_ready()
        client.close()
        stranger = triton.InferenceServerClient(address, ssl=True, root_certificates=str(certificate))
        with pytest.raises(triton.InferenceServerException):
            stranger.is_server_ready(client_timeout=2)
        stranger.close()


def test_a_model_that_fails_is_the_reason(options: ServeOptions, repository: Path, tmp_path: Path) -> None:
    (repository / "ensemble" / "1" / "model.py").write_text("import no_such_module\n")
    with pytest.raises(StartError, match=r"model 'ensemble': ModuleNotFoundError: No module named 'no_such_module'$"):
        TritonServer(options).__enter__()
    assert not left_behind(tmp_path)


def test_a_configuration_that_cannot_be_read_is_the_reason(options: ServeOptions, repository: Path) -> None:
    (repository / "ensemble" / "config.pbtxt").write_text('backend: "python"\nmax_batch_sizes: 1\n')
    with pytest.raises(StartError, match="max_batch_sizes"):
        TritonServer(options).__enter__()


def test_the_first_request_has_to_be_answered(options: ServeOptions, repository: Path) -> None:
    model = repository / "ensemble" / "1" / "model.py"
    model.write_text(model.read_text().replace("if self.runtime_dir.draining():", "if True:"))
    with pytest.raises(StartError, match=r"first request was answered with HTTP .*draining, try again"):
        TritonServer(options).__enter__()


def test_a_start_that_takes_too_long(options: ServeOptions, repository: Path, tmp_path: Path) -> None:
    model = repository / "ensemble" / "1" / "model.py"
    model.write_text(model.read_text().replace("    def finalize", "        time.sleep(60)\n\n    def finalize"))
    with pytest.raises(StartError, match="not ready after 1 s"):
        TritonServer(dataclasses.replace(options, start_seconds=1)).__enter__()
    assert not left_behind(tmp_path)
