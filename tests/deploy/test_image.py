"""The image of deploy/image, run with the limits that a deployment sets, and without any way out of its network."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from nemotron_client import Client
from tests.deploy.podman import DOCKERFILE, HARDENED, IMAGE, ROOT, START_S, VERSION, Container, Podman
from tests.deploy.tools import tool
from tests.integration.conftest import demo_package
from tests.waiting import wait_until

__all__ = ["demo_package"]  # a fixture

pytestmark = pytest.mark.timeout(1800)  # what comes first makes the image

QUESTION = "What is the capital of France?"
SIMULATED = "/opt/nemotron/packages/simulated"
REACHED = ("--bind", "0.0.0.0", "--openai-port", "9000")  # noqa: S104 - of a container
GIB = 2**30
# What a question takes from a slow machine.
ANSWER_S = 120


@contextmanager
def serving(podman: Podman, *arguments: str, options: tuple[str, ...] = ()) -> Iterator[Container]:
    """A server with all limits, once it answers."""
    with podman.container(*arguments, *REACHED, options=[*HARDENED, *options]) as container:
        container.wait_ready()
        yield container


@pytest.fixture(scope="module")
def servers(podman: Podman, demo_package: Path) -> Iterator[dict[str, Container]]:
    """The image's own package as its own user, and the demo's real model as one that no image knows of."""
    mount = f"--mount=type=bind,source={demo_package},target=/package,readonly"
    with ExitStack() as stack:
        yield {
            "simulated": stack.enter_context(serving(podman, SIMULATED)),
            "demo": stack.enter_context(serving(podman, "/package", options=("--user=1234567:0", mount))),
        }


@pytest.fixture(params=["simulated", "demo"])
def server(request: pytest.FixtureRequest, servers: dict[str, Container]) -> Container:
    """Each of them."""
    return servers[request.param]


def ask(container: Container, question: str, *, tokens: int = 4) -> str:
    """An answer over OpenAI's API."""
    body = {"messages": [{"role": "user", "content": question}], "max_tokens": tokens}
    request = urllib.request.Request(
        f"http://{container.address}:9000/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=ANSWER_S) as response:
        choice: dict[str, Any] = json.load(response)["choices"][0]
    return str(choice["message"]["content"])


def test_the_front_and_grpc_answer(server: Container) -> None:
    assert ask(server, QUESTION)
    with Client(f"grpc://{server.address}:8001", timeouts=ANSWER_S) as client:
        assert client.chat([{"role": "user", "content": QUESTION}], max_tokens=4).content


def test_it_has_no_rights(server: Container) -> None:
    status = dict(re.findall(r"^(\w+):\s+(.*)$", server.execute("cat", "/proc/1/status"), re.MULTILINE))
    assert {
        name: int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    } == dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), 0)
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert "0" not in status["Uid"].split()


def test_only_tmp_and_shared_memory_can_be_written_to(server: Container) -> None:
    ask(server, QUESTION)
    places = (
        "/ /etc /home /opt/nemotron /opt/nemotron/bin /opt/nemotron/packages /package /run /usr /var/tmp /tmp /dev/shm"
    )
    written = server.execute("sh", "-c", f"for d in {places}; do touch $d/x 2>/dev/null && echo $d; done; true")
    assert written == "/tmp\n/dev/shm\n"  # noqa: S108


def test_it_fits_into_its_limits(server: Container) -> None:
    with Client(f"grpc://{server.address}:8001", timeouts=ANSWER_S) as client:
        replies = [client.chat([{"role": "user", "content": QUESTION}], max_tokens=64) for _ in range(3)]
    assert all(reply.content for reply in replies)
    state = server.podman.inspect("container", server.name)["State"]
    assert state["Running"]
    assert not state["OOMKilled"]
    most = server.execute(
        "sh", "-c", "cat /sys/fs/cgroup/memory/memory.max_usage_in_bytes /sys/fs/cgroup/memory.peak 2>/dev/null || true"
    ).split()
    # Pages of files count up to the limit and are given back: what cannot be is less.
    assert most and int(most[0]) <= GIB
    used = sum(
        int(line.split()[1]) * 1024
        for line in server.execute("sh", "-c", "cat /proc/[0-9]*/smaps_rollup 2>/dev/null || true").splitlines()
        if line.startswith("Pss_Anon:")
    )
    assert 0 < used < 0.9 * GIB


def test_the_log_has_no_prompts(server: Container) -> None:
    mark = f"mark{secrets.token_hex(8)}"
    ask(server, mark)
    assert mark not in server.log
    assert server.execute("sh", "-c", f"grep -rl {mark} /tmp || true") == ""


def test_check_knows_the_limits(servers: dict[str, Container]) -> None:
    said = servers["demo"].execute("nemotron-serve", "check", "/package", check=False)
    memory = re.search(r"memory +([\d.]+) of ([\d.]+) GiB", said)
    assert memory and float(memory[2]) == pytest.approx(1, abs=0.05), said
    assert re.search(r"threads +.*1024", said), said


