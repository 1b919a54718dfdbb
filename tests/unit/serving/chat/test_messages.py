from __future__ import annotations

import json
from typing import Any

import pytest

from nemotron_serving.chat.messages import FunctionCall, Message, parse_messages
from nemotron_serving.errors import InvalidRequestError

HI = {"role": "user", "content": "Hi"}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLS = {"role": "assistant", "content": None, "tool_calls": [CALL]}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "messages: the list is empty"),
        ([{"role": "user", "content": ""}], r"messages\[0\]\.content: empty, expected the user's text"),
        ([{"role": "user", "content": []}], r"messages\[0\]\.content: empty"),
        ([{"role": "user"}], r"messages\[0\]\.content: empty"),
        ([HI, {"role": "assistant", "content": "A"}, {"role": "user", "content": None}], r"messages\[2\]\.content"),
        ([HI, {"role": "assistant", "content": "A"}], "messages: the last message is from the assistant"),
        ([{"role": "system", "content": ""}], "messages: nothing but empty system messages and switches at the end"),
        (
            [HI, {"role": "assistant"}, {"role": "developer", "content": "detailed thinking on"}],
            "messages: nothing but",
        ),
        ([{"role": "function", "content": "A"}], r"messages: Invalid enum value 'function' - at `\$\[0\]\.role`"),
        ([{"content": "A"}], r"messages: Object missing required field `role` - at `\$\[0\]`"),
        ([HI, {"role": "user", "content": 5}], r"messages: Expected `str.*got `int` - at `\$\[1\]\.content`"),
        ([HI | {"colour": "red"}], "messages: Object contains unknown field `colour`"),
        ([HI | {"prefix": True}], "messages: Object contains unknown field `prefix`"),
        ([HI, {"role": "assistant", "function_call": {"name": "f", "arguments": ""}}, HI], "messages: Expected `null`"),
        ([CALLS | {"tool_calls": [{"name": "f"}]}], "messages: Object contains unknown field `name`"),
        ([HI | {"tool_calls": [{"id": "1"}]}], "messages: Object missing required field `function`"),
        ([HI | {"tool_calls": [CALL]}], r"messages\[0\]\.tool_calls: given by the user, expected of the assistant"),
        ([HI | {"tool_call_id": "1"}], r"messages\[0\]\.tool_call_id: given by the user, expected in a tool's"),
        ([CALLS | {"tool_calls": [CALL | {"type": "custom"}]}], "messages: Invalid enum value 'custom'"),
        ([HI, {"role": "tool", "content": 5}], r"messages: Expected `str.*at `\$\[1\]\.content`"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], r"messages: .*content\[0\]\.type"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages: Object missing required field `text`"),
        ({"role": "user", "content": "A"}, "messages: Expected `array`, got `object`"),
        ("Hi", "messages: Expected `array`, got `str`"),
        ([1], r"messages: Expected `object`, got `int` - at `\$\[0\]`"),
        (None, "messages: Expected `array`, got `null`"),
    ],
    ids=repr,
)
def test_refusals_name_the_field(value: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError, match="^" + message):
        parse_messages(json.dumps(value))


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Hi",
        '[{"role": "user", "content": "Hi"}',
        '[{"role": "user", "content": "Hi"}] and more',
        "[{'role': 'user', 'content': 'Hi'}]",
        '[{"role": "user", "content": "\\ud800"}]',
        '[{"role": "user", "content": "\\ud800 text"}]',
        '[{"role": "user", "content": "\\udc00\\ud800"}]',
        '[{"role": "user", "content": "\ud800"}]',
        '[{"role": "user", "content": "a bare \x00"}]',
        '[{"role": "user", "content": "Hi", "annotations": ' + "[" * 100_000 + "]" * 100_000 + "}]",
    ],
    ids=lambda value: value[:50].encode("unicode_escape").decode(),
)
def test_what_is_not_json_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"^messages: not valid JSON .* plain text goes into text_input\.$"):
        parse_messages(value)


@pytest.mark.parametrize(
    ("role", "content", "expected"),
    [
        ("user", "Hi", "Hi"),
        ("user", " \n", " \n"),
        ("user", "a\x00b", "a\x00b"),
        ("user", "\U0001f469\u200d\U0001f467", "\U0001f469\u200d\U0001f467"),
        ("user", [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}], "AB"),
        ("user", "<think>A</think>B", "<think>A</think>B"),
        ("assistant", "<think>\nA\n</think>\n\nB", "B"),
        ("assistant", "A</think>B</think>C", "B</think>C"),
        ("assistant", [{"type": "text", "text": "A</thi"}, {"type": "text", "text": "nk>B"}], "B"),
        ("assistant", "B", "B"),
        ("assistant", None, ""),
        ("assistant", "", ""),
    ],
)
def test_text_of_a_message(role: str, content: Any, expected: str) -> None:
    messages = parse_messages(json.dumps([{"role": role, "content": content}, HI]))
    assert [(message.role, message.text) for message in messages] == [(role, expected), ("user", "Hi")]


def with_arguments(arguments: Any, name: str = "f") -> str:
    calls = [CALL, CALL | {"function": {"name": name, "arguments": arguments}}]
    return json.dumps([HI, CALLS | {"tool_calls": calls}, {"role": "tool", "content": "1", "tool_call_id": "1"}])


