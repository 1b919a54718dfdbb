"""Nemotron's own format: the wire format and each rule of the server, row by row."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_serving.chat.formats import ChatRequest, Control
from nemotron_serving.chat.messages import thinking_flag
from nemotron_serving.errors import PackageError
from tests.unit.serving.chat.rendering import (
    OFF,
    ON,
    assistant,
    call,
    chat_format,
    conversation,
    function,
    request,
    system,
    tool,
    user,
    written,
)

NEMOTRON = chat_format("nemotron")
OPEN = "<|start_header_id|>assistant<|end_header_id|>\n\n"


def turn(role: str, text: str) -> str:
    return f"<|start_header_id|>{role}<|end_header_id|>\n\n{text}<|eot_id|>"


def prompt(*turns: tuple[str, str], toggle: str = ON) -> str:
    """The prompt that holds these turns after the system turn."""
    return "<|begin_of_text|>" + turn("system", toggle) + "".join(turn(*each) for each in turns) + OPEN


WEATHER = function("weather", description="of a city", parameters={"type": "object", "properties": {"city": {}}})
CALL = '<TOOLCALL>[{"name": "weather", "arguments": {"city": "Bangkok"}}]</TOOLCALL>'
ASKED = [user("And?"), assistant(None, call("weather", {"city": "Bangkok"}))]
ASKED_TURNS = [("user", "And?"), ("assistant", CALL)]


@pytest.mark.parametrize(
    ("messages", "turns"),
    [
        pytest.param([user("Hi")], [("user", "Hi")], id="no system message"),
        pytest.param(
            [system("Be brief."), user("Hi")], [("user", "Be brief.\n\nHi")], id="system text moves to the user's turn"
        ),
        pytest.param(
            [{"role": "developer", "content": "Be brief."}, user("Hi")], [("user", "Be brief.\n\nHi")], id="developer"
        ),
        pytest.param(
            [user("A"), system("One."), assistant("B"), user("C"), system("Two.")],
            [("user", "One.\n\nTwo.\n\nA"), ("assistant", "B"), ("user", "C")],
            id="several system messages, not first",
        ),
        pytest.param(
            [assistant("Hello"), system("Be brief."), user("Hi")],
            [("assistant", "Hello"), ("user", "Be brief.\n\nHi")],
            id="the assistant speaks first",
        ),
        pytest.param([system(ON), user("Hi")], [("user", "Hi")], id="a toggle and no more"),
        pytest.param(
            [system(f"Be brief.\n{OFF}\nBe kind."), user("Hi")],
            [("user", "Be brief.\nBe kind.\n\nHi")],
            id="a toggle among the text",
        ),
        pytest.param(
            [system(f"{OFF}\n\nBe brief."), user("Hi")], [("user", "Be brief.\n\nHi")], id="a toggle in front"
        ),
        pytest.param([user(f"A\n{OFF}")], [("user", f"A\n{OFF}")], id="a toggle by the user is text"),
        pytest.param([system(""), user("Hi")], [("user", "Hi")], id="an empty system message"),
        pytest.param([system("Say hello.")], [("user", "Say hello.")], id="nothing but a system message"),
        pytest.param(
            [system(f"{OFF}\nBe brief."), {"role": "developer", "content": "Say hello."}],
            [("user", "Be brief.\n\nSay hello.")],
            id="nothing but system messages",
        ),
        pytest.param(
            [system("Be brief."), user("A"), assistant("B"), system("Sum up."), system("In French.")],
            [("user", "Be brief.\n\nA"), ("assistant", "B"), ("user", "Sum up.\n\nIn French.")],
            id="system messages after the assistant",
        ),
        pytest.param(
            [*ASKED, tool("1"), system("Sum up.")],
            [("user", "Sum up.\n\nAnd?"), ASKED_TURNS[1], ("user", "<TOOL_RESPONSE>[1]</TOOL_RESPONSE>")],
            id="a system message after a result",
        ),
        pytest.param([user("A"), user("B")], [("user", "A\n\nB")], id="user and user"),
        pytest.param(
            [user("A"), assistant("B"), assistant("C"), user("D")],
            [("user", "A"), ("assistant", "B\n\nC"), ("user", "D")],
            id="assistant and assistant",
        ),
        pytest.param(
            [*ASKED, tool('{"t": 1}')], [*ASKED_TURNS, ("user", '<TOOL_RESPONSE>[{"t": 1}]</TOOL_RESPONSE>')], id="tool"
        ),
        pytest.param(
            [*ASKED, tool("1"), tool('"two"'), tool("three"), tool(None)],
            [*ASKED_TURNS, ("user", '<TOOL_RESPONSE>[1, "two", "three", ""]</TOOL_RESPONSE>')],
            id="tool and tool",
        ),
        pytest.param(
            [*ASKED, tool('say "ก"\n{'), user("So?")],
            [*ASKED_TURNS, ("user", '<TOOL_RESPONSE>["say \\"ก\\"\\n{"]</TOOL_RESPONSE>\n\nSo?')],
            id="tool and user",
        ),
        pytest.param(
            [*ASKED, user("Quick!"), tool("1"), user("So?")],
            [*ASKED_TURNS, ("user", "<TOOL_RESPONSE>[1]</TOOL_RESPONSE>\n\nQuick!\n\nSo?")],
            id="user and tool",
        ),
        pytest.param(
            [user("A"), assistant("", call("f", {}, "x"), call("g", {}, "y")), tool("2", "y"), tool("1", "x")],
            [
                ("user", "A"),
                ("assistant", '<TOOLCALL>[{"name": "f", "arguments": {}}, {"name": "g", "arguments": {}}]</TOOLCALL>'),
                ("user", "<TOOL_RESPONSE>[1, 2]</TOOL_RESPONSE>"),
            ],
            id="parallel calls, results in the order of the calls",
        ),
        pytest.param(
            [user("A"), assistant("B", call("weather", {"city": "Bangkok"})), tool("1")],
            [("user", "A"), ("assistant", f"B{CALL}"), ("user", "<TOOL_RESPONSE>[1]</TOOL_RESPONSE>")],
            id="content and calls",
        ),
        pytest.param(
            [user("A"), assistant(None, call("weather", '{"city":"Bangkok"}')), tool("1")],
            [("user", "A"), ("assistant", CALL), ("user", "<TOOL_RESPONSE>[1]</TOOL_RESPONSE>")],
            id="arguments as a string",
        ),
        pytest.param(
            [user("A"), assistant(None, call("weather", '{"city": "Ba')), tool("1")],
            [
                ("user", "A"),
                ("assistant", '<TOOLCALL>[{"name": "weather", "arguments": "{\\"city\\": \\"Ba"}]</TOOLCALL>'),
                ("user", "<TOOL_RESPONSE>[1]</TOOL_RESPONSE>"),
            ],
            id="arguments that were cut off",
        ),
        pytest.param(
            [user("A"), assistant("B"), user("C")],
            [("user", "A"), ("assistant", "B"), ("user", "C")],
            id="empty tool_calls",
        ),
        pytest.param(
            [user("A"), assistant("<think>\nWell\n</think>\n\nB", reasoning_content="x", reasoning="y"), user("C")],
            [("user", "A"), ("assistant", "B"), ("user", "C")],
            id="reasoning of earlier turns",
        ),
        pytest.param(
            [user("</think><TOOLCALL>[]</TOOLCALL>")],
            [("user", "</think><TOOLCALL>[]</TOOLCALL>")],
            id="tags by a user",
        ),
        pytest.param([user(" Hi \n")], [("user", " Hi \n")], id="text is not trimmed"),
    ],
)
@pytest.mark.parametrize("thinking", [True, False])
def test_turns(messages: list[dict[str, Any]], turns: list[tuple[str, str]], thinking: bool) -> None:
    parts = NEMOTRON.render(request(*messages, thinking=thinking))
    assert written(parts) == prompt(*turns, toggle=ON if thinking else OFF)
    assert parts.count(Control("<|begin_of_text|>")) == 1


def test_thinking_off_opens_the_answer_without_ending_the_turn() -> None:
    parts = NEMOTRON.render(request(user("Hi"), thinking=False, prefill="<think>\n</think>"))
    assert written(parts) == prompt(("user", "Hi"), toggle=OFF) + "<think>\n</think>"


def test_system_text_below_the_toggle_on_demand() -> None:
    below = chat_format("nemotron", system_text="system")
    text = written(below.render(request(system("Be brief."), user("Hi"), tools=[WEATHER])))
    assert text == prompt(
        ("user", "Hi"),
        toggle=f"{ON}\n\nBe brief.\n\n<AVAILABLE_TOOLS>{json.dumps([WEATHER.function])}</AVAILABLE_TOOLS>",
    )


def test_the_packages_system_prompt_stands_in_for_the_callers() -> None:
    polite = chat_format("nemotron", default_system_prompt="Be kind.")
    assert written(polite.render(request(user("Hi")))) == prompt(("user", "Be kind.\n\nHi"))
    assert written(polite.render(request(system("Be brief."), user("Hi")))) == prompt(("user", "Be brief.\n\nHi"))


def test_tools_are_their_inner_objects_with_json_dumps_spacing() -> None:
    tools = [function("f", description="ก <b>", parameters={"type": "object"}, strict=True), function("g")]
    text = written(NEMOTRON.render(request(user("Hi"), tools=tools)))
    block = (
        '<AVAILABLE_TOOLS>[{"name": "f", "description": "ก <b>", "parameters": {"type": "object"}, "strict": true}, '
        '{"name": "g"}]</AVAILABLE_TOOLS>'
    )
    assert text == prompt(("user", "Hi"), toggle=f"{ON}\n\n{block}")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(arguments=st.dictionaries(st.text(), json_values, max_size=3), as_string=st.booleans())
def test_every_call_is_valid_json(arguments: dict[str, Any], as_string: bool) -> None:
    sent = json.dumps(arguments) if as_string else arguments
    text = written(NEMOTRON.render(request(user("A"), assistant(None, call("f", sent)), tool("1"))))
    span = re.search(r"<TOOLCALL>(.*)</TOOLCALL><\|eot_id\|>", text, re.DOTALL)
    assert span and json.loads(span[1]) == [{"name": "f", "arguments": arguments}]


@given(contents=st.lists(st.one_of(st.text(), json_values.map(json.dumps)), min_size=1, max_size=4))
def test_every_list_of_results_is_valid_json(contents: list[str]) -> None:
    parts = NEMOTRON.render(request(*ASKED, *map(tool, contents)))
    span = re.search(r"<TOOL_RESPONSE>(.*)</TOOL_RESPONSE><\|eot_id\|>", written(parts), re.DOTALL)
    assert span and len(json.loads(span[1])) == len(contents)


def test_a_deeply_nested_result_is_text() -> None:
    deep = "[" * 100_000 + "]" * 100_000
    assert json.dumps(deep) in written(NEMOTRON.render(request(*ASKED, tool(deep))))


@pytest.mark.parametrize(
    ("texts", "flag"),
    [
        ([], None),
        (["Be brief."], None),
        ([ON], True),
        ([OFF], False),
        (["Detailed Thinking On"], True),
        ([f"Be brief.\r\n  {OFF}  \r\nBe kind."], False),
        ([f"Say {ON}"], None),
        ([f"{ON}."], None),
        ([ON, OFF], False),
        ([f"{OFF}\n{ON}"], True),
    ],
)
def test_the_flag_in_system_messages(texts: list[str], flag: bool | None) -> None:
    messages = conversation(*map(system, texts), user(f"{ON}\n{OFF}"))
    assert thinking_flag(messages) is flag
    # One toggle is written, the one that was asked for; what the caller wrote is gone.
    text = written(NEMOTRON.render(ChatRequest(messages, (), False, "")))
    assert text.startswith(f"<|begin_of_text|>{turn('system', OFF)}<|start_header_id|>user")
    assert len(re.findall(r"(?im)^\s*detailed thinking \w+$", text.split("<|eot_id|>")[1])) == 2


@pytest.mark.parametrize("policy", [{"system_on": ""}, {"system_off": ""}])
def test_a_package_without_toggles_is_refused(policy: dict[str, str]) -> None:
    with pytest.raises(PackageError, match=r"thinking\.system_on or thinking\.system_off is empty"):
        chat_format("nemotron", **policy)
