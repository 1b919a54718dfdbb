from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import pytest

from nemotron_serving.engine.simulated import Script
from nemotron_serving.errors import InvalidRequestError, UnavailableError
from nemotron_serving.generation.response import Response
from nemotron_serving.guide import StockGuide
from nemotron_serving.host import RuntimeDir
from nemotron_serving.output.assembler import OutputRules
from nemotron_serving.stages.preprocess import Preprocessor
from tests.unit.serving.generation.conftest import OPEN_PROMPT, PROBE, PROMPT, Service, Start
from tests.unit.serving.support import (
    CLOSE_IDS,
    Collector,
    eventually,
    ids_of,
    make_package,
    settings,
    text_of,
)

LONG = Script(match="", answer="0123456789" * 50, token_ms=3)
HELD = Script(match="", answer=LONG.answer, token_ms=3, stall_after_tokens=40, stall_ms=600_000)  # until it is ended
SHORT = Script(match="", answer="Four.")


# Delivery


def test_a_stream_in_order_with_running_totals(start: Start) -> None:
    sink = start(SHORT, engine={"token_ms": 5}).ask(stream=True)
    assert sink.wait().finish_reason == "stop"
    assert sink.text == "Four."
    totals = [response.num_output_tokens for response in sink.responses]
    assert totals == [1, 2, 3, 4, 5, 5]
    assert {response.num_input_tokens for response in sink.responses} == {2}
    assert len({(response.slot, response.number) for response in sink.responses}) == 1
    assert [response.sequence for response in sink.responses] == list(range(len(totals)))
    assert [response.final for response in sink.responses] == [False] * (len(totals) - 1) + [True]


def test_a_stream_whose_caller_has_left_is_ended_and_no_other(start: Start, tmp_path: Path) -> None:
    service = start(LONG, engine={"token_ms": 5})
    left, stays = service.ask(stream=True), service.ask(stream=True)
    assert service.until(lambda: bool(left.responses))
    assert RuntimeDir(tmp_path).report_departure(left.responses[0].number)
    assert left.wait().finish_reason == "cancelled"
    assert stays.wait().finish_reason == "length"


def test_only_the_first_response_says_how_to_read_the_stream(start: Start) -> None:
    sink = start(SHORT, engine={"token_ms": 5}).ask(stop_words=("END",))
    sink.wait()
    begins = [response.begins for response in sink.responses]
    assert begins == [OutputRules("detect", ("END",))] + [None] * (len(begins) - 1)
    assert all(response.for_text for response in sink.responses)


def test_not_streaming_gives_exactly_one_response(start: Start) -> None:
    service = start(SHORT, engine={"token_ms": 5})
    sink = service.ask(stream=False)
    response = sink.wait()
    assert service.idle()
    assert sink.responses == [response]
    assert (text_of(response.token_ids), response.finish_reason, response.num_output_tokens) == ("Four.", "stop", 5)
    assert response.begins == OutputRules("detect")


def test_max_tokens_is_the_reason_length(start: Start) -> None:
    sink = start(SHORT).ask(max_tokens=3)
    assert sink.wait().finish_reason == "length"
    assert sink.text == "Fou"


def test_a_token_level_caller_gets_ids_and_no_rules(start: Start) -> None:
    sink = start(SHORT).ask(token_level=True)
    assert sink.wait().finish_reason == "stop"
    assert sink.text == "Four."
    assert {(response.for_text, response.begins) for response in sink.responses} == {(False, None)}


def test_the_first_token_goes_out_at_once_and_the_next_ones_wait_for_the_interval(start: Start) -> None:
    service = start(HELD, interval_ms=600_000)
    sink = service.ask("id", max_tokens=400)
    assert service.until(lambda: len(sink.responses) == 1)
    service.stop("id")
    assert sink.wait().finish_reason == "cancelled"
    assert len(sink.responses) == 2


@pytest.mark.parametrize(("interval_ms", "least_s"), [(120, 0.12), (None, 0.04)])
def test_responses_do_not_come_more_often_than_the_interval(
    start: Start, interval_ms: float | None, least_s: float
) -> None:
    service = start(LONG, interval_ms=interval_ms)
    begin = service.clock.monotonic()
    sink = service.ask(max_tokens=250)
    sink.wait()
    assert sink.text == LONG.answer[:250]
    # The first one and the last one need not wait. 250 tokens take 750 ms.
    assert 2 <= len(sink.responses) <= 2 + (service.clock.monotonic() - begin) / least_s


