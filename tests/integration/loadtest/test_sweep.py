"""nemotron-bench sweep, capacity and compare, as programs, on runs of a fake server."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from nemotron_client.testing import FakeServer, RecordedRequest, ScriptedReply
from tests.integration.loadtest.bench import bench, bench_here, scenario_file

SLO = 'name = "own"\n[[clauses]]\nmetric = "ttft_ms"\npercentile = 50\nlimit = 250\n'
TAKES_S = 0.1
TRIES = 3  # whoever else uses the machine may spoil a measurement, but not all of them


def test_the_capacity_of_a_queue_is_found_planned_with_and_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two requests at once, a tenth of a second each: at twenty a second the queue begins to grow.

    The limit leaves a busy machine more than that tenth for all else.
    """
    places = threading.Semaphore(2)

    def answer(_: RecordedRequest) -> ScriptedReply:
        with places:
            threading.Event().wait(TAKES_S)
        return ScriptedReply("one two three")

    slo = tmp_path / "slo.toml"
    slo.write_text(SLO)
    with FakeServer(answer) as server:
        scenario = scenario_file(tmp_path, server.grpc_url, duration_s=2.0, drain_s=10.0)
        options = ["--low", 10, "--high", 40, "--tolerance", 1, "--repeats", 1]
        for number in range(TRIES):
            results = tmp_path / f"sweep-{number}"
            swept = bench("sweep", scenario, "--slo", slo, *options, "-o", results)
            if swept.returncode == 0:
                break
    assert swept.returncode == 0, swept.stderr
    assert "The SLO own is met up to" in swept.stdout
    assert 10 <= json.loads((results / "sweep.json").read_bytes())["capacity"]["rate_per_s"] <= 28
    assert str(results / "report.html") in swept.stdout
    planned = bench_here(capsys, "capacity", results, "--peak", 100)
    assert planned.returncode == 0, planned.stderr
    assert "Replicas needed" in planned.stdout
    assert json.loads((results / "capacity.json").read_bytes())["demand"]["peak_per_s"] == 100
    values = tmp_path / "values.yaml"
    users = ("--users", 1000, "--think-seconds", 10)
    for_users = bench_here(capsys, "capacity", results, *users, "--values", values, "--autoscaler", "keda")
    assert for_users.returncode == 0, for_users.stderr
    assert "users: 1,000 / (" in for_users.stdout
    assert yaml.safe_load(values.read_text())["autoscaling"]["kind"] == "keda"
    half = bench_here(capsys, "capacity", results, "--users", 1000)
    assert (half.returncode, "go together" in half.stderr) == (2, True)
    assert "Replicas for the traffic" in (results / "report.html").read_text()
    slow, fast = sorted(path for path in results.iterdir() if path.is_dir())[:2]
    page = tmp_path / "compare.html"
    compared = bench_here(capsys, "compare", slow, fast, "--html", page)
    assert compared.returncode == 0, compared.stderr
    assert "noise  " not in compared.stdout
    assert slow.name in page.read_text() and fast.name in page.read_text()
    everything = bench_here(capsys, "compare", slow, fast, "--all")
    assert "changed  Requested rate  " in everything.stdout  # of what changed, ten rows are shown without --all
    assert len(everything.stdout.splitlines()) > len(compared.stdout.splitlines())


def test_the_load_generator_tests_itself() -> None:
    for _ in range(TRIES):
        done = bench("self-test", "--most", 20, "--seconds", 1)
        if done.returncode == 0:
            break
    assert done.returncode == 0, done.stderr
    # On a machine that others use, it may not.
    assert re.search(r"The load generator (keeps|does not keep) up with 20 streams and [\d,]+ tokens/s", done.stdout)
    assert re.search(r"requests are sent [\d.]+ ms \((p99|at most)\) late", done.stdout)
