"""The state of a chat through questions, answers, cancels, tools, retries."""

from __future__ import annotations

import pytest

from nemotron_client import ModelInfo, Reply, Timings, ToolCall, Usage
from nemotron_client.chat.session import Answer, ChatError, Session, Settings

CALL = ToolCall("call_1", "f", "{}")


def answer(content: str = "Yes.", finish: str = "stop", *calls: ToolCall, reasoning: str = "") -> Answer:
    reply = Reply(content, reasoning, calls, finish, False, Usage(10, 5, 2), Timings(1.0), "id")
    return Answer(content, reasoning, calls, reply)


def roles(session: Session) -> list[str]:
    return [message["role"] for message in session.messages]


def test_a_question_and_its_answer() -> None:
    session = Session(Settings(system="Be brief."))
    session.ask("Is it?")
    assert session.unanswered
    session.answered(answer(reasoning="Let me see."))
    assert not session.unanswered
    assert session.messages[1] == {"role": "assistant", "content": "Yes.", "reasoning_content": "Let me see."}
    assert session.conversation() == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Is it?"},
        {"role": "assistant", "content": "Yes."},
    ]


def test_options_leave_the_budget_out_where_it_would_be_refused() -> None:
    assert Settings(thinking=True, budget=9).options()["max_thinking_tokens"] == 9
    assert Settings(thinking=False, budget=9).options()["max_thinking_tokens"] is None
    assert Settings(budget=9).options()["max_thinking_tokens"] is None


@pytest.mark.parametrize("reply", [answer("Ye", "cancelled").reply, None])
def test_a_cancelled_answer_is_kept_as_far_as_it_came(reply: Reply | None) -> None:
    session = Session()
    session.ask("Is it?")
    session.answered(Answer("Ye", "Hm", (CALL,), reply))
    assert session.messages[-1] == {"role": "assistant", "content": "Ye", "reasoning_content": "Hm"}
    assert not session.unanswered


def test_a_question_cancelled_before_the_answer_makes_room_for_the_next() -> None:
    session = Session()
    session.ask("One?")
    session.answered(Answer("", "Hm", ()))
    assert session.unanswered
    assert session.last is not None
    assert session.last.reasoning == "Hm"
    session.ask("Two?")
    assert session.messages == [{"role": "user", "content": "Two?"}]


def test_an_empty_answer_that_ended_by_itself_is_an_answer() -> None:
    session = Session()
    session.ask("One?")
    session.answered(answer(""))
    assert roles(session) == ["user", "assistant"]


def test_calls_wait_for_their_results() -> None:
    session = Session()
    session.ask("Weather?")
    other = ToolCall("call_2", "g", "{}")
    session.answered(answer("", "tool_calls", CALL, other))
    assert [call["id"] for call in session.open_calls()] == ["call_1", "call_2"]
    session.tool_result("call_1", "sunny")
    assert [call["id"] for call in session.open_calls()] == ["call_2"]
    session.tool_result("call_2", "31")
    assert session.open_calls() == []
    assert session.unanswered
    session.answered(answer())
    assert roles(session) == ["user", "assistant", "tool", "tool", "assistant"]
    assert not session.unanswered


def test_retry_takes_the_answer_back_with_its_calls() -> None:
    session = Session()
    session.ask("Weather?")
    session.answered(answer("", "tool_calls", CALL))
    session.tool_result("call_1", "sunny")
    session.answered(answer())
    session.retry()
    assert roles(session) == ["user"]


def test_retry_keeps_results_that_were_given_when_the_answer_failed() -> None:
    session = Session()
    session.ask("Weather?")
    session.answered(answer("", "tool_calls", CALL))
    session.tool_result("call_1", "sunny")
    session.retry()
    assert roles(session) == ["user", "assistant", "tool"]


def test_retry_asks_again_where_a_result_was_refused() -> None:
    session = Session()
    session.ask("Weather?")
    session.answered(answer("", "tool_calls", CALL))
    session.retry()
    assert roles(session) == ["user"]


def test_undo_takes_the_last_question_back() -> None:
    session = Session()
    for question in ("One?", "Two?"):
        session.ask(question)
        session.answered(answer())
    assert session.undo() == "Two?"
    assert roles(session) == ["user", "assistant"]
    assert session.undo() == "One?"
    for take_back in (session.undo, session.retry):
        with pytest.raises(ChatError, match="Nothing was asked"):
            take_back()


def test_totals_count_every_answer_that_came() -> None:
    session = Session()
    session.ask("One?")
    session.answered(answer())
    session.retry()
    session.answered(answer("Ye", "cancelled"))
    session.clear()
    session.ask("Two?")
    session.answered(Answer("Y", "", ()))
    totals = session.totals
    assert (totals.answers, totals.prompt_tokens, totals.output_tokens, totals.reasoning_tokens) == (2, 20, 10, 4)


def test_clear_keeps_the_settings() -> None:
    session = Session(Settings(system="Be brief."))
    session.ask("One?")
    session.clear()
    assert session.messages == []
    assert session.settings.system == "Be brief."


@pytest.mark.parametrize(("default", "word"), [(True, "on"), (False, "off")])
def test_the_servers_default_is_said_where_it_is_known(default: bool, word: str) -> None:
    model = ModelInfo("nano", "nano-fp8", "tensorrt_llm", "H100", "fp8", "nemotron", default, 256, 4096, 8, 8)
    assert Settings().describe() == "thinking by the server's default"
    assert Settings().describe(model) == f"thinking by the server's default ({word})"
    assert Settings(thinking=not default).describe(model) == f"thinking {'off' if default else 'on'}"