class Dear(Collector):
    """A sink that takes 10 ms of CPU time of the thread that sends."""

    def send(self, response: Response) -> None:
        assert self._clock is not None
        self._clock.cpu_s += 0.01
        super().send(response)


@pytest.mark.parametrize("on_cpu", [False, True])
def test_responses_leave_the_cores_to_an_engine_that_computes_on_them(
    start: Start, monkeypatch: pytest.MonkeyPatch, on_cpu: bool
) -> None:
    monkeypatch.setattr("nemotron_serving.generation.service.cores", lambda: 2)
    service = start(LONG, interval_ms=None, limits={"on_cpu": on_cpu})
    sinks = [Dear(service.clock) for _ in range(4)]
    for number, sink in enumerate(sinks):
        service.submit(str(number), PROMPT, settings(max_tokens=250), sink)
    assert {sink.wait().finish_reason for sink in sinks} == {"length"}
    # Each stands for more in all processes, of 100 ms a second: so the next ones come after the last, after 750 ms.
    counts = [len(sink.responses) for sink in sinks]
    assert counts == [2] * 4 if on_cpu else min(counts) > 10


# Admission


def test_one_more_than_the_limit_is_refused_at_once_and_admitted_when_there_is_room(start: Start) -> None:
    service = start(HELD, max_batch_size=2, max_waiting=1, engine={"max_batch_size": 2})
    sinks = [service.ask(str(number), max_tokens=400) for number in range(3)]
    assert service.until(lambda: service.stats().running == 2)
    assert (service.stats().in_flight, service.stats().waiting) == (3, 1)
    assert service.stats().kv_cache_used > 0
    with pytest.raises(UnavailableError, match=r"^This server has 3 requests in flight, which is its limit; try again"):
        service.ask()
    assert service.stats().in_flight == 3  # it did not wait for a place
    assert service.stop("0")
    assert sinks[0].wait().finish_reason == "cancelled"
    assert service.until(lambda: service.stats().in_flight == 2)
    sinks.append(service.ask(max_tokens=3))
    with pytest.raises(UnavailableError):
        service.ask()
    for client_id in ("1", "2"):
        service.stop(client_id)
    assert sinks[3].wait().finish_reason == "length"
    assert service.idle()


def test_a_request_whose_form_no_grammar_can_be_made_of_gives_its_place_back(start: Start) -> None:
    service = start(SHORT, max_batch_size=1, max_waiting=0)
    impossible = msgspec.structs.replace(settings(), guide=StockGuide("json", "{"))
    for _ in range(3):
        with pytest.raises(InvalidRequestError):
            service.submit("id", PROMPT, impossible, Collector())
    assert service.stats().in_flight == 0
    assert service.stop("id") is False  # it is late: the next request with this id is another
    assert service.ask("id").wait().finish_reason == "stop"


def test_two_hundred_streams_at_once(start: Start) -> None:
    script = Script(match="", thinking="Let me think\nabout it.", answer="The answer is 4.", token_ms=1)
    service = start(script, max_batch_size=64, max_waiting=200, interval_ms=None, max_seq_len=512)
    sinks = []
    for number in range(200):
        thinking = number % 2 == 0
        sinks.append(
            service.ask(
                str(number),
                thinking=thinking,
                budget=(8, 8) if number % 4 == 0 else None,
                stream=number % 3 != 0,
                stop_words=("4",) if number % 5 == 0 else (),
            )
        )
    for number in (3, 50, 133):
        service.stop(str(number))
    for number, sink in enumerate(sinks):
        reason = sink.wait().finish_reason
        assert reason in (("stop", "cancelled") if number in (3, 50, 133) else ("stop",))
        if reason == "stop":
            thought = "Let me think\n" if number % 4 == 0 else "Let me think\nabout it."
            expected = f"{thought}\n</think>\n\n" if number % 2 == 0 else ""
            assert sink.text == expected + ("The answer is 4" if number % 5 == 0 else "The answer is 4.")
    assert service.idle()


# Cancel, deadline, shutdown