@pytest.mark.parametrize("arguments", [{"a": [1, {"b": None}]}, '{"a": [1, {"b": null}]}', ' {"a":[1,{"b":null}]}\n'])
def test_arguments_are_read_into_an_object(arguments: Any) -> None:
    message = parse_messages(with_arguments(arguments))[1]
    assert message.tool_calls is not None
    assert [call.function.arguments for call in message.tool_calls] == [{}, {"a": [1, {"b": None}]}]


@pytest.mark.parametrize("blank", ["", " \n", "null", " null\n", None])
def test_blank_arguments_are_none(blank: str | None) -> None:
    calls = [call for message in parse_messages(with_arguments(blank)) for call in message.tool_calls or ()]
    assert calls[-1].function.arguments == {}


def test_arguments_may_be_missing() -> None:
    value = [HI, CALLS | {"tool_calls": [{"function": {"name": "f"}}]}, {"role": "tool", "content": "1"}]
    calls = parse_messages(json.dumps(value))[1].tool_calls
    assert calls is not None and calls[0].function.arguments == {}


@pytest.mark.parametrize(
    "arguments",
    [
        "{",
        '{"city": "Pa',
        "{'a': 1}",
        '{"a": NaN}',
        '{"a": "\\ud800"}',
        '{"a": 1} {}',
        "[" * 100_000,
        "[]",
        '"{}"',
        '{"a": 1e999}',
        '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"a": ' + "[" * 100 + "]" * 100 + "}",
    ],
    ids=lambda value: value[:30].encode("unicode_escape").decode(),
)
def test_arguments_that_the_model_got_wrong_stay_as_they_are(arguments: str) -> None:
    calls = parse_messages(with_arguments(arguments))[1].tool_calls
    assert calls is not None and calls[1].function.arguments == arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"a": json.loads("[" * 100 + "]" * 100)},
            r"messages\[1\]\.tool_calls\[1\]\.function\.arguments: nested too deep",
        ),
        ([], "messages: Expected `str.*`, got `array`"),
        (5, "messages: Expected `str.*`, got `int`"),
    ],
    ids=["deep", "list", "number"],
)
def test_arguments_that_the_caller_got_wrong_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError, match="^" + message):
        parse_messages(with_arguments(arguments))


def test_a_call_needs_a_name() -> None:
    with pytest.raises(InvalidRequestError, match=r"^messages\[1\].tool_calls\[1\].function.name: empty"):
        parse_messages(with_arguments({}, name=""))


def test_fields_that_change_nothing_are_accepted() -> None:
    value = [
        {"role": "user", "content": "Hi", "name": "Ada"},
        {
            "role": "assistant",
            "content": "Hello",
            "reasoning_content": "A greeting.",
            "reasoning": "A.",
            "tool_calls": [],
        },
        HI,
    ]
    messages = parse_messages(json.dumps(value))
    assert [message.text for message in messages] == ["Hi", "Hello", "Hi"]
    assert messages[0] == Message("user", "Hi", name="Ada")


def test_what_openais_sdk_dumps_is_taken() -> None:
    fields = ("refusal", "annotations", "audio", "function_call", "tool_calls")
    reply = {"role": "assistant", "content": "A"} | dict.fromkeys(fields)
    assert [message.text for message in parse_messages(json.dumps([HI, reply, HI]))] == ["Hi", "A", "Hi"]


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": "A", "parsed": {"a": 1}, "refusal": None, "id": "m1", "status": "completed"},
        {"role": "assistant", "content": "A", "reasoning_details": [{"type": "reasoning.text", "text": "B"}]},
        {"role": "assistant", "content": "A", "thinking_blocks": [{"thinking": "B"}], "index": 0},
        {"role": "assistant", "content": "A", "provider_specific_fields": {"refusal": None}},
        {"role": "assistant", "content": [{"type": "text", "text": "A", "annotations": [], "cache_control": None}]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}, {"type": "text", "text": "A"}]},
        {"role": "assistant", "content": "A", "tool_calls": [CALL | {"index": 0, "type": None, "extra_content": {}}]},
        {"role": "assistant", "content": "A", "tool_calls": [
            {"index": 0, "function": {"name": "f", "arguments": "{}", "parsed_arguments": {}}}]},
        {"role": "user", "content": [{"type": "text", "text": "A", "cache_control": {"type": "ephemeral"}}]},
        {"role": "system", "content": "A", "cache_control": {"type": "ephemeral"}},
    ],
    ids=",".join,
)  # fmt: skip
def test_what_clients_leave_in_messages_is_taken(message: dict[str, Any]) -> None:
    read = parse_messages(json.dumps([HI, message, HI]))[1]
    assert (read.role, read.text) == (message["role"], "A")
    assert [call.function for call in read.tool_calls or ()] == [FunctionCall("f", {}) for _ in read.tool_calls or ()]


def test_more_messages_than_any_conversation_has_are_refused() -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}] * 2048
    with pytest.raises(InvalidRequestError, match=r"^messages: 4097 were given, expected at most 4096$"):
        parse_messages(json.dumps([*turns, {"role": "user", "content": "c"}]))
    assert len(parse_messages(json.dumps([*turns[1:], {"role": "user", "content": "c"}]))) == 4096
