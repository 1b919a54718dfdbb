from __future__ import annotations

import pytest

from nemotron_serving.engine import Delta, EngineRequest, OnDelta
from nemotron_serving.errors import EngineError
from nemotron_serving.generation.engine_check import EngineCheck


class PretendEngine:
    """Takes requests and does nothing by itself."""

    def __init__(self) -> None:
        self.now = 0.0
        self.requests: list[EngineRequest] = []
        self.failure: EngineError | None = None

    def submit(self, request: EngineRequest, on_delta: OnDelta) -> None:
        if self.failure:
            raise self.failure
        self.requests.append(request)
        self.on_delta = on_delta


def checked() -> tuple[PretendEngine, EngineCheck]:
    engine = PretendEngine()
    return engine, EngineCheck(engine, lambda: engine.now)  # type: ignore[arg-type]


def begin(check: EngineCheck, request_id: int) -> None:
    check.begin(request_id, [1, 2], (3,))


def test_one_token_at_a_time() -> None:
    engine, check = checked()
    begin(check, 1)
    begin(check, 2)
    assert [(one.request_id, one.prompt_ids, one.max_tokens, one.stop_token_ids) for one in engine.requests] == [
        (1, [1, 2], 1, frozenset((3,)))
    ]
    engine.on_delta(Delta([7]))
    begin(check, 3)
    engine.on_delta(Delta([], "length"))
    begin(check, 4)
    assert [one.request_id for one in engine.requests] == [1, 4]


@pytest.mark.parametrize(("worked", "rest"), [(0.1, 2), (0.2, 4), (3, 5)])
def test_a_slow_engine_rests_for_longer(worked: float, rest: float) -> None:
    """But never for so long that a hang would go unseen."""
    engine, check = checked()
    begin(check, 1)
    engine.now = worked
    engine.on_delta(Delta([7], "length"))
    engine.now = worked + 0.9 * rest
    begin(check, 2)
    engine.now = worked + 1.1 * rest
    begin(check, 3)
    assert [one.request_id for one in engine.requests] == [1, 3]


def test_an_engine_that_fails_is_asked_again() -> None:
    engine, check = checked()
    engine.failure = EngineError("closed")
    begin(check, 1)
    engine.failure = None
    begin(check, 2)
    engine.on_delta(Delta([], error="broken"))
    begin(check, 3)
    assert [one.request_id for one in engine.requests] == [2, 3]
