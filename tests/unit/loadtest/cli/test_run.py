from __future__ import annotations

from nemotron_loadtest.cli.run import described
from nemotron_loadtest.report import make_report
from tests.unit.loadtest.report.made_up import FACTS, INTERACTIVE, WINDOW, requests


def test_thinking_on_and_off_stand_apart_below_all() -> None:
    text = described(make_report(requests(thinking_share=0.4), WINDOW, FACTS))
    assert [line.split(":")[0] for line in text.splitlines() if line.startswith("thinking ")] == [
        "thinking all",
        "thinking on",
        "thinking off",
    ]
    assert all(name in text for name in ("ttft_ms", "tpot_ms", "e2e_ms", "output tokens/s"))


def test_one_mode_is_told_once() -> None:
    text = described(make_report(requests(thinking_share=0.0), WINDOW, FACTS))
    assert text.count("requests, ") == 1
    assert text.startswith("thinking off: ")


def test_what_a_run_is_worth_is_said() -> None:
    """Few requests: no thirds to compare, no p99 to judge by."""
    text = described(make_report(requests()[:50], WINDOW, FACTS, slo=INTERACTIVE))
    assert "NOT STEADY" in text
    assert "not steady: " in text
    assert "SLO interactive: NOT MET" in text
    assert "FAIL Time to first token p99" in text


def test_failures_are_told_by_type() -> None:
    assert "ServerUnavailableError" in described(make_report(requests(errors=0.2), WINDOW, FACTS))


def test_nothing_was_sent() -> None:
    assert "No request was sent." in described(make_report([], WINDOW, FACTS))
