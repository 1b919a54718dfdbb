"""A server that is crashed again and again comes back each time."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nemotron_serving.launcher.options import ServeOptions
from nemotron_serving.launcher.policy import RestartPolicy
from nemotron_serving.launcher.supervise import Supervisor
from nemotron_serving.package import Package
from tests.integration.conftest import serving
from tests.robustness.conftest import PACKAGE
from tests.robustness.observing import is_alive, processes
from tests.waiting import wait_until

CRASHES = 7
HAMMER_S = 8
# These run as the COMMAND of nemotron-serve. HTTP, for a client of gRPC would wait before it connects again.
CALLS = """
import http.client, json, os, sys, time

def post(path, body):
    connection = http.client.HTTPConnection(os.environ["NEMOTRON_HTTP_URL"].partition("://")[2], timeout=10)
    connection.request("POST", path, json.dumps(body))
    return connection.getresponse().status

def kill():
    text = {"name": "text_input", "shape": [1, 1], "datatype": "BYTES", "data": ["Hi"]}
    outputs = [{"name": "content", "parameters": {"classification": 1}}]
    try:
        return post("/v2/models/unary/infer", {"inputs": [text], "outputs": outputs})
    except (OSError, http.client.HTTPException):
        return None

def wait_for_an_answer():
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            if post("/v2/models/ensemble/generate", {"text_input": "Hi", "max_tokens": 1}) == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.05)
    raise SystemExit("it did not come back")
"""
CRASH_AND_ASK = """
for _ in range(int(sys.argv[1])):
    if kill() is not None:
        raise SystemExit("this request does not crash Triton any more")
    wait_for_an_answer()
"""
HAMMER = """
from concurrent.futures import ThreadPoolExecutor

def hammer(until):
    while time.monotonic() < until:
        kill()
        time.sleep(0.005)

with ThreadPoolExecutor() as callers:
    for _ in range(4):
        callers.submit(hammer, time.monotonic() + float(sys.argv[1]))
wait_for_an_answer()
"""
KILL_AND_END = """
import json, os, sys, time

with open(sys.argv[1]) as file:
    os.kill(json.load(file)["triton_pid"], 9)
while os.path.exists(sys.argv[1]):
    time.sleep(0.05)
"""


@pytest.fixture
def options(simulated_package: Callable[..., Path], tmp_path: Path) -> ServeOptions:
    package = simulated_package(*PACKAGE)
    return ServeOptions(package=package, http_port=0, grpc_port=0, metrics_port=0, log_dir=tmp_path)


def test_requests_that_crash_it_do_not_end_the_service(options: ServeOptions) -> None:
    supervisor = Supervisor(Package.load(options.package), options, policy=RestartPolicy(longest_s=0.1))
    assert supervisor.run([sys.executable, "-c", CALLS + CRASH_AND_ASK, str(CRASHES)]) == 0
    assert options.log_dir
    log = (options.log_dir / "triton.log").read_text()
    assert log.count("Started GRPCInferenceService") == CRASHES + 1


def test_a_caller_that_never_stops_crashing_it_does_not_end_the_service(options: ServeOptions) -> None:
    """Its requests come before the first answer of each start, too."""
    policy = RestartPolicy(longest_s=0.1, most_failed_starts=2)
    supervisor = Supervisor(Package.load(options.package), options, policy=policy)
    assert supervisor.run([sys.executable, "-c", CALLS + HAMMER, str(HAMMER_S)]) == 0


def test_a_command_that_ends_is_not_kept_waiting_for_a_restart(
    options: ServeOptions, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    policy, ready_file = RestartPolicy(longest_s=1000), tmp_path / "ready.json"
    for _ in range(10):
        policy.crashed()
    supervisor = Supervisor(Package.load(options.package), options, ready_file=ready_file, policy=policy)
    assert supervisor.run([sys.executable, "-c", KILL_AND_END, str(ready_file)]) == 0
    said = capfd.readouterr().err
    assert "Restarting in 512 s" in said
    assert "Serving again" not in said


@pytest.mark.parametrize(("number", "reason"), [(signal.SIGKILL, "died"), (signal.SIGSTOP, "has made no progress")])
def test_an_orchestrator_can_do_the_restarting(
    simulated_package: Callable[..., Path], tmp_path: Path, number: signal.Signals, reason: str
) -> None:
    options = ("--restart", "never", "--hang-seconds", "2")
    with serving(simulated_package(*PACKAGE), tmp_path, *options) as server:
        everything = processes(server)
        everything["tensorrt_llm"].send_signal(number)
        assert server.process.wait(60) == 3
        assert not server.ready_file.exists()
        last = server.log.read_text().splitlines()[-1]
        assert last.startswith(
            "nemotron-serve: Ended, for --restart never was given: the process of model 'tensorrt_llm'"
        )
        assert reason in last
        wait_until(lambda: not any(map(is_alive, everything.values())))
