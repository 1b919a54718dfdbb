from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from nemotron_loadtest.errors import LoadTestError
from nemotron_loadtest.report import report_html, report_of
from nemotron_loadtest.run.record import Recorder, RunRecord, new_record
from nemotron_loadtest.scenario import Scenario
from tests.unit.loadtest.report.made_up import requests, server_samples
from tests.unit.loadtest.report.page_check import checked

SCENARIO = Scenario(description="A made-up run", duration_s=65, warmup_s=5, slo="interactive")


def record(**changes: object) -> RunRecord:
    ended = {"ended_by": "duration", "sent_until_s": 65.0, "urls": ("grpc://127.0.0.1:8001",)}
    return msgspec.structs.replace(new_record(SCENARIO), **{**ended, **changes})


def recorded(directory: Path, end: RunRecord, until_s: float = 65.0) -> Path:
    recorder = Recorder(directory, new_record(SCENARIO))
    for sample in requests(until_s=until_s):
        recorder.write(sample)
    for one in server_samples(until_s):
        recorder.write_server(one)
    recorder.close(end)
    return directory


def test_a_run_in_its_directory(tmp_path: Path) -> None:
    report, samples = report_of(recorded(tmp_path / "chat", record()))

    assert len(samples) == len(requests())
    assert report.facts.title == "chat"
    assert report.verdict is not None
    assert report.verdict.slo == "interactive"
    assert "CUT OFF" not in report.states
    assert len(report.server) == 65
    words = checked(report_html(report)).words
    assert "A made-up run" in words
    assert "grpc://127.0.0.1:8001" in words


def test_a_server_that_died_is_told(tmp_path: Path) -> None:
    end = record(ended_by="failures", sent_until_s=20.0, problem="every request fails, the last one with X")
    report, _ = report_of(recorded(tmp_path / "chat", end, 20))

    assert "CUT OFF" in report.states
    assert report.notes[0] == "The server was given up: every request fails, the last one with X."
    assert report.summary.window.end_s == 20


def test_a_run_that_was_killed_has_a_report(tmp_path: Path) -> None:
    directory = recorded(tmp_path / "chat", record(ended_by=None, sent_until_s=None), 30)
    for name in ("samples.jsonl", "server.jsonl"):
        path = directory / name
        path.write_bytes(path.read_bytes() + b'{"at_s": 1')
    report, samples = report_of(directory)

    assert len(samples) == len(requests(until_s=30))
    assert report.notes[0] == "The run was killed."
    assert 25 < report.summary.window.end_s < 31


def test_nothing_scraped_is_no_error(tmp_path: Path) -> None:
    directory = recorded(tmp_path / "chat", record())
    (directory / "server.jsonl").unlink()

    assert report_of(directory)[0].server == ()


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(LoadTestError, match="has no run"):
        report_of(tmp_path)


def test_reports_need_neither_locust_nor_gevent() -> None:
    program = (
        "import sys, nemotron_loadtest.report, nemotron_loadtest.capacity\n"
        "print(sorted({'gevent', 'grpc', 'locust', 'matplotlib', 'nemotron_client'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)

    assert done.stdout.strip() == "[]"
