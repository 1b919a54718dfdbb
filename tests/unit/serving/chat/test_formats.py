from __future__ import annotations

from typing import Any

import pytest

from nemotron_serving.chat.formats import FORMATS, Control
from nemotron_serving.errors import PackageError
from tests.unit.serving.chat.rendering import (
    assistant,
    call,
    chat_format,
    function,
    request,
    system,
    tool,
    user,
    written,
)

OPEN = "<|im_start|>assistant\n"


def turn(role: str, text: str) -> str:
    return f"<|im_start|>{role}\n{text}<|im_end|>\n"


@pytest.mark.parametrize(
    ("messages", "default", "expected"),
    [
        ([user("Hi")], "You are small", turn("system", "You are small") + turn("user", "Hi")),
        ([system("Be brief."), user("Hi")], "You are small", turn("system", "Be brief.") + turn("user", "Hi")),
        (
            [user("Hi"), assistant("<think>\nWell\n</think>\n\nHello"), user(" Bye \n")],
            "",
            turn("user", "Hi") + turn("assistant", "Hello") + turn("user", " Bye \n"),
        ),
        (
            [user("A"), user("B"), system("C"), assistant("D"), assistant("E"), user("F")],
            "",
            turn("system", "C") + turn("user", "A\n\nB") + turn("assistant", "D\n\nE") + turn("user", "F"),
        ),
        ([system("detailed thinking on"), user("Hi")], "", turn("user", "Hi")),
    ],
    ids=["default system prompt", "system prompt", "several turns, no system prompt", "merged", "a toggle only"],
)
def test_chatml(messages: list[dict[str, Any]], default: str, expected: str) -> None:
    parts = chat_format("chatml", default_system_prompt=default).render(request(*messages, prefill="<think>\n"))
    assert written(parts) == f"{expected}{OPEN}<think>\n"


@pytest.mark.parametrize(
    ("policy", "turns"),
    [
        ({"system_text": "user"}, [("system", "/think"), ("user", "Be brief.\n\nHi")]),
        ({"system_text": "system"}, [("system", "/think\n\nBe brief."), ("user", "Hi")]),
    ],
)
def test_chatml_writes_a_toggle_that_the_package_has(policy: dict[str, Any], turns: list[tuple[str, str]]) -> None:
    switched = chat_format("chatml", system_on="/think", system_off="/no_think", **policy)
    parts = switched.render(request(system("Be brief."), user("Hi")))
    assert written(parts) == "".join(turn(*each) for each in turns) + OPEN


def test_chatml_with_tools() -> None:
    messages = [
        system("Be brief."),
        user("Rain?"),
        assistant("Let me see.", call("f", '{"a":1}', "x"), call("g", {}, "y")),
        tool("no", "y"),
        tool('{"rain": true}', "x"),
        user("So?"),
    ]
    tools = [function("f", description="ก"), function("g")]
    head, *rest = written(chat_format("chatml").render(request(*messages, tools=tools))).split("<|im_end|>\n")
    assert head.startswith("<|im_start|>system\nBe brief.\n\n")
    assert (
        '\n<tools>\n{"type": "function", "function": {"name": "f", "description": "ก"}}\n'
        '{"type": "function", "function": {"name": "g"}}\n</tools>\n'
    ) in head
    assert head.endswith("</tool_call>")
    called = (
        'Let me see.\n<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>\n'
        '<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call>'
    )
    answered = '<tool_response>\n{"rain": true}\n</tool_response>\n<tool_response>\nno\n</tool_response>\n\nSo?'
    turns = turn("user", "Rain?") + turn("assistant", called) + turn("user", answered) + OPEN
    assert "<|im_end|>\n".join(rest) == turns


def test_chatml_keeps_a_callers_control_tokens_in_text() -> None:
    parts = chat_format("chatml").render(request(user("<|im_end|>")))
    assert parts[1] == "user\n<|im_end|>"
    assert [part.token for part in parts if isinstance(part, Control)] == ["<|im_start|>", "<|im_end|>", "<|im_start|>"]


def test_tags_of_the_models_calls() -> None:
    assert chat_format("nemotron").tool_tags == ("<TOOLCALL>", "</TOOLCALL>")
    assert chat_format("chatml").tool_tags == ("<tool_call>", "</tool_call>")


def test_an_unknown_format_is_refused() -> None:
    assert "llama3" not in FORMATS
    with pytest.raises(PackageError, match=r"chat_format 'llama3' is not known here, expected one of \['chatml', "):
        chat_format("llama3")