@pytest.mark.parametrize("place", ["running", "waiting"])
def test_cancel_by_the_callers_id(start: Start, place: str) -> None:
    service = start(HELD, engine={"max_batch_size": 1})
    first, second = service.ask("first", max_tokens=400), service.ask("second", max_tokens=400)
    assert service.until(lambda: len(first.ids) > 5)
    assert service.stop("first" if place == "running" else "second") is True
    sink = first if place == "running" else second
    assert sink.wait().finish_reason == "cancelled"
    assert LONG.answer.startswith(sink.text)
    assert bool(sink.ids) is (place == "running")
    assert service.until(lambda: service.stats().in_flight == 1)
    if place == "running":
        assert service.until(lambda: len(second.ids) > 5), "its place was not freed"
    assert service.stop("first") is not service.stop("second")


def test_cancelling_what_is_not_there_changes_nothing(start: Start) -> None:
    service = start(LONG)
    sinks = [service.ask("known", max_tokens=30), service.ask("", max_tokens=30)]
    assert service.stop("unknown") is False
    with pytest.raises(InvalidRequestError, match=r"^id: missing"):
        service.stop("")
    assert [sink.wait().finish_reason for sink in sinks] == ["length", "length"]
    assert service.stop("known") is False


def test_whoever_knows_the_id_may_stop_a_request_unless_stops_are_bound(start: Start) -> None:
    service = start(HELD)
    sinks = [service.ask("id", caller=caller) for caller in ("", "one", "another")]
    assert service.stop("id", "somebody else") is True
    assert [sink.wait().finish_reason for sink in sinks] == ["cancelled"] * 3


def test_a_bound_stop_ends_its_callers_requests_alone(start: Start) -> None:
    service = start(HELD, stops="bound")
    mine, others, nobodys = (service.ask("id", caller=caller) for caller in ("mine", "others", ""))
    with pytest.raises(InvalidRequestError, match=r"^nemotron-caller: missing; .* as a header"):
        service.stop("id")
    assert service.stop("id", "stranger") is False
    assert service.stop("id", "mine") is True
    assert mine.wait().finish_reason == "cancelled"
    assert not any(response.final for sink in (others, nobodys) for response in sink.responses)
    assert service.stats().in_flight == 2
    assert service.stop("id", "others") is True


def test_a_bound_stop_that_comes_early_waits_for_its_callers_request(start: Start) -> None:
    service = start(SHORT, stops="bound")
    assert service.stop("id", "mine") is False
    assert service.ask("id", caller="others").wait().finish_reason == "stop"
    assert service.ask("id").wait().finish_reason == "stop"
    assert service.ask("id", caller="mine").wait().finish_reason == "cancelled"


def test_a_stop_that_overtakes_its_request_cancels_it(start: Start) -> None:
    service = start(SHORT)
    assert service.stop("id") is False
    sink = service.ask("id")
    assert sink.wait().finish_reason == "cancelled"
    assert service.engine.requests == []
    assert service.ask("id").wait().finish_reason == "stop"


def test_a_stop_that_comes_after_the_end_does_not_meet_the_next_request(start: Start) -> None:
    service = start(SHORT)
    service.ask("id").wait()
    assert service.idle()
    assert service.stop("id") is False
    assert service.ask("id").wait().finish_reason == "stop"


def test_one_id_for_two_requests_cancels_both(start: Start) -> None:
    service = start(HELD)
    sinks = [service.ask("same", max_tokens=400), service.ask("same", max_tokens=400)]
    assert service.stop("same") is True
    assert [sink.wait().finish_reason for sink in sinks] == ["cancelled", "cancelled"]


THINKER = Script(
    match="", thinking="0" * 300, answer="A" * 300, token_ms=3, stall_after_tokens=40, stall_ms=HELD.stall_ms
)


def test_cancel_while_thinking(start: Start) -> None:
    service = start(THINKER)
    sink = service.ask("id", thinking=True, budget=(200, 20), max_tokens=500)
    assert service.until(lambda: len(sink.ids) > 5)
    service.stop("id")
    assert sink.wait().finish_reason == "cancelled"
    assert set(sink.text) == {"0"}
    assert service.idle()


def test_cancel_in_the_answer_after_the_budget_closed_the_thinking(start: Start) -> None:
    service = start(THINKER)
    sink = service.ask("id", thinking=True, budget=(10, 1), max_tokens=500)
    assert service.until(lambda: "AAA" in sink.text)
    assert len(service.engine.requests) == 2
    service.stop("id")
    assert sink.wait().finish_reason == "cancelled"
    assert service.engine.aborted[-1] == service.engine.requests[-1].request_id
    assert service.idle()