@pytest.mark.parametrize(
    "program", ["nemotron-bench", "nemotron-build", "nemotron-chat", "nemotron-front", "nemotron-serve"]
)
def test_programs_start(servers: dict[str, Container], program: str) -> None:
    assert f"usage: {program}" in servers["simulated"].execute(program, "--help")


def test_health_is_asked_for(servers: dict[str, Container], podman: Podman) -> None:
    for server in servers.values():
        podman.run("healthcheck", "run", server.name)


def test_sigterm_lets_a_running_answer_end(podman: Podman) -> None:
    with serving(podman, SIMULATED) as server, ThreadPoolExecutor() as pool:
        # Five seconds with 3 ms a token, and none stops before its last.
        asked = pool.submit(ask, server, "[sim:random]", tokens=1600)
        wait_until(lambda: running_requests(server) == 1, START_S)
        podman.run("kill", "--signal=TERM", server.name)
        assert asked.result()
        podman.run("wait", server.name)
        assert server.exit_status == 0


def running_requests(server: Container) -> float:
    with urllib.request.urlopen(f"http://{server.address}:8002/metrics", timeout=30) as response:
        found = re.findall(r"^nemotron_requests_in_flight(?:\{.*\})? (\S+)$", response.read().decode(), re.MULTILINE)
    return sum(map(float, found))


def test_a_start_without_a_package_says_so(podman: Podman) -> None:
    with podman.container(options=HARDENED) as container:
        podman.run("wait", container.name)
        assert container.exit_status == 2
        assert "/package" in container.log
        assert "Traceback" not in container.log


def test_a_start_without_memory_says_so(podman: Podman) -> None:
    options = [*HARDENED, "--memory=64m", "--memory-swap=64m"]
    with podman.container(SIMULATED, *REACHED, options=options) as container:
        podman.run("wait", container.name, timeout=START_S)
        assert "Traceback" not in container.log
        # The kernel may choose the first process, which then says no more.
        assert container.exit_status in {1, 137}
        if container.exit_status == 1:
            assert "for want of memory" in container.log


def test_nothing_of_the_build_stays(podman: Podman) -> None:
    """No settings and no cache of pip, no compiler, and none of our tests."""
    found = podman.run(
        "run", "--rm", "--network=none", "--entrypoint=sh", IMAGE, "-c",
        "ls /etc/pip.conf /run/secrets /root/.cache /src /locks /opt/build 2>/dev/null;"
        "find /opt/nemotron -name tests -path '*/site-packages/*'; find /opt/nemotron -name pip -maxdepth 5;"
        "find / -xdev -perm -0002 -type f 2>/dev/null; find /opt /usr/local -perm -4000 2>/dev/null",
        check=False,
    ).stdout  # fmt: skip
    assert found == ""
    history = podman.run("history", "--no-trunc", "--format={{.CreatedBy}}", IMAGE).stdout
    assert "BEGIN CERTIFICATE" not in history
    labels = podman.inspect("image", IMAGE)["Labels"]
    assert labels["org.opencontainers.image.version"] == VERSION


def test_linters_find_nothing() -> None:
    files = sorted(map(str, DOCKERFILE.parent.glob("Dockerfile*")))
    assert len(files) == 2
    run([tool("hadolint"), *files])
    said = run(
        [
            tool("checkov"),
            "--skip-download",
            "--framework=dockerfile",
            "--output=json",
            f"--directory={DOCKERFILE.parent}",
        ]
    )
    summary = json.loads(said)["summary"]
    assert summary["failed"] == 0
    assert summary["passed"] > 50


def test_the_sbom_names_what_the_lock_names(podman: Podman, servers: dict[str, Container], tmp_path: Path) -> None:
    server = servers["simulated"].name
    place = podman.run("mount", server).stdout.strip()
    try:
        spdx, cyclonedx = tmp_path / "spdx.json", tmp_path / "cyclonedx.json"
        outputs = [f"--output=spdx-json={spdx}", f"--output=cyclonedx-json={cyclonedx}"]
        run(
            [tool("syft"), "scan", f"dir:{place}", "--override-default-catalogers=image", *outputs],
            SYFT_CHECK_FOR_APP_UPDATE="false",
        )
    finally:
        podman.run("unmount", server)
    ours = {one["name"]: one["versionInfo"] for one in json.loads(spdx.read_text())["packages"] if "versionInfo" in one}
    theirs = {one["name"]: one.get("version") for one in json.loads(cyclonedx.read_text())["components"]}
    lock = re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / "deploy/image/requirements.lock").read_text(), re.MULTILINE)
    assert ours["nemotron-triton"] == theirs["nemotron-triton"] == VERSION
    for found in (ours, theirs):
        named = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found.items()}
        # Some of the lock are for other systems or Pythons.
        installed = {name: version for name, version in lock if name in named}
        assert len(installed) > 0.9 * len(lock)
        assert installed == {name: named[name] for name in installed}


def run(command: list[str | Path], **environment: str) -> str:
    """Standard output of a program that has to succeed."""
    found = subprocess.run(
        [*map(str, command)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert found.returncode == 0, f"{found.stdout}{found.stderr}"
    return found.stdout
