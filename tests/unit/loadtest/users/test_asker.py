"""Every request ends as one sample, whatever becomes of it."""

from __future__ import annotations

import threading

import pytest

from nemotron_client import Client, Usage
from nemotron_client.testing import Fault, MockTransport, ScriptedReply
from nemotron_loadtest.clock import RunClock
from nemotron_loadtest.samples import Sample
from nemotron_loadtest.users.asker import StreamAsker
from nemotron_loadtest.workload import RequestSpec
from tests.waiting import wait_until

HI = ({"role": "user", "content": "Hi"},)
ENDLESS = ScriptedReply("on and on", token_s=0.01, endless=True)


class Asked:
    """An asker of a mock server, and its samples."""

    def __init__(self, *replies: ScriptedReply | Fault | str) -> None:
        self.server = MockTransport(list(replies))
        self.samples: list[Sample] = []
        client = Client(transport=self.server)
        self.asker = StreamAsker(client, "grpc_stream", RunClock.starting_in(0), self.samples.append, "7")

    @property
    def sample(self) -> Sample:
        assert len(self.samples) == 1
        return self.samples[0]


def test_a_whole_answer() -> None:
    reply = ScriptedReply(
        "It is Paris.", reasoning_content="Let me see.", ttft_s=0.05, token_s=0.02, usage=Usage(9, 12, 6, 4)
    )
    asked = Asked(reply)
    answer = asked.asker.ask(RequestSpec(messages=HI, thinking=True, turn=2, options={"max_tokens": 50}), -1.5)
    sample, request = asked.sample, asked.server.requests[0]
    assert answer is not None
    assert answer.content == "It is Paris."
    assert (request.inputs["thinking"], request.inputs["max_tokens"]) == (True, 50)
    assert (sample.request_id, sample.user, sample.worker) == (request.request_id, "grpc_stream", "7")
    assert (sample.outcome, sample.error_type, sample.finish_reason) == ("ok", "", "stop")
    assert (sample.thinking, sample.turn, sample.intended_s) == (True, 2, -1.5)
    assert (sample.prompt_tokens, sample.output_tokens, sample.reasoning_tokens, sample.cached_tokens) == (9, 12, 6, 4)
    assert [arrival.output_tokens for arrival in sample.arrivals] == [2, 4, 6, 8, 10, 12]
    times = [sample.started_s, *(arrival.at_s for arrival in sample.arrivals), sample.ended_s]
    assert times == sorted(times)
    assert times[1] - times[0] >= 0.05
    assert sample.first_answer_s is not None
    assert sample.arrivals[3].at_s <= sample.first_answer_s <= sample.ended_s


def test_without_an_intended_time_it_is_the_start() -> None:
    asked = Asked("Hi.")
    asked.asker.ask(RequestSpec(messages=HI))
    assert asked.sample.intended_s == asked.sample.started_s


def test_a_complete_prompt() -> None:
    asked = Asked("Hi.")
    asked.asker.ask(RequestSpec(prompt="<s>Say"))
    assert asked.server.requests[0].inputs["text_input"] == "<s>Say"


@pytest.mark.parametrize(
    ("fault", "error_type"),
    [
        (Fault.full(), "OverloadedError"),
        (Fault.internal(), "ServerError"),
        (Fault.close(), "ServerUnavailableError"),
        (Fault.invalid("max_tokens: too many"), "InvalidRequestError"),
    ],
)
def test_a_failure_is_a_sample_and_not_tried_again(fault: Fault, error_type: str) -> None:
    asked = Asked(fault, "would be next")
    assert asked.asker.ask(RequestSpec(messages=HI)) is None
    assert (asked.sample.outcome, asked.sample.error_type, asked.sample.arrivals) == ("error", error_type, ())
    assert len(asked.server.requests) == 1


def test_what_came_before_a_failure_is_kept() -> None:
    asked = Asked(ScriptedReply("one two three", fault=Fault.close()))
    asked.asker.ask(RequestSpec(messages=HI))
    assert (asked.sample.outcome, asked.sample.output_tokens, len(asked.sample.arrivals)) == ("error", 3, 3)


def test_an_option_that_the_client_refuses_is_an_error_too() -> None:
    asked = Asked("unused")
    asked.asker.ask(RequestSpec(messages=HI, options={"max_tokens": "many"}))
    assert (asked.sample.outcome, asked.sample.error_type) == ("error", "TypeError")


def test_a_user_who_leaves() -> None:
    asked = Asked(ENDLESS)
    assert (
        asked.asker.ask(RequestSpec(messages=HI, cancel_after_s=1)) is None
    )  # a hundred tokens, one on a busy machine
    sample = asked.sample
    assert (sample.outcome, sample.error_type) == ("cancelled", "")
    assert sample.output_tokens == len(sample.arrivals) > 0
    assert sample.ended_s - sample.started_s >= 1
    wait_until(lambda: asked.server.cancels == [sample.request_id])


def test_a_user_who_would_have_left_later() -> None:
    asked = Asked("Hi.")
    asked.asker.ask(RequestSpec(messages=HI, cancel_after_s=30))
    assert asked.sample.outcome == "ok"
    wait_until(lambda: not [one for one in threading.enumerate() if isinstance(one, threading.Timer)])


def test_cutting_ends_all_that_is_on_its_way() -> None:
    asked = Asked(ENDLESS, ENDLESS)
    threads = [threading.Thread(target=asked.asker.ask, args=[RequestSpec(messages=HI)]) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_until(lambda: asked.asker.in_flight == 2 and len(asked.server.requests) == 2)
    asked.asker.cut()
    for thread in threads:
        thread.join(30)
    assert asked.asker.in_flight == 0
    assert [sample.outcome for sample in asked.samples] == ["incomplete"] * 2
    wait_until(lambda: len(asked.server.cancels) == 2)


def test_a_server_that_cancels_on_its_own_has_failed() -> None:
    asked = Asked(ScriptedReply("It is", finish_reason="cancelled"))
    asked.asker.ask(RequestSpec(messages=HI))
    assert (asked.sample.outcome, asked.sample.error_type) == ("error", "ServerUnavailableError")


def test_killing_the_user_leaves_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise SystemExit

    asked = Asked()
    monkeypatch.setattr(asked.asker, "_send", killed)
    with pytest.raises(SystemExit):
        asked.asker.ask(RequestSpec(messages=HI))
    assert asked.sample.outcome == "incomplete"


def test_a_part_of_an_answer_that_the_server_cut_off_is_no_answer() -> None:
    asked = Asked(ScriptedReply("It is", finish_reason="timeout"))
    assert asked.asker.ask(RequestSpec(messages=HI)) is None
    assert (asked.sample.outcome, asked.sample.error_type) == ("error", "RequestTimeoutError")
    assert (asked.sample.finish_reason, asked.sample.output_tokens) == ("timeout", 2)
