"""Messages as dicts and as objects become the JSON that the server reads."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nemotron_client import AssistantMessage, Message, SystemMessage, ToolCall, ToolMessage, UserMessage
from nemotron_client._answer import AnswerReader
from nemotron_client._types import messages_json
from nemotron_serving.chat.messages import parse_messages
from tests.unit.client.pretend import asks, says

CALL = ToolCall("call_1", "get_weather", '{"city": "Bangkok"}')
CALL_JSON = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city": "Bangkok"}'},
}
OBJECTS: list[Message] = [
    SystemMessage("Be brief."),
    UserMessage("Weather?"),
    AssistantMessage(tool_calls=(CALL,)),
    ToolMessage('{"celsius": 31}', "call_1"),
    AssistantMessage("31 °C"),
    UserMessage("Thanks"),
]
DICTS: list[Message] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL_JSON]},
    {"role": "tool", "content": '{"celsius": 31}', "tool_call_id": "call_1"},
    {"role": "assistant", "content": "31 °C"},
    {"role": "user", "content": "Thanks"},
]


def test_objects_and_dicts_are_the_same_conversation() -> None:
    assert messages_json(OBJECTS) == messages_json(DICTS) == DICTS
    assert messages_json(iter(DICTS[:3] + OBJECTS[3:])) == DICTS


def test_the_server_reads_them() -> None:
    roles = [message.role for message in parse_messages(json.dumps(messages_json(OBJECTS)))]
    assert roles == ["system", "user", "assistant", "tool", "assistant", "user"]


def test_calls_of_a_reply_may_stand_in_a_dict() -> None:
    message = {"role": "assistant", "tool_calls": [CALL, CALL_JSON]}
    assert messages_json([message]) == [{"role": "assistant", "tool_calls": [CALL_JSON, CALL_JSON]}]
    assert message["tool_calls"] == [CALL, CALL_JSON], "the caller's own message was changed"


def test_a_reply_goes_on_as_a_message() -> None:
    reader = AnswerReader("id", 0)
    for values in says("Paris"):
        reader.events_of(values | {"reasoning_content": "Let me see."}, 1)
    assert reader.reply is not None
    assert reader.reply.as_message() == {"role": "assistant", "content": "Paris"}
    reader = AnswerReader("id", 0)
    for values in asks("get_weather", '{"city": "Bangkok"}', 1):
        reader.events_of(values, 1)
    assert reader.reply is not None
    assert messages_json([reader.reply.as_message()]) == [
        {"role": "assistant", "content": "", "tool_calls": [CALL_JSON]}
    ]


@pytest.mark.parametrize(
    ("messages", "error", "message"),
    [
        ("Hi", TypeError, "messages: str was given, expected a list of messages"),
        ({"role": "user", "content": "Hi"}, TypeError, "messages: dict was given, expected a list of messages"),
        (UserMessage("Hi"), TypeError, "messages: UserMessage was given, expected a list of messages"),
        (5, TypeError, "messages: int was given"),
        ([UserMessage("Hi"), "secret"], TypeError, r"messages\[1\]: str was given, expected a dict with role"),
        ([{"content": "secret"}], ValueError, r"messages\[0\].role: nothing was given, expected one of system, "),
        ([{"role": "bot", "content": "secret"}], ValueError, r"messages\[0\].role: 'bot' was given, expected one of"),
        ([{"role": "user", "content": 5}], TypeError, r"messages\[0\].content: int was given, expected str or a list"),
    ],
    ids=str,
)
def test_what_is_no_conversation_is_refused(messages: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        messages_json(messages)
    assert "secret" not in str(caught.value)
