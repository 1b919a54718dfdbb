"""nemotron-bench run, as a program, against a fake server in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nemotron_client.testing import FakeServer, Fault, ScriptedReply
from nemotron_loadtest.run.record import read_run
from tests.integration.loadtest.bench import bench, bench_here, closed, poisson, scenario_file

REPLY = ScriptedReply("one two three four five", ttft_s=0.05, token_s=0.01)
SLO = """
name = "{name}"
[[clauses]]
metric = "ttft_ms"
percentile = 50
limit = {limit}
"""


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(lambda _: REPLY) as server:
        yield server


def slo_file(directory: Path, limit: float) -> Path:
    path = directory / "own.toml"
    path.write_text(SLO.format(name="own", limit=limit))
    return path


def test_a_run_is_held_against_its_slo(server: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario, results = scenario_file(tmp_path, server.grpc_url, poisson(80)), tmp_path / "results"
    done = bench("run", scenario, "--slo", slo_file(tmp_path, 1), "-o", results)
    assert done.returncode == 1, done.stderr
    assert "NOT MET" in done.stdout
    assert "FAIL Time to first token p50" in done.stdout
    record, samples = read_run(results)
    assert record.ended_by == "duration"
    assert len(samples) == len(server.requests) > 40
    assert {sample.outcome for sample in samples} == {"ok"}
    assert str(results / "report.html") in done.stdout
    again = bench_here(capsys, "report", results, "--slo", tmp_path / "own.toml")
    assert (again.returncode, again.stdout) == (done.returncode, done.stdout)
    met = bench_here(capsys, "report", results, "--slo", slo_file(tmp_path, 1000))
    assert (met.returncode, "NOT MET" in met.stdout) == (0, False)


def test_users_who_leave_cancel_on_the_server(server: FakeServer, tmp_path: Path) -> None:
    text = closed(8) + "[cancel]\nshare = 0.5\nafter_s = 0.02\n"
    done = bench("run", scenario_file(tmp_path, server.grpc_url, text), "-o", tmp_path / "results")
    assert done.returncode == 0, done.stderr
    _, samples = read_run(tmp_path / "results")
    cancelled = {sample.request_id for sample in samples if sample.outcome == "cancelled"}
    assert len(cancelled) > 10
    begun = {request.request_id for request in server.requests if request.outcome != "answered"}
    assert cancelled & begun <= set(server.cancels)  # what was never sent, or was answered already, needs no stop


def test_nobody_there(tmp_path: Path) -> None:
    done = bench("run", scenario_file(tmp_path, "grpc://127.0.0.1:9"), "-o", tmp_path / "results")
    assert done.returncode == 3
    assert done.stderr.startswith("nemotron-bench: grpc://127.0.0.1:9 cannot be reached")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "results").exists()


def test_metrics_that_cannot_be_read_are_said_at_the_start(server: FakeServer, tmp_path: Path) -> None:
    scenario, nowhere = scenario_file(tmp_path, server.grpc_url, poisson(20)), "http://127.0.0.1:9/metrics"
    done = bench("run", scenario, "--metrics-url", nowhere, "-o", tmp_path / "results")
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if "--metrics-url" in line]
    assert len(warnings) == 1
    assert server.grpc_url in warnings[0] and nowhere in warnings[0]


def test_a_full_server_is_no_dead_one(tmp_path: Path) -> None:
    with FakeServer(Fault.full()) as server:
        done = bench("run", scenario_file(tmp_path, server.grpc_url, poisson(20)), "-o", tmp_path / "results")
    assert done.returncode == 0, done.stderr
    record, samples = read_run(tmp_path / "results")
    assert record.ended_by == "duration"
    assert {sample.error_type for sample in samples} == {"OverloadedError"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "{scenario}", "--processes", "0"], "expected a whole number of at least 1"),
        (["run", "{scenario}", "--url", "http://127.0.0.1:1"], "expected grpc://HOST:PORT"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    """As a program; what is found before a run begins is in tests/unit/loadtest/cli."""
    scenario = scenario_file(tmp_path, "grpc://127.0.0.1:9")
    done = bench(*[one.format(scenario=scenario) for one in arguments])
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done.stderr
    assert message in done.stderr
