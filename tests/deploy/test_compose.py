"""deploy/compose as it runs under podman: two replicas with the simulated engine, Envoy, Prometheus and Alertmanager.

Envoy, Prometheus and Alertmanager are stand-ins, for their images cannot be fetched here: the same programs on a plain
Debian. Grafana is not started.
"""

from __future__ import annotations

import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from nemotron_client import AuthenticationError, Client
from tests.deploy.composing import FILE, rendered
from tests.deploy.podman import Podman
from tests.deploy.stack import KEY, RUN, Stack, standing
from tests.integration.conftest import BIN
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(1800)  # what comes first makes the image

ANSWER_S = 120
REPLICAS = ("replica-1", "replica-2")
CALLERS = 8
LONG = 500  # more tokens than the simulated engine's answer has


@pytest.fixture(scope="module")
def docker_host(podman: Podman) -> Iterator[str]:
    with podman.service() as address:
        yield address


@pytest.fixture(scope="module")
def stack(podman: Podman, docker_host: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Both replicas ready, for all tests of this file."""
    directory = tmp_path_factory.mktemp("compose")
    with standing(podman, docker_host, package(directory, token_ms=3), directory) as stack:
        stack.compose("up", "--detach", "--no-build", "--pull=never", *RUN)
        stack.wait_ready(*REPLICAS)
        yield stack


def package(directory: Path, token_ms: int) -> Path:
    """One with the simulated engine, whose answer has 85 tokens."""
    path = directory / "package"
    options = ("--ttft-ms", "30", "--token-ms", f"{token_ms}", "--max-batch-size", "32")
    subprocess.run([BIN / "nemotron-build", "simulated", "-o", path, *options], check=True, capture_output=True)
    return path


def ask(stack: Stack, *, key: str | None = KEY, **fields: Any) -> httpx2.Response:
    """One question to OpenAI's API, without retries."""
    body = {"messages": [{"role": "user", "content": "Who are you?"}], "max_tokens": 40, **fields}
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return httpx2.post(f"{stack.http_url}/v1/chat/completions", json=body, headers=headers, timeout=ANSWER_S)


def of_prometheus(stack: Stack, path: str, **query: str) -> dict[str, Any]:
    url = f"http://{stack.address('prometheus')}:9090/api/v1/{path}?{urllib.parse.urlencode(query)}"
    return dict(httpx2.get(url, timeout=ANSWER_S).json()["data"])


def test_a_question_over_openais_api_is_answered(stack: Stack) -> None:
    answer = ask(stack)
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"]


def test_a_question_over_grpc_is_answered(stack: Stack) -> None:
    with Client(stack.grpc_url, headers={"authorization": f"Bearer {KEY}"}, max_retries=0) as client:
        assert client.generate("Who are you?", max_tokens=40).content


def test_without_a_key_there_is_no_answer(stack: Stack) -> None:
    assert [ask(stack, key=key).status_code for key in (None, "guessed")] == [401, 401]
    with Client(stack.grpc_url, max_retries=0) as client, pytest.raises(AuthenticationError):
        client.generate("Who are you?", max_tokens=40)


def test_both_replicas_get_requests(stack: Stack) -> None:
    before = {service: answered(stack, service) for service in REPLICAS}
    with ThreadPoolExecutor(CALLERS) as pool:
        assert {answer.status_code for answer in pool.map(lambda _: ask(stack), range(20))} == {200}
    wait_until(lambda: all(answered(stack, service) > before[service] for service in REPLICAS), ANSWER_S)


def test_keys_are_changed_without_a_restart(stack: Stack) -> None:
    assert ask(stack, key="another-key").status_code == 401
    stack.write_keys({"team": KEY, "another": "another-key"})
    wait_until(lambda: ask(stack, key="another-key").status_code == 200, ANSWER_S)
    stack.write_keys({"team": KEY})
    wait_until(lambda: ask(stack, key="another-key").status_code == 401, ANSWER_S)
    assert ask(stack).status_code == 200


def test_prometheus_sees_every_target_and_has_the_rules(stack: Stack) -> None:
    def states() -> dict[str, set[str]]:
        targets = of_prometheus(stack, "targets", state="active")["activeTargets"]
        return {
            state: {one["scrapeUrl"] for one in targets if one["health"] == state}
            for state in ("up", "down", "unknown")
        }

    targets = {f"{service}:{port}" for service in REPLICAS for port in (8002, 9000)} | {
        "envoy:9902",
        "alertmanager:9093",
    }

    def all_are_up() -> bool:
        found = states()
        up = {urllib.parse.urlsplit(url).netloc for url in found["up"]}
        return not found["down"] | found["unknown"] and up >= targets

    wait_until(all_are_up, 4 * ANSWER_S)
    rules = [rule for group in of_prometheus(stack, "rules")["groups"] for rule in group["rules"]]
    assert {"alerting", "recording"} == {rule["type"] for rule in rules}
    wait_until(
        lambda: (
            {rule["health"] for group in of_prometheus(stack, "rules")["groups"] for rule in group["rules"]} == {"ok"}
        ),
        4 * ANSWER_S,
    )


def test_prometheus_reaches_alertmanager(stack: Stack) -> None:
    wait_until(lambda: of_prometheus(stack, "alertmanagers")["activeAlertmanagers"], 2 * ANSWER_S)
    assert stack.execute("alertmanager", "amtool", "config", "show", "--alertmanager.url=http://127.0.0.1:9093")


@pytest.mark.parametrize("service", RUN)
def test_every_container_is_hardened(stack: Stack, service: str) -> None:
    status = dict(line.split(":\t", 1) for line in stack.execute(service, "cat", "/proc/1/status").splitlines())
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert "0" not in status["Uid"].split()
    (root,) = [
        line.split() for line in stack.execute(service, "cat", "/proc/mounts").splitlines() if line.split()[1] == "/"
    ]
    assert "ro" in root[3].split(",")
    wanted = rendered(FILE)["services"][service]
    limits = stack.inspect(service)["HostConfig"]
    assert limits["PidsLimit"] == wanted["pids_limit"]
    assert limits["Memory"] > 0
    assert limits["NanoCpus"] > 0


@pytest.mark.parametrize("service", RUN)
def test_every_health_check_passes(stack: Stack, service: str) -> None:
    wait_until(lambda: stack.healthy(service), 2 * ANSWER_S)


@pytest.mark.parametrize("service", RUN)
def test_only_envoy_is_published_and_has_a_way_out(stack: Stack, service: str) -> None:
    ports = stack.inspect(service)["NetworkSettings"]["Ports"] or {}
    published = {number: [one["HostIp"] for one in found] for number, found in ports.items() if found}
    routes = [line.split() for line in stack.execute(service, "cat", "/proc/net/route").splitlines()[1:]]
    leads_out = any(destination == "00000000" for _, destination, *_ in routes)
    if service == "envoy":
        assert published == {"8080/tcp": ["127.0.0.1"], "8001/tcp": ["127.0.0.1"]}
        assert leads_out
    else:
        assert published == {}
        assert not leads_out


def test_a_replica_is_stopped_and_started_under_load_and_nothing_is_lost(stack: Stack) -> None:
    over, results = threading.Event(), []

    def over_http() -> None:
        while not over.is_set():
            answer = ask(stack)
            results.append(None if answer.status_code == 200 else answer.text)

    def over_grpc() -> None:
        with Client(stack.grpc_url, headers={"authorization": f"Bearer {KEY}"}, max_retries=0, sessions=0) as client:
            while not over.is_set():
                try:
                    client.generate("Who are you?", max_tokens=40)
                    results.append(None)
                except Exception as error:
                    results.append(repr(error))

    with ThreadPoolExecutor(2 * CALLERS) as pool:
        callers = [pool.submit(call) for call in (over_http, over_grpc) for _ in range(CALLERS // 2)]
        try:
            wait_until(lambda: len(results) > 4 * CALLERS, ANSWER_S)
            stack.compose("stop", "replica-1")
            assert stack.inspect("replica-1")["State"]["ExitCode"] == 0
            alone = len(results)
            wait_until(lambda: len(results) > alone + 4 * CALLERS, ANSWER_S)
            stack.compose("start", "replica-1")
            stack.wait_ready("replica-1")
            wait_until(lambda: answered(stack, "replica-1") > 0, 2 * ANSWER_S)
        finally:
            over.set()
        for caller in callers:
            caller.result()
    lost = [one for one in results if one is not None]
    print(f"{len(results)} requests")
    assert not lost, f"{len(lost)} of {len(results)}: {lost[:3]}"


def test_when_all_is_stopped_answers_are_finished_and_nothing_is_left(
    podman: Podman, docker_host: str, tmp_path: Path
) -> None:
    slow = package(tmp_path, token_ms=60)
    with standing(podman, docker_host, slow, tmp_path) as stack:
        stack.compose("up", "--detach", "--no-build", "--pull=never", "replica-1")
        stack.wait_ready("replica-1")
        processes = stack.processes()
        assert len(processes) == 2
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(ask, stack, max_tokens=LONG)
            wait_until(lambda: in_flight(stack, "replica-1") > 0, ANSWER_S)
            stack.compose("down", "--volumes", timeout=3 * ANSWER_S)
            assert answer.result().status_code == 200
        assert answer.result().json()["choices"][0]["finish_reason"] == "stop"
        assert stack.left() == []
        wait_until(lambda: not any(Path(f"/proc/{process}").exists() for process in processes))


def answered(stack: Stack, service: str) -> float:
    """Requests that a replica has answered in full so far."""
    return metric(stack, service, "nemotron_requests_total{", 'outcome="ok"')


def in_flight(stack: Stack, service: str) -> float:
    return metric(stack, service, "nemotron_requests_in_flight{")


def metric(stack: Stack, service: str, *parts: str) -> float:
    """The sum of the series whose lines have these parts."""
    page = httpx2.get(f"http://{stack.address(service)}:8002/metrics", timeout=ANSWER_S).text
    lines = [line for line in page.splitlines() if all(part in line for part in parts)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)
