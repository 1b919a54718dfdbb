"""However a sweep ends, what it has found is there. As a program, against a fake server in this process."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nemotron_client.testing import FakeServer, ScriptedReply
from nemotron_loadtest.run.record import read_run
from tests.integration.loadtest.bench import scenario_file, start_bench, wait_for

SLO = 'name = "own"\n[[clauses]]\nmetric = "ttft_ms"\npercentile = 50\nlimit = 5000\n'
REPLY = ScriptedReply("one two three")


def started(server: FakeServer, directory: Path, **fields: float) -> subprocess.Popen[str]:
    (directory / "slo.toml").write_text(SLO)
    scenario = scenario_file(directory, server.grpc_url, "", **fields)
    options = ["--slo", directory / "slo.toml", "--low", 20, "--high", 80, "--repeats", 1, "-o", directory / "sweep"]
    return start_bench("sweep", scenario, *options)


def found(directory: Path) -> dict[str, Any]:
    capacity: dict[str, Any] = json.loads((directory / "sweep" / "sweep.json").read_bytes())["capacity"]
    return capacity


@pytest.mark.parametrize("ending", ["server", "ctrl-C"])
def test_a_sweep_that_is_cut_short_has_a_report_of_its_whole_runs(ending: str, tmp_path: Path) -> None:
    with FakeServer(lambda _: REPLY) as server:
        process = started(server, tmp_path, duration_s=2.5)
        wait_for(tmp_path / "sweep" / "02-40")
        if ending == "server":
            with server.refusing():
                output, errors = process.communicate(timeout=90)
        else:
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=90)
    assert process.returncode == (3 if ending == "server" else 130), errors
    capacity = found(tmp_path)
    assert (capacity["rate_per_s"], capacity["stable"]) == (20, False)
    assert any("before the search was at its end" in reason for reason in capacity["reasons"])
    assert (tmp_path / "sweep" / "report.html").exists()
    assert str(tmp_path / "sweep" / "report.html") in output


def test_cut_short_in_its_first_run(tmp_path: Path) -> None:
    with FakeServer(lambda _: REPLY) as server:
        process = started(server, tmp_path, duration_s=30.0)
        wait_for(tmp_path / "sweep" / "01-20", 10)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=90)
    assert process.returncode == 130, errors
    assert str(tmp_path / "sweep" / "01-20" / "report.html") in output


def test_each_run_has_a_seed_of_its_own(tmp_path: Path) -> None:
    with FakeServer(lambda _: REPLY) as server:
        process = started(server, tmp_path, seed=7, duration_s=1.0)
        process.communicate(timeout=60)
    assert process.returncode == 0
    seeds = [read_run(path)[0].scenario.seed for path in sorted((tmp_path / "sweep").glob("0*"))]
    assert seeds == list(range(7, 7 + len(seeds)))
    assert len(seeds) > 2