@pytest.mark.parametrize("stream", [True, False])
def test_a_deadline_gives_what_there_is(start: Start, stream: bool) -> None:
    service = start(HELD)
    begin = service.clock.monotonic()
    sink = service.ask(max_tokens=400, timeout_ms=500, stream=stream)
    response = sink.wait()
    assert 0.5 <= service.clock.monotonic() - begin < 0.6
    assert response.finish_reason == "timeout"
    assert 0 < len(sink.ids) < 400
    assert response.num_output_tokens == len(sink.ids)
    assert LONG.answer.startswith(sink.text)
    assert service.idle()


def test_a_deadline_passes_while_waiting_too(start: Start) -> None:
    service = start(LONG, engine={"max_batch_size": 1})
    first = service.ask("first", max_tokens=400)
    second = service.ask("second", timeout_ms=100)
    assert second.wait().finish_reason == "timeout"
    assert second.ids == []
    assert not any(response.final for response in first.responses)
    service.stop("first")


def test_a_receiver_that_left_is_noticed_at_the_token_level(start: Start) -> None:
    service = start(LONG)
    tokens, text = service.ask(token_level=True, max_tokens=400), service.ask("text", max_tokens=400)
    tokens.cancelled = text.cancelled = True
    assert tokens.wait().finish_reason == "cancelled"
    # An ensemble's sink never knows about its caller.
    assert not any(response.final for response in text.responses)
    service.stop("text")


def test_draining_refuses_new_requests_and_finishes_the_others(start: Start, tmp_path: Path) -> None:
    service = start(LONG)
    sink = service.ask(max_tokens=40)
    (tmp_path / "drain").touch()
    with pytest.raises(UnavailableError, match=r"shutting down and takes no new requests; try another one\.$"):
        service.ask()
    with pytest.raises(UnavailableError, match="shutting down"):  # the question of clients whether it is
        service.stop("of a request that nobody makes")
    assert sink.wait().finish_reason == "length"
    assert len(sink.ids) == 40


def test_before_it_drains_a_server_says_so_to_who_asks_and_takes_requests(start: Start, tmp_path: Path) -> None:
    service = start(LONG)
    (tmp_path / "leave").touch()
    with pytest.raises(UnavailableError, match="shutting down"):  # the question of clients whether it is
        service.stop("of a request that nobody makes")
    assert service.ask(max_tokens=40).wait().finish_reason == "length"
    with pytest.raises(UnavailableError, match="shutting down"):
        service.stop("early")
    assert service.ask("early", max_tokens=40).wait().finish_reason == "cancelled", "it was heard all the same"


def test_a_launcher_that_stops_the_server_has_the_engine_closed(start: Start, tmp_path: Path) -> None:
    service = start(LONG)
    sink = service.ask(max_tokens=40)
    assert (tmp_path / "engine").exists()
    (tmp_path / "close").touch()
    assert sink.wait().finish_reason == "length", "what runs has its time"
    assert service.until(lambda: not (tmp_path / "engine").exists())
    assert service.engine.closed
    with pytest.raises(UnavailableError):
        service.ask()


