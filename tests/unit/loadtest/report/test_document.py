from __future__ import annotations

import jsonschema
import msgspec
import pytest

from nemotron_loadtest.errors import LoadTestError
from nemotron_loadtest.metrics import Window
from nemotron_loadtest.report import REPORT_SCHEMA_VERSION, Report, decode_report, encode_report, make_report
from tests.unit.loadtest.analysis.queues import PaperServer, open_loop
from tests.unit.loadtest.metrics.making import at_rate
from tests.unit.loadtest.report.made_up import FACTS, INTERACTIVE, WINDOW, requests, server_samples, sweep

STEADY = at_rate(10, 65)
CUT_OFF = msgspec.structs.replace(FACTS, cut_off="Somebody stopped the run.")


def test_a_good_run_passes() -> None:
    assert make_report(STEADY, WINDOW, FACTS, slo=INTERACTIVE).states == ("PASS",)


def test_without_an_slo_a_run_is_measured() -> None:
    assert make_report(STEADY, WINDOW, FACTS).states == ("MEASURED",)


def test_the_gravest_state_comes_first() -> None:
    overloaded = open_loop(PaperServer(places=2, takes_s=0.5), 8.0, 65.0)

    assert make_report(overloaded, WINDOW, CUT_OFF, slo=INTERACTIVE).states == (
        *("FAIL", "CUT OFF", "OVERLOADED", "NOT STEADY"),
    )


def test_a_run_cut_off_in_its_warm_up_shows_the_warm_up() -> None:
    report = make_report(requests(until_s=3), Window(5, 3), CUT_OFF)

    assert report.summary.all.outcomes.requests == len(requests(until_s=3))
    assert any("warm-up" in note for note in report.notes)


def test_a_load_generator_that_was_late_is_told() -> None:
    assert not make_report(requests(), WINDOW, FACTS).notes
    [note] = make_report(requests(late_s=2), WINDOW, FACTS).notes
    assert "sent requests late (p99 " in note


def test_a_percentile_is_not_claimed_of_few_requests() -> None:
    [note] = make_report(requests(late_s=2)[100:150], WINDOW, FACTS).notes
    assert "sent requests late (at most " in note


def test_failed_looks_at_the_server_are_counted() -> None:
    assert make_report(STEADY, WINDOW, FACTS, server=server_samples(gone_from_s=60)).scrape_failures == 10


def test_a_report_survives_its_file() -> None:
    report = make_report(requests(), WINDOW, FACTS, slo=INTERACTIVE, server=server_samples(), sweep=sweep())

    assert decode_report(encode_report(report)) == report


def test_the_file_keeps_to_its_schema() -> None:
    report = make_report(requests(), WINDOW, FACTS, slo=INTERACTIVE, server=server_samples(), sweep=sweep())
    schema = msgspec.json.schema(Report)
    for definition in schema["$defs"].values():
        definition.setdefault("additionalProperties", False)

    jsonschema.validate(msgspec.json.decode(encode_report(report)), schema)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "no report"),
        (b'{"schema_version": 99}', "schema version 99"),
        (b'{"schema_version": %d}' % REPORT_SCHEMA_VERSION, "no report"),
    ],
)
def test_another_file_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(LoadTestError, match=says):
        decode_report(content)
