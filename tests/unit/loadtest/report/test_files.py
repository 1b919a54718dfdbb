from __future__ import annotations

import csv
from pathlib import Path

import msgspec
import pytest

from nemotron_loadtest.analysis import summarise
from nemotron_loadtest.capacity import CapacityPlan, Demand, plan_capacity
from nemotron_loadtest.errors import LoadTestError
from nemotron_loadtest.metrics import METRICS
from nemotron_loadtest.report import add_capacity, decode_report, make_report, write_report
from nemotron_loadtest.report.tables import write_metrics, write_requests
from tests.unit.loadtest.metrics.making import made
from tests.unit.loadtest.report.made_up import FACTS, WINDOW, requests, sweep


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
