"""A server that is crashed again and again comes back each time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nemotron_serving.launcher.options import ServeOptions
from nemotron_serving.launcher.policy import RestartPolicy
from nemotron_serving.launcher.supervise import Supervisor
from nemotron_serving.package import Package

from .conftest import PACKAGE

CRASHES = 7
# Runs as the COMMAND of nemotron-serve. HTTP, for a client of gRPC would wait before it connects again.
CRASH_AND_ASK = f"""
import http.client, json, os, time

def post(path, body):
    connection = http.client.HTTPConnection(os.environ["NEMOTRON_HTTP_URL"].partition("://")[2], timeout=10)
    connection.request("POST", path, json.dumps(body))
    return connection.getresponse().status

def answers():
    try:
        return post("/v2/models/ensemble/generate", {{"text_input": "Hi", "max_tokens": 1}}) == 200
    except (OSError, http.client.HTTPException):
        return False

text = {{"name": "text_input", "shape": [1, 1], "datatype": "BYTES", "data": ["Hi"]}}
killer = {{"inputs": [text], "outputs": [{{"name": "content", "parameters": {{"classification": 1}}}}]}}
for _ in range({CRASHES}):
    try:
        post("/v2/models/unary/infer", killer)
    except (OSError, http.client.HTTPException):
        pass
    else:
        raise SystemExit("this request does not crash Triton any more")
    until = time.monotonic() + 60
    while not answers():
        if time.monotonic() > until:
            raise SystemExit("it did not come back")
        time.sleep(0.05)
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
    assert supervisor.run([sys.executable, "-c", CRASH_AND_ASK]) == 0
    assert options.log_dir
    log = (options.log_dir / "triton.log").read_text()
    assert log.count("Started GRPCInferenceService") == CRASHES + 1


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
