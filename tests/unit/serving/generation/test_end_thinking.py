"""A caller that wants the answer now has the thinking of its running request closed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from nemotron_serving.engine.simulated import Script
from nemotron_serving.errors import InvalidRequestError, UnavailableError
from nemotron_serving.guide import ResponseFormat
from nemotron_serving.output.assembler import OutputRules
from tests.unit.serving.generation.conftest import OPEN_PROMPT, PROMPT, Service, Start
from tests.unit.serving.support import CLOSE_IDS, Collector, ids_of, settings

THINKER = Script(match="", thinking="0123456789" * 40, answer="Four.", token_ms=3)
TALKER = Script(match="", answer="0123456789" * 40, token_ms=3)


def ends(service: Service, client_id: str = "id", **how: Any) -> bool:
    """Whether a thinking ends by this."""
    told: list[bool] = []
    service.end_thinking(told.append, client_id, **how)
    assert service.until(lambda: told)
    [answer] = told
    return answer


def begun(service: Service, sink: Collector, tokens: int = 5) -> Collector:
    assert service.until(lambda: len(sink.ids) >= tokens)
    return sink


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("budget", [None, (200, 20)])
def test_the_thinking_is_closed_at_once_and_the_answer_follows(
    start: Start, budget: tuple[int, int] | None, stream: bool
) -> None:
    service = start(THINKER)
    sink = service.ask("id", thinking=True, budget=budget, max_tokens=500, stream=stream)
    service.clock.run_until(lambda: False, 0.03)
    assert ends(service)
    last = sink.wait()
    thought, answer = sink.text.split("\n</think>\n\n")
    assert THINKER.thinking.startswith(thought)
    assert 1 <= len(thought) < 20
    assert (answer, last.finish_reason, last.states) == ("Four.", "stop", {"thinking_budget_reached": True})
    first, second = service.engine.requests
    assert second.prompt_ids == [*OPEN_PROMPT, *ids_of(thought), *CLOSE_IDS]
    assert second.max_tokens == 500 - len(thought) - len(CLOSE_IDS)
    assert service.engine.aborted == [first.request_id]
    assert not ends(service)


def test_no_character_is_cut(start: Start) -> None:
    service = start(Script(match="", thinking="ไทย🙂" * 60, answer="Four.", token_ms=3))
    sinks = {str(number): service.ask(str(number), thinking=True, max_tokens=900) for number in range(6)}
    for number, (client_id, sink) in enumerate(sinks.items()):
        begun(service, sink, 20 + number)
        assert ends(service, client_id)
    for sink in sinks.values():
        assert sink.wait().finish_reason == "stop"
        assert "\ufffd" not in sink.text
        assert sink.text.endswith("\n</think>\n\nFour.")


def test_a_request_that_waits_thinks_one_token(start: Start) -> None:
    service = start(THINKER, engine={"max_batch_size": 1}, max_batch_size=1)
    running = begun(service, service.ask("running", thinking=True, max_tokens=500))
    waiting = service.ask("waiting", thinking=True, max_tokens=500)
    assert ends(service, "waiting")
    service.stop("running")
    assert running.wait().finish_reason == "cancelled"
    assert waiting.wait().finish_reason == "stop"
    assert waiting.text == "0\n</think>\n\nFour."


def test_a_guided_answer_follows_its_grammar(start: Start) -> None:
    service = start(THINKER)
    asked = settings(thinking=True, budget=(200, 20), max_tokens=500)
    asked = msgspec.structs.replace(asked, guide=ResponseFormat('{"type": "json_object"}'))
    sink = Collector(service.clock)
    service.submit("id", OPEN_PROMPT, asked, sink)
    begun(service, sink)
    assert ends(service)
    assert sink.wait().finish_reason == "stop"
    assert [request.guide is None for request in service.engine.requests] == [True, False]


def test_a_thinking_that_the_model_opens_itself_is_closed_once_it_is_seen_to_be_one(start: Start) -> None:
    service = start(Script(match="", answer=f"<think>\n{THINKER.thinking}", token_ms=3))
    sink = service.ask("id", start="expected", max_tokens=300)
    assert ends(service)
    assert service.until(lambda: len(service.engine.requests) == 2)
    assert service.engine.requests[1].prompt_ids == [*PROMPT, *ids_of("<think>"), *CLOSE_IDS]
    service.stop("id")
    sink.wait()


@pytest.mark.parametrize(
    "asked",
    [
        {"start": "answer"},
        {"start": "closed"},
        {"token_level": True},
        {"start": "detect"},
        {"start": "detect", "stop_words": ("x",)},
        {"thinking": True, "prompt": PROMPT, "max_tokens": 16},  # no token is left for an answer
    ],
)
def test_a_request_that_does_not_think_goes_on_as_it_is(start: Start, asked: dict[str, Any]) -> None:
    service = start(TALKER)
    sink = begun(service, service.ask("id", **({"max_tokens": 100} | asked)))
    assert not ends(service)
    last = sink.wait()
    assert (last.finish_reason, last.states) == ("length", {})
    assert len(service.engine.requests) == 1
    assert TALKER.answer.startswith(sink.text)


def test_a_request_that_has_thought_or_ended_or_is_not_there_goes_on_as_it_is(start: Start) -> None:
    service = start(Script(match="", thinking="Hm.", answer="0123456789" * 40, token_ms=3))
    for stop_words in ((), ("x",)):
        sink = begun(service, service.ask("id", thinking=True, max_tokens=100, stop_words=stop_words), 40)
        assert not ends(service)
        assert sink.wait().states == {}
        assert not ends(service)
    assert not ends(service, "nobody's")
    sink = begun(service, service.ask("nobody's", thinking=True, max_tokens=100), 40)
    assert sink.text.startswith("Hm.\n</think>\n\n0")  # nothing was kept for it
    with pytest.raises(InvalidRequestError, match=r"^id: missing"):
        ends(service, "")


def test_it_reaches_whom_a_stop_reaches(start: Start) -> None:
    service = start(THINKER, stops="bound")
    subscriber, other = service.subscribe(), service.subscribe()
    subscriber.ask("id", thinking=True, caller="me", max_tokens=500)
    assert service.until(lambda: subscriber.text("id"))
    assert not ends(service, session_key=other.key)
    assert not ends(service, caller="you")
    with pytest.raises(InvalidRequestError, match="nemotron-caller: missing"):
        ends(service)
    with pytest.raises(UnavailableError):
        ends(service, session_key="gone")
    assert ends(service, session_key=subscriber.key)
    last = subscriber.wait("id")
    assert (last["finish_reason"], last["thinking_budget_reached"]) == ("stop", True)
    assert subscriber.text("id").endswith("\n</think>\n\nFour.")
    subscriber.ask("next", thinking=True, caller="me", max_tokens=500)
    assert service.until(lambda: subscriber.text("next"))
    assert ends(service, "next", caller="me")
    assert subscriber.wait("next")["finish_reason"] == "stop"


def test_an_engine_that_takes_no_answer_fails_the_request(start: Start) -> None:
    service = start(THINKER)
    sink = begun(service, service.ask("id", thinking=True, max_tokens=500))
    service.engine.fail_from = 1
    assert not ends(service)
    assert sink.wait().error is not None


def test_the_output_rules_of_the_caller_hold_for_the_answer(start: Start) -> None:
    service = start(THINKER)
    sink = begun(service, service.ask("id", thinking=True, max_tokens=500, stop_words=("our",)))
    assert sink.responses[0].begins == OutputRules("thinking", ("our",))
    assert ends(service)
    assert sink.wait().finish_reason == "stop"
    assert sink.text.endswith("\n</think>\n\nFour")
