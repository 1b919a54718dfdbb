"""A run's files are read, and its report's are written."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from nemotron_loadtest.analysis import summarise
from nemotron_loadtest.capacity import CapacityPlan, Demand, plan_capacity
from nemotron_loadtest.errors import LoadTestError
from nemotron_loadtest.metrics import METRICS
from nemotron_loadtest.report import add_capacity, decode_report, make_report, report_html, report_of, write_report
from nemotron_loadtest.report.files import write_metrics, write_requests
from nemotron_loadtest.run.record import Recorder, RunRecord, new_record
from nemotron_loadtest.scenario import Scenario
from tests.unit.loadtest.metrics.making import made
from tests.unit.loadtest.report.made_up import FACTS, WINDOW, requests, server_samples, sweep
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


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_a_request(tmp_path: Path) -> None:
    late = made((10.5, 1), (11.5, 11), intended_s=10.0, started_s=10.1, first_answer_s=10.5)
    failed = made(intended_s=2.0, outcome="error", error_type="ServerUnavailableError")
    write_requests([late, failed], WINDOW, tmp_path / "requests.csv")
    first, second = rows(tmp_path / "requests.csv")

    assert (first["outcome"], first["error_type"], first["measured"]) == ("error", "ServerUnavailableError", "0")
    assert (first["ttft_ms"], first["itl_ms"], first["cached_tokens"]) == ("", "", "")
    assert second["measured"] == "1"
    assert float(second["ttft_ms"]) == 500
    assert float(second["ttft_from_actual_ms"]) == pytest.approx(400)
    assert float(second["e2e_ms"]) == 1500
    assert float(second["itl_ms"]) == 100
    assert float(second["schedule_delay_ms"]) == pytest.approx(100)
    assert (second["output_tokens"], second["thinking"]) == ("11", "0")


def test_times_keep_their_microseconds(tmp_path: Path) -> None:
    write_requests([made((3600.123456, 1), intended_s=3600.0)], WINDOW, tmp_path / "requests.csv")

    assert rows(tmp_path / "requests.csv")[0]["ended_s"] == "3600.123456"


def test_a_row_a_metric(tmp_path: Path) -> None:
    write_metrics(summarise(requests(), WINDOW), tmp_path / "metrics.csv")
    found = rows(tmp_path / "metrics.csv")

    assert {row["metric"] for row in found} == set(METRICS)
    assert {row["thinking"] for row in found} == {"all", "on", "off"}
    [ttft] = [row for row in found if (row["metric"], row["thinking"], row["from"]) == ("ttft_ms", "on", "actual")]
    assert 50 < float(ttft["p50"]) < 200
    assert ttft["value"] == ""
    [rate] = [row for row in found if (row["metric"], row["thinking"]) == ("requests_per_s", "all")]
    assert 8 < float(rate["value"]) < 16


def test_all_files_are_written(tmp_path: Path) -> None:
    samples = requests()
    page = write_report(make_report(samples, WINDOW, FACTS), samples, tmp_path / "new" / "report")

    assert page.name == "report.html"
    assert {path.name for path in page.parent.iterdir()} == {
        "report.json",
        "report.html",
        "requests.csv",
        "metrics.csv",
    }
    assert len(rows(page.parent / "requests.csv")) == len(samples)


def test_a_capacity_is_added_to_the_report(tmp_path: Path) -> None:
    found = sweep()
    write_report(make_report([], WINDOW, FACTS, sweep=found), [], tmp_path)
    plan = plan_capacity(found.replica(), Demand(peak_per_s=60))
    page = add_capacity(plan, tmp_path)

    assert "Replicas for the traffic" in page.read_text()
    assert decode_report((tmp_path / "report.json").read_bytes()).capacity == plan
    assert msgspec.json.decode((tmp_path / "capacity.json").read_bytes(), type=CapacityPlan) == plan


def test_a_capacity_needs_a_report(tmp_path: Path) -> None:
    with pytest.raises(LoadTestError, match=r"report\.json: No such file"):
        add_capacity(plan_capacity(sweep().replica(), Demand(peak_per_s=60)), tmp_path)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(LoadTestError, match="file"):
        write_report(make_report([], WINDOW, FACTS), [], tmp_path / "file")


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
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=180)

    assert done.stdout.strip() == "[]"
