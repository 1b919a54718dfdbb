"""Messages as callers send them, and as the server gets them."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.chat import ChatCompletionMessage

from nemotron_client import Reply, Timings, Usage
from nemotron_front.chat import read_chat
from nemotron_front.errors import ApiError
from nemotron_front.messages import read_messages

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}

READ: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"role": "user", "content": "Hi"}, {"role": "user", "content": "Hi"}),
    ({"role": "developer", "content": "Be brief."}, {"role": "developer", "content": "Be brief."}),
    ({"role": "user", "content": "Hi", "name": "Ann"}, {"role": "user", "content": "Hi"}),
    (
        {"role": "system", "content": [{"type": "text", "text": "a"}, {"type": "input_text", "text": "b"}]},
        {"role": "system", "content": "ab"},
    ),
    ({"role": "assistant", "content": None}, {"role": "assistant", "content": ""}),
    ({"role": "assistant", "content": []}, {"role": "assistant", "content": ""}),
    (
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "t"}, {"type": "output_text", "text": "a"}]},
        {"role": "assistant", "content": "a"},
    ),
    ({"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}, {"role": "assistant", "content": ""}),
    (
        {"role": "assistant", "content": None, "tool_calls": [{**CALL, "index": 0}], "reasoning": "r"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
    ),
    ({"role": "assistant", "content": "a", "tool_calls": []}, {"role": "assistant", "content": "a"}),
    (
        {"role": "assistant", "content": "a", "tool_calls": None, "tool_call_id": None, "function_call": None},
        {"role": "assistant", "content": "a"},
    ),
    (
        {"role": "tool", "content": "5", "tool_call_id": "c1", "name": "f"},
        {"role": "tool", "content": "5", "tool_call_id": "c1"},
    ),
    (
        {"role": "assistant", "content": "a", "reasoning_content": "r", "thinking_blocks": [1], "whatever": {"x": 1}},
        {"role": "assistant", "content": "a"},
    ),
]


@pytest.mark.parametrize(("given", "read"), READ, ids=str)
def test_messages_are_read(given: dict[str, Any], read: dict[str, Any]) -> None:
    assert read_messages([given]) == [read]


def test_a_message_of_openai_s_client_is_taken_back_whole() -> None:
    answer = ChatCompletionMessage(role="assistant", content="a", reasoning="r")  # type: ignore[call-arg]
    assert read_messages([answer.model_dump()]) == [{"role": "assistant", "content": "a"}]


def test_a_message_of_our_client_is_taken_as_it_is() -> None:
    reply = Reply("a", "r", (), "stop", False, Usage(1, 1, 1), Timings(1), "id")
    assert read_messages([reply.as_message()]) == [reply.as_message()]


def test_a_prefix_is_an_answer_to_go_on_with() -> None:
    last = {"role": "assistant", "content": "Once", "prefix": True}
    asked = read_chat({"model": "m", "messages": [{"role": "user", "content": "Tell."}, last]})
    assert asked.messages == [{"role": "user", "content": "Tell."}, {"role": "assistant", "content": "Once"}]
    assert asked.options == {"continue_final_message": True}
    assert asked.names == {"continue_final_message": "messages[1].prefix"}


REFUSED: list[tuple[Any, str, str]] = [
    ("Hi", "messages[0]", "an object"),
    ({"content": "Hi"}, "messages[0].role", "null was given"),
    ({"role": "bot", "content": "Hi"}, "messages[0].role", "expected system, developer, user, assistant, tool"),
    ({"role": "function", "content": "5"}, "messages[0].role", "with the role tool"),
    ({"role": "user", "content": 5}, "messages[0].content", "a string or a list of parts"),
    ({"role": "user", "content": [{"type": "text", "text": "a"}, IMAGE]}, "messages[0].content[1]", "reads text"),
    ({"role": "user", "content": [{"type": "input_audio"}]}, "messages[0].content[0]", '"input_audio" was given'),
    ({"role": "user", "content": [{"type": "file"}]}, "messages[0].content[0]", '"file" was given'),
    ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content[0].text", "a string"),
    ({"role": "assistant", "function_call": {"name": "f"}}, "messages[0].function_call", "send tool_calls"),
    ({"role": "assistant", "audio": {"id": "a"}}, "messages[0].audio", "reads text"),
    ({"role": "assistant", "tool_calls": {"a": 1}}, "messages[0].tool_calls", "a list of calls"),
    ({"role": "assistant", "tool_calls": [{"type": "custom"}]}, "messages[0].tool_calls[0]", '"function"'),
    (
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": 5}}]},
        "messages[0].tool_calls[0].function",
        "arguments",
    ),
    (
        {"role": "assistant", "tool_calls": [{"id": 5, "function": {"name": "f"}}]},
        "messages[0].tool_calls[0].id",
        "5 was given, expected a string",
    ),
    ({"role": "tool", "tool_call_id": {}, "content": "5"}, "messages[0].tool_call_id", "expected a string"),
]


@pytest.mark.parametrize(("given", "param", "message"), REFUSED, ids=str)
def test_what_cannot_be_read_is_refused_by_its_place(given: Any, param: str, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        read_messages([given])
    assert caught.value.param == param
    assert str(caught.value).startswith(f"{param}: ")
    assert message in str(caught.value)
