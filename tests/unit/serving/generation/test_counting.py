"""What is told of requests that are over, of those that were refused, and of the server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nemotron_serving.engine.simulated import Script
from nemotron_serving.errors import EngineError, InvalidRequestError, UnavailableError
from nemotron_serving.generation.counting import outcome_of
from nemotron_serving.generation.settings import GenerationSettings
from nemotron_serving.metrics import METRICS, Recorder
from tests.unit.serving.generation.conftest import PROBE, PROMPT, Service, Start
from tests.unit.serving.support import settings

LONG = Script(match="", answer="0123456789" * 50, ttft_ms=30, token_ms=3)
FAILS = Script(match="", answer="0123456789" * 50, fail_after_tokens=3, token_ms=3)
KNOWN = {one.name: one for one in METRICS}


class Page:
    """What a recorder has said so far."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._counted: dict[tuple[str, ...], float] = {}
        self.observed: dict[str, list[float]] = {}

    def counted(self, name: str) -> dict[tuple[str, ...], float]:
        """By the values of the labels, in their alphabetical order."""
        _, counted, observed = self._recorder.take()
        for series, amount in counted.items():
            key = (series.name, *(value for _, value in series.labels))
            self._counted[key] = self._counted.get(key, 0) + amount
        for series, value in observed:
            self.observed.setdefault(series.name, []).append(value)
        return {labels[1:]: amount for labels, amount in self._counted.items() if labels[0] == name}

    @property
    def requests(self) -> dict[tuple[str, ...], float]:
        return self.counted("nemotron_requests_total")

    @property
    def tokens(self) -> dict[tuple[str, ...], float]:
        return self.counted("nemotron_tokens_total")


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def page(recorder: Recorder) -> Page:
    return Page(recorder)


@pytest.fixture
def service(start: Start, recorder: Recorder) -> Service:
    return start(LONG, recorder=recorder)


def reading(start: Any) -> GenerationSettings:
    """Settings of a request whose output begins like this."""
    return settings(max_tokens=20, start=start)


def test_a_request_that_is_answered(service: Service, page: Page) -> None:
    sink = service.ask(max_tokens=20)
    assert sink.wait().finish_reason == "length"
    assert service.idle()
    assert page.requests == {("ok", "unknown"): 1}
    assert page.tokens == {("prompt",): len(PROMPT), ("output",): 20}
    (ttft,), (wait,), (itl,), (whole,) = (
        page.observed[f"nemotron_{name}_seconds"] for name in ("ttft", "wait", "itl", "request")
    )
    assert 0 <= wait < ttft < whole
    assert ttft + 19 * itl <= whole


@pytest.mark.parametrize(
    ("begins", "thinking"),
    [("thinking", "on"), ("expected", "on"), ("answer", "off"), ("closed", "off"), ("detect", "unknown")],
)
def test_whether_it_thinks(service: Service, page: Page, begins: str, thinking: str) -> None:
    client = service.subscribe()
    service.submit_to_session(client.key, "a", PROMPT, reading(begins))
    client.wait("a")
    assert service.idle()
    assert page.requests == {("ok", thinking): 1}
    assert page.tokens.get(("reasoning",), 0) == (20 if begins == "thinking" else 0)


def test_how_they_end(start: Start, service: Service, page: Page, recorder: Recorder) -> None:
    stopped = service.ask("a", max_tokens=400)
    assert service.until(lambda: stopped.ids)
    service.stop("a")
    stopped.wait()
    service.ask(max_tokens=400, timeout_ms=50).wait()
    assert service.idle()
    failing = start(FAILS, recorder=recorder)
    failing.ask(max_tokens=400).wait()
    assert failing.idle()
    assert page.requests == {("cancelled", "unknown"): 1, ("timeout", "unknown"): 1, ("error", "unknown"): 1}


def test_what_is_not_admitted(service: Service, page: Page, tmp_path: Path) -> None:
    client = service.subscribe()
    refusals: list[Callable[[], object]] = [
        lambda: service.submit_to_session(client.key, "", PROMPT, reading("answer")),
        lambda: service.submit_to_session("none", "a", PROMPT, reading("answer")),
    ]
    for refusal in refusals:
        with pytest.raises((InvalidRequestError, UnavailableError)):
            refusal()
    (tmp_path / "drain").touch()
    with pytest.raises(UnavailableError):
        service.ask()
    assert page.requests == {("invalid", "off"): 1, ("refused", "off"): 1, ("refused", "unknown"): 1}
    assert "nemotron_request_seconds" not in page.observed


def test_what_waits_is_observed_when_it_ends(start: Start, recorder: Recorder, page: Page) -> None:
    service = start(LONG, recorder=recorder, max_batch_size=1)
    first, second = service.ask(max_tokens=40), service.ask(max_tokens=40)
    first.wait()
    second.wait()
    assert service.idle()
    assert page.requests == {("ok", "unknown"): 2}
    waits = page.observed["nemotron_wait_seconds"]
    assert min(waits) < 0.01 < max(waits)


def test_the_launchers_own_count_as_none(service: Service, page: Page) -> None:
    service.ask(PROBE, max_tokens=1).wait()
    assert service.idle()
    assert (page.requests, page.tokens, page.observed) == ({}, {}, {})


def test_gauges(service: Service, recorder: Recorder, tmp_path: Path) -> None:
    service.stats().tell(recorder)
    gauges, _, _ = recorder.take()
    assert {series.name for series in gauges} <= KNOWN.keys()
    before = {series.name: value for series, value in gauges.items()}
    assert (before["nemotron_requests_in_flight"], before["nemotron_draining"]) == (0, 0)
    (tmp_path / "leave").touch()
    service.stats().tell(recorder)
    assert {series.name: value for series, value in recorder.take()[0].items()}["nemotron_draining"] == 1


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(UnavailableError("full"), "refused"), (InvalidRequestError("a", "b"), "invalid"), (EngineError("c"), "error")],
)
def test_errors_are_outcomes(error: Exception, outcome: str) -> None:
    assert outcome_of(error) == outcome
