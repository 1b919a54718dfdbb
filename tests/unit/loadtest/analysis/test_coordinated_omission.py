"""A stall in the server: an open loop shows it in its tail, a closed loop hardly does."""

from __future__ import annotations

from nemotron_loadtest.analysis import summarise
from nemotron_loadtest.metrics import Window
from tests.unit.loadtest.analysis.queues import PaperServer, closed_loop, open_loop

STALL = (30.0, 2.0)
SECONDS = 90.0


def p99_ms(samples_of: str) -> float:
    server = PaperServer(4, 0.1, stall=STALL)
    samples = open_loop(server, 20, SECONDS) if samples_of == "open" else closed_loop(server, 4, SECONDS)
    found = summarise(samples, Window(0, SECONDS)).all.distribution("ttft_ms").p99
    assert found is not None
    return found


def test_the_open_loop_shows_a_stall() -> None:
    assert p99_ms("open") > 1_000


def test_the_closed_loop_hides_it() -> None:
    assert p99_ms("closed") < 50


def test_from_the_actual_start_an_open_loop_that_waits_would_hide_it_too() -> None:
    """A generator that sends only when the last answer is there, as one with too few users does."""
    samples = []
    free_s = 0.0
    for sample in open_loop(PaperServer(1, 0.03, stall=STALL), 20, SECONDS):
        started_s = max(sample.intended_s, free_s)
        free_s = sample.ended_s
        fields = {name: getattr(sample, name) for name in sample.__struct_fields__}
        samples.append(type(sample)(**{**fields, "started_s": started_s}))
    found = summarise(samples, Window(0, SECONDS)).all
    intended, actual = found.distribution("ttft_ms").p99, found.distribution("ttft_ms", "actual").p99
    delay = found.distribution("schedule_delay_ms").p99
    assert intended is not None
    assert actual is not None
    assert delay is not None
    assert intended > 1_000
    assert actual < 50
    assert delay > 1_000
