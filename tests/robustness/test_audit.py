"""A marked prompt goes through every kind of request and error, and is looked for wherever others might read it."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as services

from tests.integration.conftest import Server, serving
from tests.robustness.leaving import waiting_call
from tests.robustness.observing import IN_FLIGHT, SHARED_MEMORY, nothing_left, processes, wait_until_restarted
from tests.robustness.odd_values import MARK
from tests.robustness.sessions import SessionCaller
from tests.waiting import wait_until

PLACES = 6
MESSAGES = f'[{{"role": "user", "content": "{MARK}"}}]'
TOOLS = f'[{{"type": "function", "function": {{"name": "f", "description": "{MARK}", "parameters": {{}}}}}}]'
LONG: Mapping[str, Any] = {"text_input": f"[sim:random] {MARK}", "max_tokens": 100_000}

ANSWERED: dict[str, Mapping[str, Any]] = {
    "text": {"text_input": MARK, "max_tokens": 3},
    "messages": {"messages": MESSAGES, "max_tokens": 3},
    "thinking": {"text_input": f"[sim:think] {MARK}", "thinking": True},
    "tools": {"text_input": f"[sim:tool] {MARK}", "tools": TOOLS},
    "stop words": {"text_input": "Hi", "stop_words": [MARK], "max_tokens": 3},
    "raw prompt": {"text_input": MARK, "raw_prompt": True, "max_tokens": 3},
    "prompt in the answer": {"text_input": MARK, "exclude_input_in_output": False, "max_tokens": 3},
    "deadline": {**LONG, "timeout_ms": 200},
}
REFUSED: dict[str, Mapping[str, Any] | bytes] = {
    "range": {"text_input": MARK, "max_tokens": -1},
    "unknown name": {"text_input": MARK, "max_tokenz": 3},
    "unknown name with the mark": {"text_input": "Hi", MARK: MARK},
    "wrong type": {"text_input": MARK, "max_tokens": MARK},
    "not JSON in JSON": {"messages": MESSAGES[:-2]},
    "wrong shape of JSON": {"messages": f'[{{"role": "{MARK}", "content": ["{MARK}"]}}]'},
    "bad tools": {"text_input": MARK, "tools": TOOLS[1:-1]},
    "bad schema": {"text_input": MARK, "response_format": f'{{"type": "json_schema", "json_schema": "{MARK}"}}'},
    "bad tool choice": {"text_input": MARK, "tools": TOOLS, "tool_choice": MARK},
    "both": {"text_input": MARK, "messages": MESSAGES},
    "too long": {"text_input": f"{MARK} " * 6_000},
    "an engine that fails": {"text_input": f"[sim:fail] {MARK}"},
    "no JSON": f'{{"text_input": "{MARK}", '.encode(),
    "no UTF-8": b'{"text_input": "%s\xff"}' % MARK.encode(),
    "deeply nested": b'{"text_input": "%s", "a": %s}' % (MARK.encode(), b"[" * 5000),
    "nothing": b'["%s"]' % MARK.encode(),
}


@pytest.fixture(scope="module")
def audited(simulated_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A small server with all that can be logged; everything that it gets holds the mark."""
    directory = tmp_path_factory.mktemp("audited")
    package = simulated_package("--token-ms", "2", "--max-batch-size", "4", "--max-waiting", "2")
    with serving(package, directory, "--log-dir", str(directory / "logs")) as server:
        ask_in_every_way(server)
        yield server


@pytest.fixture(scope="module")
def session_key(audited: Server) -> str:
    """The key of a session on which one request was answered, one failed, one was refused and one was left."""
    with SessionCaller(audited.grpc_address) as caller:
        caller.open()
        caller.ask("answered", 3)
        caller.ask("failed", 3, f"[sim:fail] {MARK}")
        caller.ask("refused", -1, MARK)
        caller.ask("left", 1000)
        caller.read_until_ended("answered", "failed", "refused")
        return caller.key


