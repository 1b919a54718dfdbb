from __future__ import annotations

import io

import msgspec
from rich.console import Console

from nemotron_loadtest.report import LiveView
from tests.unit.loadtest.metrics.making import made
from tests.unit.loadtest.report.made_up import requests


def shown(*, terminal: bool, until_s: float = 35.0, **given: float | None) -> str:
    out = io.StringIO()
    samples = sorted(requests(errors=0.02), key=lambda sample: sample.ended_s)
    with LiveView("chat", 65, Console(file=out, force_terminal=terminal, width=100)) as view:
        for tenth in range(int(until_s * 10)):
            now_s = tenth / 10
            for sample in samples:
                if now_s - 0.1 <= sample.ended_s < now_s:
                    view.add(sample)
            view.update(now_s, in_flight=None if given else 17, asked_per_s=None if given else 12.0)
    return out.getvalue()


def test_elsewhere_a_line_every_ten_seconds() -> None:
    lines = shown(terminal=False).splitlines()

    assert [line.split(" of ")[0] for line in lines] == ["10", "20", "30"]
    for part in ("of 12.0 requests/s", "tokens/s", "17 in flight", "TTFT on p50/p90", "ITL off p50/p90"):
        assert part in lines[1]
    assert "\x1b" not in "".join(lines)


def test_in_a_terminal_a_table() -> None:
    text = shown(terminal=True)

    for part in ("chat", "thinking", "TTFT p50", "17 in flight", "ServerUnavailableError"):
        assert part in text


def test_what_nobody_knows_is_left_out() -> None:
    text = shown(terminal=False, in_flight=None)

    assert "in flight" not in text
    assert "of 12" not in text


def test_only_the_last_ten_seconds_count() -> None:
    out = io.StringIO()
    with LiveView("chat", 60, Console(file=out, width=200)) as view:
        for number in range(20):
            view.add(made((1.0, 1), (2.0, 100), intended_s=0.5 + number / 100))
        view.update(5.0)
        view.update(30.0)
    first, second = out.getvalue().splitlines()

    assert "4.00 requests/s, 400 tokens/s" in first
    assert "0 requests/s, 0 tokens/s" in second


def test_errors_are_shown_as_text() -> None:
    out = io.StringIO()
    with LiveView("chat", 60, Console(file=out, width=200)) as view:
        view.add(msgspec.structs.replace(made(outcome="error"), error_type="[red]x[/red]"))
        view.update(11.0)

    assert "1 [red]x[/red]" in out.getvalue()
