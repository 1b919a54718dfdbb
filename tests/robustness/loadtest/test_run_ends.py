"""However a run ends, what was measured is there. As a program, against a fake server in this process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from nemotron_client.testing import FakeServer, ScriptedReply
from nemotron_loadtest.run.record import read_run
from tests.integration.loadtest.bench import closed, poisson, scenario_file, start_bench, wait_for

REPLY = ScriptedReply("one two three four five", ttft_s=0.05, token_s=0.01)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(lambda _: REPLY) as server:
        yield server


def test_a_server_that_dies_in_mid_run(server: FakeServer, tmp_path: Path) -> None:
    scenario, results = scenario_file(tmp_path, server.grpc_url, poisson(20), duration_s=60.0), tmp_path / "results"
    process = start_bench("run", scenario, "-o", results)
    wait_for(results, 20)
    begin = time.monotonic()
    with server.refusing():
        output, errors = process.communicate(timeout=90)
    assert time.monotonic() - begin < 40  # and not until the end of the run
    assert process.returncode == 3, errors
    assert "every request fails, the last one with ServerUnavailableError" in errors.splitlines()[-1]
    assert "requests" in output
    record, samples = read_run(results)
    assert record.ended_by == "failures"
    outcomes = Counter((sample.outcome, sample.error_type) for sample in samples)
    assert outcomes["ok", ""] >= 15
    assert outcomes["error", "ServerUnavailableError"] >= 50


@pytest.mark.parametrize("processes", [1, 2])
def test_ctrl_c_lets_running_requests_end(processes: int, tmp_path: Path) -> None:
    slow = ScriptedReply("one two three four five", ttft_s=0.5, token_s=0.1)
    with FakeServer(lambda _: slow) as server:
        scenario = scenario_file(tmp_path, server.grpc_url, closed(4), duration_s=60.0)
        process = start_bench("run", scenario, "-o", tmp_path / "results", "--processes", processes)
        wait_for(tmp_path / "results")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=90)
    assert process.returncode == 130, errors
    record, samples = read_run(tmp_path / "results")
    assert record.ended_by == "interrupt"
    assert {sample.outcome for sample in samples} == {"ok"}
    assert len(samples) == len(server.requests)


def test_ctrl_c_twice_cuts_them(tmp_path: Path) -> None:
    endless = ScriptedReply("on and on", token_s=0.05, endless=True)
    with FakeServer(lambda _: endless) as server:
        text = closed(4) + "[cancel]\nshare = 0.5\nafter_s = 1.0\n"
        scenario = scenario_file(tmp_path, server.grpc_url, text, duration_s=60.0, drain_s=60.0)
        process = start_bench("run", scenario, "-o", tmp_path / "results")
        wait_for(tmp_path / "results")
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=90)
    assert time.monotonic() - begin < 40  # and not until the end of the drain time
    assert process.returncode == 130, errors
    _, samples = read_run(tmp_path / "results")
    incomplete = {sample.request_id for sample in samples if sample.outcome == "incomplete"}
    assert incomplete
    assert incomplete <= set(server.cancels)


def test_a_killed_run_leaves_what_it_had(server: FakeServer, tmp_path: Path) -> None:
    scenario = scenario_file(tmp_path, server.grpc_url, poisson(20), duration_s=60.0)
    process = start_bench("run", scenario, "-o", tmp_path / "results")
    wait_for(tmp_path / "results", 10)
    process.kill()
    process.communicate(timeout=60)
    record, samples = read_run(tmp_path / "results")
    assert (record.ended_by, len(samples) >= 10) == (None, True)


LATE = """
import gevent, sys
from nemotron_loadtest.run import workers

known = workers.WorkerSide
def late(*arguments):
    gevent.sleep(2)  # connected, and deaf
    return known(*arguments)
workers.WorkerSide = late
workers.work(int(sys.argv[1]), sys.argv[2])
"""
WITH_LATE_WORKERS = """
import sys
from nemotron_loadtest.cli import main
from nemotron_loadtest.run import workers

workers.__name__ = "late"
sys.exit(main(sys.argv[1:]))
"""


def test_a_worker_that_does_not_hear_at_once_is_told_again(server: FakeServer, tmp_path: Path) -> None:
    """As on a busy machine, where the plan may come before it has said that it knows such a message."""
    (tmp_path / "late.py").write_text(LATE)
    scenario = scenario_file(tmp_path, server.grpc_url, poisson(20))
    options = ["run", str(scenario), "-o", str(tmp_path / "results"), "--processes", "2"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", WITH_LATE_WORKERS, *options]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    record, samples = read_run(tmp_path / "results")
    assert record.workers == 2
    assert {sample.worker for sample in samples} == {"0", "1"}


def test_a_worker_that_dies_ends_the_run(server: FakeServer, tmp_path: Path) -> None:
    scenario = scenario_file(tmp_path, server.grpc_url, poisson(20), duration_s=60.0)
    process = start_bench("run", scenario, "-o", tmp_path / "results", "--processes", 2)
    wait_for(tmp_path / "results", 10)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], check=True, capture_output=True, text=True).stdout
    subprocess.run(["kill", "-9", children.split()[0]], check=True)
    _, errors = process.communicate(timeout=90)
    assert process.returncode == 2
    assert "1 of 2 workers have gone" in errors
    record, samples = read_run(tmp_path / "results")
    assert record.ended_by == "workers"
    assert {sample.worker for sample in samples} == {"0", "1"}