def ask_in_every_way(server: Server) -> None:
    """Good requests, refused ones, and such that are cancelled, stopped, too many, or there when the server dies."""
    for name, inputs in ANSWERED.items():
        assert server.post("/v2/models/ensemble/generate", dict(inputs))[0] == 200, name
        assert server.post("/v2/models/unary/generate", dict(inputs))[0] == 200, name
        assert server.post("/v2/models/ensemble/generate_stream", {**inputs, "stream": True})[0] == 200, name
    for name, body in REFUSED.items():
        for path in ("ensemble/generate", "ensemble/generate_stream", "unary/generate", "preprocessing/generate"):
            refused = server.post(f"/v2/models/{path}", body if isinstance(body, bytes) else dict(body))
            assert refused[0] != 200 or "error" in refused[1] or "input_ids" in refused[1], (name, refused)
    with grpc.insecure_channel(server.grpc_address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        ask_over_grpc(server, channel)
        kill_meanwhile(server, channel)


def ask_over_grpc(server: Server, channel: grpc.Channel) -> None:
    stub = services.GRPCInferenceServiceStub(channel)
    for model in ("ensemble", "unary"):
        calls = [waiting_call(channel, model, MARK, timeout_ms=3000) for _ in range(PLACES)]
        wait_until(lambda: server.metric(IN_FLIGHT) == PLACES)
        assert server.post("/v2/models/ensemble/generate", dict(LONG))[0] != 200  # it is full
        for call in calls[1:]:
            call.cancel()
        list(calls[0])
        wait_until(lambda: nothing_left(server), 30)
    request = pb.ModelInferRequest(model_name="ensemble")
    request.inputs.add(
        name="text_input", datatype="FP32", shape=[1, 1]
    )  # of the wrong type, with the text as its bytes
    request.raw_input_contents.append(MARK.encode())
    (response,) = stub.ModelStreamInfer(iter([request]))
    assert response.error_message


def kill_meanwhile(server: Server, channel: grpc.Channel) -> None:
    calls = [waiting_call(channel, "ensemble", MARK) for _ in range(3)]
    wait_until(lambda: server.metric(IN_FLIGHT) == len(calls))
    processes(server)["tensorrt_llm"].kill()
    for call in calls:
        with pytest.raises(grpc.RpcError):
            list(call)
    wait_until_restarted(server, 1)


def readable_places(server: Server) -> dict[str, bytes]:
    """What is on disk, on the metrics' page, and in the list of processes."""
    directories = [Path(server.info["runtime_dir"]), server.ready_file.parent]
    found = {
        str(path): path.read_bytes()
        for directory in directories
        for path in directory.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
    for name in ("metrics_url", "http_url"):
        with contextlib.suppress(OSError), urllib.request.urlopen(str(server.info[name]), timeout=10) as response:
            found[name] = response.read()
    for name, process in processes(server).items():
        for file in ("cmdline", "environ"):
            found[f"{name} {file}"] = Path(f"/proc/{process.pid}/{file}").read_bytes()
    return found


def test_the_mark_is_nowhere_on_disk_or_on_a_page(audited: Server, session_key: str) -> None:
    """Nor is the key of a session."""
    places = readable_places(audited)
    for secret in (MARK, session_key):
        assert [name for name, content in places.items() if secret.encode() in content] == []
    # Those that would have it are among them: the log, the metrics, the list of processes.
    said = [name for name, content in places.items() if b"nemotron" in content]
    assert any(name.endswith("logs/triton.log") for name in said)
    assert any(name.endswith("serve.log") for name in said)
    assert {"metrics_url", "tritonserver cmdline", "tensorrt_llm environ"} <= set(said)


def test_only_the_user_may_read_what_is_in_memory(audited: Server) -> None:
    """Prompts are in these files; nobody else may open them, nor the directory that the processes share."""
    runtime_dir = Path(audited.info["runtime_dir"])
    files = list(SHARED_MEMORY.glob(f"{runtime_dir.name}-*"))
    assert files
    closed = [*files, runtime_dir, *runtime_dir.rglob("*.log"), *audited.ready_file.parent.glob("logs/*.log")]
    for path in closed:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
        assert path.stat().st_uid == os.getuid(), path


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_cannot_read_what_is_in_memory(audited: Server) -> None:
    runtime_dir = Path(audited.info["runtime_dir"])
    secrets = [*SHARED_MEMORY.glob(f"{runtime_dir.name}-*"), runtime_dir / "triton.log"]
    secrets += [Path(f"/proc/{process.pid}/environ") for process in processes(audited).values()]
    for path in secrets:
        tried = subprocess.run(
            ["cat", path], user="nobody", group="nogroup", extra_groups=[], capture_output=True, check=False
        )
        assert (tried.returncode, tried.stdout) == (1, b""), path