def test_an_engine_that_fails_to_close_is_not_waited_for(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RuntimeError("no")

    service = start(LONG)
    with monkeypatch.context() as patch:
        patch.setattr(service.engine, "close", fail)
        (tmp_path / "close").touch()
        assert service.until(lambda: not (tmp_path / "engine").exists())


def test_a_stop_is_heard_while_draining(start: Start, tmp_path: Path) -> None:
    service = start(LONG)
    sink = service.ask(client_id="mine", max_tokens=400)
    assert service.until(lambda: len(sink.ids) > 5)
    (tmp_path / "drain").touch()
    assert service.stop("mine")
    assert sink.wait().finish_reason == "cancelled"


def test_the_cancel_file_ends_what_runs(start: Start, tmp_path: Path) -> None:
    service = start(LONG, engine={"max_batch_size": 2})
    sinks = [service.ask(max_tokens=400, stream=number != 0) for number in range(3)]
    assert service.until(lambda: len(sinks[1].ids) > 5)
    (tmp_path / "cancel").touch()
    assert [sink.wait().finish_reason for sink in sinks] == ["cancelled"] * 3
    assert len(sinks[0].ids) > 5
    assert service.idle()


def test_closing_cancels_what_runs_and_delivers_it(start: Start) -> None:
    service = start(LONG)
    sink = service.ask(max_tokens=400)
    assert service.until(lambda: len(sink.ids) > 5)
    service.close()
    assert sink.responses[-1].finish_reason == "cancelled"
    with pytest.raises(UnavailableError, match="shutting down"):
        service.ask()


# Thinking and its budget


@pytest.mark.parametrize(
    ("thought", "budget", "kept"),
    [
        ("0123456789\nabcdefgh", (8, 5), "0123456789\n"),  # the first newline after the budget
        ("0123456\nabcdefgh", (8, 5), "0123456\n"),  # a newline as the last token of the budget
        ("012345\nabcdefghijklm", (8, 3), "012345\nabcd"),  # one before it does not close
        ("0" * 50, (8, 3), "0" * 11),  # none: the end of the grace
        ("0" * 10 + "\n" + "0" * 40, (8, 3), "0" * 10 + "\n"),  # a newline as the last token of the grace
        ("0" * 50, (1, 1), "0" * 2),
    ],
)
def test_the_budget_closes_the_thinking_and_a_second_request_answers(
    start: Start, thought: str, budget: tuple[int, int], kept: str
) -> None:
    service = start(Script(match="", thinking=thought, answer="Four."))
    sink = service.ask(thinking=True, budget=budget, max_tokens=60)
    assert sink.wait().finish_reason == "stop"
    assert sink.text == f"{kept}\n</think>\n\nFour."
    first, second = service.engine.requests
    assert (first.prompt_ids, first.max_tokens) == (OPEN_PROMPT, 60)
    assert second.prompt_ids == [*OPEN_PROMPT, *ids_of(kept), *CLOSE_IDS]
    assert second.max_tokens == 60 - len(kept) - len(CLOSE_IDS)
    assert (second.sampling, second.stop_token_ids) == (first.sampling, first.stop_token_ids)
    assert second.request_id != first.request_id
    assert service.engine.aborted == [first.request_id]
    assert sink.responses[-1].num_output_tokens == len(sink.ids) == len(kept) + len(CLOSE_IDS) + 5


@pytest.mark.parametrize(("piece", "waits"), [("0", 0), ("0123456 89\n", 0), ("ไทย", 2), ("🙂", 3)])
def test_no_budget_closes_more_than_a_tenth_late(tmp_path: Path, start: Start, piece: str, waits: int) -> None:
    """docs/requests.md: at the first newline after the budget, at most 10 % later, but in no character's middle."""
    prepare = Preprocessor(make_package(tmp_path / "rules", min_answer_tokens=1)).prepare
    service = start(Script(match="", thinking=piece * 240, answer="Four."))
    thought, line = {}, piece.find("\n") + 1
    for budget in range(1, 201):
        fields = {"text_input": "Hi", "thinking": True, "max_thinking_tokens": budget, "max_tokens": 400}
        sink = Collector(service.clock)
        service.submit("", OPEN_PROMPT, prepare(fields)[1], sink)
        assert sink.wait().finish_reason == "stop"
        thought[budget] = len(sink.text.partition("\n</think>")[0].encode())
    for budget, tokens in thought.items():
        hardest = budget + budget // 10
        newline = -(-budget // line) * line if line else hardest
        assert min(newline, hardest) <= tokens <= min(newline, hardest) + waits
    if piece == "0":
        assert [thought[budget] for budget in (1, 9, 10, 24, 40, 64, 200)] == [1, 9, 11, 26, 44, 70, 220]


def test_the_budget_does_not_cut_a_character(start: Start) -> None:
    """Each of these is three tokens, and the grace ends after the first token of the fourth."""
    service = start(Script(match="", thinking="ไทยไทยไทย", answer="Four."))
    sink = service.ask(thinking=True, budget=(8, 2), max_tokens=60)
    assert sink.wait().finish_reason == "stop"
    assert sink.text == "ไทยไ\n</think>\n\nFour."


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("max_tokens", [26, 40, 200])
def test_thinking_tag_and_answer_stay_within_max_tokens(start: Start, max_tokens: int, stream: bool) -> None:
    service = start(Script(match="", thinking="0" * 500, answer="A" * 500))
    sink = service.ask(thinking=True, budget=(8, 3), max_tokens=max_tokens, stream=stream)
    assert sink.wait().finish_reason == "length"
    assert len(sink.ids) == max_tokens
    assert sink.text == "0" * 11 + "\n</think>\n\n" + "A" * (max_tokens - 11 - len(CLOSE_IDS))


def test_a_model_that_closes_its_thinking_in_time_is_left_alone(start: Start) -> None:
    service = start(Script(match="", thinking="Short.", answer="Four\nlines\nof\ntext."))
    sink = service.ask(thinking=True, budget=(20, 3), max_tokens=100)
    assert sink.wait().finish_reason == "stop"
    assert sink.text == "Short.\n</think>\n\nFour\nlines\nof\ntext."
    assert len(service.engine.requests) == 1
    assert service.engine.aborted == []


def test_without_a_budget_thinking_ends_as_the_model_likes(start: Start) -> None:
    service = start(Script(match="", thinking="0" * 100, answer="Four."))
    sink = service.ask(thinking=True, max_tokens=50)
    assert sink.wait().finish_reason == "length"
    assert sink.text == "0" * 50
    assert len(service.engine.requests) == 1


# The first script ends inside the thinking that the prompt opened, the second one answers.
QUITTERS = (Script(match="</think>", answer="Four."), Script(match="", answer="I ponder"))


def test_an_end_inside_thinking_closes_it_and_the_answer_follows(start: Start) -> None:
    service = start(*QUITTERS)
    sink = service.ask(thinking=True, prompt=PROMPT, budget=(30, 3), max_tokens=60)
    assert sink.wait().finish_reason == "stop"
    assert sink.text == "I ponder\n</think>\n\nFour."
    assert service.engine.requests[1].prompt_ids == [*PROMPT, *ids_of("I ponder"), *CLOSE_IDS]
    assert [response.final for response in sink.responses].count(True) == 1


def test_an_end_inside_thinking_without_room_for_an_answer_is_the_end(start: Start) -> None:
    service = start(*QUITTERS)
    sink = service.ask(thinking=True, prompt=PROMPT, budget=(30, 3), max_tokens=8 + len(CLOSE_IDS))
    assert sink.wait().finish_reason == "stop"
    assert sink.text == "I ponder"
    assert len(service.engine.requests) == 1


# Stop strings


def test_a_stop_string_ends_the_answer(start: Start) -> None:
    service = start(Script(match="", answer="One, two STOP three " * 20, token_ms=2))
    sink = service.ask(stop_words=("STOP",), max_tokens=400)
    assert sink.wait().finish_reason == "stop"
    assert sink.text == "One, two STOP"  # postprocessing cuts the string itself
    assert service.engine.aborted == [service.engine.requests[0].request_id]
    assert service.idle()


def test_a_stop_string_held_back_for_a_longer_one_is_the_reason(start: Start) -> None:
    service = start(Script(match="", answer="One STOP", token_ms=1))
    sink = service.ask(stop_words=("STOP", "One STOP it"), max_tokens=8)
    assert sink.wait().finish_reason == "stop"


@pytest.mark.parametrize("budget", [None, (10, 3)])
def test_a_stop_string_does_not_end_the_thinking(start: Start, budget: tuple[int, int] | None) -> None:
    service = start(Script(match="", thinking="Do not STOP now\nor then", answer="Go STOP here"))
    sink = service.ask(thinking=True, budget=budget, stop_words=("STOP",), max_tokens=100)
    assert sink.wait().finish_reason == "stop"
    thought = "Do not STOP n" if budget else "Do not STOP now\nor then"
    assert sink.text == f"{thought}\n</think>\n\nGo STOP"


# Failures

FAILS = Script(match="", answer="Four and five", fail_after_tokens=6, token_ms=5)


def test_an_engines_error_comes_after_the_tokens_before_it(start: Start) -> None:
    service = start(FAILS)
    sink = service.ask()
    last = sink.wait()
    assert (last.error, last.finish_reason, last.token_ids) == ("The script fails after 6 tokens.", None, [])
    assert sink.text == "Four a"
    assert service.idle()


def test_an_engines_error_in_the_delta_of_unsent_tokens_comes_after_them_too(start: Start) -> None:
    sink = start(FAILS, interval_ms=60_000).ask()
    last = sink.wait()
    assert [text_of(response.token_ids) for response in sink.responses] == ["F", "our a", ""]
    assert last.error == "The script fails after 6 tokens."


def test_an_engines_error_is_the_only_response_of_a_request_that_does_not_stream(start: Start) -> None:
    service = start(FAILS)
    sink = service.ask(stream=False)
    assert sink.wait().error == "The script fails after 6 tokens."
    assert service.idle()
    assert len(sink.responses) == 1


def test_an_engine_that_takes_no_requests_is_an_error_of_the_stream(start: Start) -> None:
    service = start(SHORT)
    service.engine.close()
    sink = service.ask()
    assert sink.wait().error == "The engine was closed."
    assert service.idle()


def test_an_engine_that_fails_between_thinking_and_answer(start: Start) -> None:
    service = start(Script(match="", thinking="0" * 50, answer="Four."))
    service.engine.fail_from = 1
    sink = service.ask(thinking=True, budget=(8, 3))
    assert sink.wait().error == "The engine was closed."
    assert sink.text == "0" * 11 + "\n</think>\n\n"


class BrokenSink(Collector):
    """A sink whose receiver breaks at the third response."""

    def send(self, response: Response) -> None:
        super().send(response)
        if len(self.responses) == 3:
            raise RuntimeError("broken pipe")


def test_a_sink_that_raises_loses_only_its_own_stream(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    service = start(LONG)
    broken = BrokenSink()
    service.submit("broken", PROMPT, settings(max_tokens=400), broken)
    good = service.ask(max_tokens=60)
    assert good.wait().finish_reason == "length"
    assert len(good.ids) == 60
    assert service.idle()
    assert len(broken.responses) == 3
    assert "request 'broken' (stream 1): response not delivered" in caplog.text
    # And the service still serves.
    assert service.ask(max_tokens=3).wait().finish_reason == "length"


def test_logs_hold_no_text(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    service = start(Script(match="", answer="confidential", fail_after_tokens=8))
    service.ask("id-7", prompt=ids_of("secret")).wait()
    assert service.idle()
    assert "request 'id-7' (stream 1) failed: The script fails after 8 tokens." in caplog.text
    assert "secret" not in caplog.text and "conf" not in caplog.text


def order_of_starts(service: Service) -> list[str]:
    """Prompts in the order in which the engine got them."""
    return [text_of(request.prompt_ids) for request in service.engine.requests]


def test_waiting_requests_start_by_priority_and_then_by_arrival(start: Start) -> None:
    service = start(Script(match="^first", answer="0123456789", token_ms=20), SHORT, max_batch_size=1)
    sinks = [service.ask(prompt=ids_of("first"))]
    assert service.until(lambda: len(service.engine.requests) == 1)
    sinks += [service.ask(prompt=ids_of(f"p{number}"), priority=number) for number in (0, 9, -9, 0)]
    sinks.append(service.ask(prompt=ids_of("p-9 again"), priority=-9))
    for sink in sinks:
        assert sink.wait().finish_reason == "stop"
    assert order_of_starts(service) == ["first", "p-9", "p-9 again", "p0", "p0", "p9"]
    assert service.idle()


def test_a_short_prompt_passes_long_ones_that_wait_for_the_prefill_of_another(start: Start) -> None:
    long = Script(match="^long", answer="Done.", ttft_ms=60)
    service = start(long, SHORT, limits={"max_num_tokens": 15})
    sinks = [service.ask(prompt=ids_of(f"long prompt number {number}")) for number in range(4)]
    assert service.until(lambda: len(service.engine.requests) == 1)
    short = service.ask(prompt=ids_of("short"))
    short.wait()
    assert order_of_starts(service)[1] == "short"
    # One prefill of a long prompt at a time, and its end, not the request's, lets the next one start.
    assert len(service.engine.requests) == 2
    for sink in sinks:
        assert sink.wait().finish_reason == "stop"
    assert order_of_starts(service) == [
        "long prompt number 0", "short", "long prompt number 1", "long prompt number 2", "long prompt number 3",
    ]  # fmt: skip
    assert service.idle()


def test_a_long_prompt_that_is_cancelled_or_fails_in_its_prefill_lets_the_next_one_start(start: Start) -> None:
    service = start(
        Script(match="cancelled", answer="Never.", ttft_ms=60_000),
        Script(match="fails", answer="Never.", fail_after_tokens=0),
        SHORT,
        limits={"max_num_tokens": 20},
    )
    cancelled = service.ask("one", ids_of("this one is cancelled in time"))
    failing = service.ask(prompt=ids_of("this one fails at its first token"))
    last = service.ask(prompt=ids_of("this one is answered in the end"))
    assert service.until(lambda: len(service.engine.requests) == 1)
    service.stop("one")
    assert cancelled.wait().finish_reason == "cancelled"
    assert failing.wait().error is not None
    assert last.wait().finish_reason == "stop"
    assert service.idle()


def test_an_engine_that_takes_no_more_requests_fails_all_that_wait(start: Start) -> None:
    service = start(HELD, max_batch_size=1, max_waiting=2000)
    first = service.ask("first")
    assert service.until(lambda: len(first.responses) > 2)
    waiting = [service.ask() for _ in range(1500)]
    service.engine.fail_from = 1
    service.stop("first")
    assert all(sink.wait().error is not None for sink in waiting)
    assert service.idle()


def test_the_delivery_has_a_pulse_with_nothing_to_do(start: Start) -> None:
    service = start()
    for _ in range(3):
        before = service.pulses()
        assert not before["engine"].busy
        assert before["delivery"].busy
        assert service.until(lambda before=before: service.pulses()["delivery"].count != before["delivery"].count)  # type: ignore[misc]


def test_the_engine_has_a_pulse_before_its_first_token(start: Start) -> None:
    service = start(Script(match="", answer="0", ttft_ms=600_000))
    service.ask("slow")
    assert service.until(lambda: service.pulses()["engine"].busy)
    for _ in range(2):
        count = service.pulses()["engine"].count
        assert service.until(lambda count=count: service.pulses()["engine"].count != count)  # type: ignore[misc]
    service.stop("slow")
    assert service.until(lambda: not service.pulses()["engine"].busy)


def test_a_receiver_that_blocks_stops_the_pulse_of_the_delivery(start: Start) -> None:
    service, blocked, released = start(SHORT), threading.Event(), threading.Event()
    sink = Collector()

    def block(_: Response) -> None:
        blocked.set()
        released.wait()

    sink.send = block  # type: ignore[method-assign,assignment]
    service.submit("", PROMPT, settings(), sink)
    try:
        assert blocked.wait(30)
        count = service.pulses()["delivery"].count
        assert not eventually(lambda: service.pulses()["delivery"].count != count, 0.1)
    finally:
        released.set()
    assert service.idle()


# The launcher's own request


def test_a_probe_waits_for_no_engine_but_gives_an_idle_one_something_to_do(start: Start) -> None:
    service = start(Script(match="", answer="0", ttft_ms=600_000))
    answer = service.ask(PROBE, max_tokens=1).wait()
    assert (answer.finish_reason, answer.error, answer.num_output_tokens) == ("length", None, 0)
    assert service.until(lambda: service.pulses()["engine"].busy)
    assert [request.max_tokens for request in service.engine.requests] == [1]
    assert service.until(lambda: service.stats().in_flight == 0)
    assert (service.stats().running, service.stats().waiting) == (0, 0)
    service.ask(PROBE, max_tokens=1).wait()
    assert len(service.engine.requests) == 1, "one at a time"


def test_a_probe_of_a_full_server_is_answered_and_takes_nobodys_place(start: Start) -> None:
    service = start(HELD, max_batch_size=1, max_waiting=1)
    callers = [service.ask("caller", max_tokens=400) for _ in range(2)]
    answer = service.ask(PROBE, max_tokens=1).wait()
    assert (answer.finish_reason, answer.error, answer.num_output_tokens) == ("length", None, 0)
    assert service.until(lambda: len(service.engine.requests) == 1)  # the first caller's
    assert service.stats().in_flight == 2
    with pytest.raises(UnavailableError, match="2 requests in flight"):
        service.ask()
    service.stop("caller")
    assert [caller.wait().finish_reason for caller in callers] == ["cancelled"] * 2


def test_callers_have_all_their_places_beside_a_probe_and_there_is_one_probe_at_a_time(start: Start) -> None:
    service, blocked = start(HELD, max_batch_size=1, max_waiting=1), threading.Event()
    sink = Collector()
    sink.send = lambda _: blocked.wait()  # type: ignore[method-assign,assignment]
    service.submit(PROBE, PROMPT, settings(), sink)
    try:
        callers = [service.ask("caller", max_tokens=400) for _ in range(2)]
        for client_id in (PROBE, "caller"):
            with pytest.raises(UnavailableError):
                service.ask(client_id)
    finally:
        blocked.set()
    service.stop("caller")
    assert len({caller.wait().slot for caller in callers}) == 2
    assert service.idle()
