"""What stands between the tags of a tool call."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_serving.output.call_syntax import FunctionCall, ToolCall, read_calls
from tests.unit.serving.output.reading import plain

NAMES = ("f", "get-weather", "math.add")
CALL = ("f", {"a": 1})


@pytest.mark.parametrize(
    ("block", "calls"),
    [
        # JSON
        ('[{"name": "f", "arguments": {"a": 1}}]', [CALL]),
        ('{"name": "f", "arguments": {"a": 1}}', [CALL]),
        ('[{"name": "f", "arguments": {"a": 1}}, {"name": "f", "arguments": {}}]', [CALL, ("f", {})]),
        ('{"name": "f", "arguments": {"a": 1}}\n{"name": "f", "arguments": {"a": 1}}', [CALL, CALL]),
        ('[{"name": "f", "parameters": {"a": 1}}]', [CALL]),
        (r'[{"name": "f", "arguments": "{\"a\": 1}"}]', [CALL]),
        ('[{"name": "f", "arguments": ""}]', [("f", {})]),
        ('[{"name": "f", "arguments": null}]', [("f", {})]),
        ('[{"name": "f"}]', [("f", {})]),
        ('[{"type": "function", "id": "1", "name": "f"}]', [("f", {})]),
        ('[{"type": "function", "id": "1", "name": "f", "arguments": {"a": 1}, "why": "so"}]', [CALL]),
        ('[{"name": "f", "arguments": {"a": 1}}', [CALL]),  # no ]
        ('{"name": "f", "arguments": {"a": 1}}]', [CALL]),
        ('\n[\n  {"name": "f",\n "arguments": {"a": 1}}\n]\n', [CALL]),
        ('[[{"name": "f", "arguments": {"a": 1}}]]', [CALL]),
        ('```json\n[{"name": "f", "arguments": {"a": 1}}]\n```', [CALL]),
        ('[{"name": "f", "arguments": {"a": 0, "a": 1}}]', [CALL]),
        ('[{"name": "f", "arguments": {"a": "two\nlines, ครับ"}}]', [("f", {"a": "two\nlines, ครับ"})]),
        (
            '[{"name": "f", "arguments": {"a": [{"b": {}}, null, true, 1.5]}}]',
            [("f", {"a": [{"b": {}}, None, True, 1.5]})],
        ),
        # Python's syntax
        ("[f(a=1)]", [CALL]),
        ("f(a=1)", [CALL]),
        ("[f(a=1), f()]", [CALL, ("f", {})]),
        ("[f(a=1)", [CALL]),
        ("[f(a=0, a=1)]", [CALL]),
        ("```python\n[f(a=1)]\n```", [CALL]),
        ('[get-weather(city="Chiang Mai", days=2,)]', [("get-weather", {"city": "Chiang Mai", "days": 2})]),
        ("[math.add(x=-1, y=2.5e3)]", [("math.add", {"x": -1, "y": 2500.0})]),
        ("[f(a=[1, 'x', (True,)], b={'k': None,})]", [("f", {"a": [1, "x", [True]], "b": {"k": None}})]),
        ("[f(a=true, b=false, c=null)]", [("f", {"a": True, "b": False, "c": None})]),
        (r"""[f(a='it\'s', b="a \"b\" \\n\n\x41\u0e01\d")]""", [("f", {"a": "it's", "b": 'a "b" \\n\nAก\\d'})]),
        ("[f( a = 'x=1, y=(2)' , b = ')' )]", [("f", {"a": "x=1, y=(2)", "b": ")"})]),
        # OpenAI's shape
        ('[{"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}]', [CALL]),
        (
            r'[{"id": "1", "type": "function", "index": 0, "function": {"name": "f", "arguments": "{\"a\": 1}"}}]',
            [CALL],
        ),
        ('{"function": {"name": "f"}}', [("f", {})]),
        # As Python writes a dict
        ("[{'name': 'f', 'arguments': {'a': 1}}]", [CALL]),
        ("[{'name': 'f', 'arguments': {'a': [True, None, (1, 2.5)],}}]", [("f", {"a": [True, None, [1, 2.5]]})]),
        (
            """{'name': 'f', "arguments": {"q": "what's the weather", 'r': "a \\"b\\" \\\\ \\u0e01 \\x41\\n"}}""",
            [("f", {"q": "what's the weather", "r": 'a "b" \\ ก A\n'})],
        ),
        (r"""{"name": "f", "arguments": {"q": "what\'s the weather"}}""", [("f", {"q": "what's the weather"})]),
        ("[{'name': 'f', 'arguments': \"{'a': 1}\"}, f(a=1)]", [CALL]),
        # What says nothing does no harm.
        ('[{"name": "f", "arguments": {"a": 1}}}]', [CALL]),
        ("", []),
        ("[]", []),
        ("[{}]", []),
        ("```json\n[]\n```\n", []),
    ],
)
def test_calls(block: str, calls: list[tuple[str, Any]]) -> None:
    found = read_calls(block, NAMES)
    assert plain(found.calls) == tuple(calls)


@pytest.mark.parametrize(
    ("block", "calls", "unread"),
    [
        # What is no call among others is left out, and what follows something unreadable is part of it.
        ('[{"name": "f", "arguments": {"a": 1}}, {"name": "f", "argum', [CALL], [(1, '{"name": "f", "argum')]),
        ('[{"name": "f", "arguments": {"a": 1}}] and so on.\n', [CALL], [(1, "and so on.")]),
        ('[{"name": "other"}, {"name": "f", "arguments": {"a": 1}}]', [CALL], [(0, '{"name": "other"}')]),
        ('[{"name": "f", "arguments": [1]}, {"name": "f", "arguments": {"a": 1}}]', [CALL],
         [(0, '{"name": "f", "arguments": [1]}')]),
        ('[{"name": "f", "args": {"a": 0}}, {"name": "f", "arguments": {"a": 1}}, g(b=2)]', [CALL],
         [(0, '{"name": "f", "args": {"a": 0}}'), (2, "g(b=2)")]),
        ("[other(a=1), f(a=1)]", [CALL], [(0, "other(a=1)")]),
    ],
)  # fmt: skip
def test_calls_among_others(block: str, calls: list[tuple[str, Any]], unread: list[tuple[int, str]]) -> None:
    found = read_calls(block, NAMES)
    assert plain(found.calls) == tuple(calls)
    assert [(one.index, one.text) for one in found.unread] == unread


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        ("null", "neither a JSON object nor a call"),
        ("garbage", "neither a JSON object nor a call"),
        ("I would call f(a=1) now", "neither a JSON object nor a call"),
        ('{"name": "other", "arguments": {}}', "there is no tool 'other'"),
        ('{"function": {"name": "other", "arguments": {}}}', "there is no tool 'other'"),
        ('{"function": {"name": "f"}, "why": "so"}', "it has no name"),
        ('{"name": ["f"], "arguments": {}}', "it has no name"),
        ('{"name": "f", "arguments": "a"}', "its arguments are no JSON object"),
        ('{"name": "f", "arguments": "[1]"}', "its arguments are no JSON object"),
        ('{"name": "f", "arguments": false}', "its arguments are no JSON object"),
        ('{"name": "f", "args": {"a": 1}}', "it has no arguments, but 'args'"),
        ('{"name": "f", "a": 1}', "it has no arguments, but 'a'"),
        ('{"name": "f", "id": "1", "type": "function", "input": {}}', "it has no arguments, but 'input'"),
        ('{"name": "f", "arguments": {"a": NaN}}', ""),
        ('{"name": "f", "arguments": {"a": 1e999}}', "its arguments are no JSON object"),
        ('{"name": "f", "arguments": {"path": "C:\\Users\\x"}}', "not valid JSON: Invalid"),
        ('{"name": "f", "arguments": {"path": "C:\\new\\data"}}', "not valid JSON: Invalid"),
        ("{'name': 'f', 'arguments': {'path': 'C:\\new\\data'}}", "not valid JSON"),
        ("{'name': 'f'", "not valid JSON"),
        ("{'name': 'f', 'arguments': {a=1}}", "not valid JSON"),
        ("{name: 'f'}", "not valid JSON"),
        ("f(1)", "a call in Python's syntax"),
        ("f(a=g(b=1))", "a call in Python's syntax"),
        ("f(a=b)", "a call in Python's syntax"),
        ("f(a=1 b=2)", "a call in Python's syntax"),
        ("f(a=1", "a call in Python's syntax"),
        ("f(a='1)", "a call in Python's syntax"),
        ("f(a={1: 2})", "a call in Python's syntax"),
        ("f(a=1e999)", ""),
        (r"f(a='\U00110000')", "a call in Python's syntax"),
        ("f(**{'a': 1})", "a call in Python's syntax"),
        ("f(a=__import__('os'))", "a call in Python's syntax"),
    ],
)
def test_what_is_no_call(block: str, reason: str) -> None:
    calls, unread = read_calls(block, NAMES)
    assert calls == ()
    assert [(one.index, one.text) for one in unread] == [(0, block)]
    assert unread[0].reason.startswith(reason) and unread[0].reason


def test_a_call_has_openais_shape() -> None:
    call, other = read_calls('[{"name": "f", "arguments": {"a": "ก", "b": [1,2]}}, {"name": "f"}]', NAMES).calls
    assert msgspec.to_builtins(call) == {
        "id": call.id,
        "type": "function",
        "function": {"name": "f", "arguments": '{"a": "ก", "b": [1, 2]}'},
    }
    assert call.id.startswith("call_")
    assert call.id != other.id
    assert msgspec.json.decode(msgspec.json.encode(call), type=ToolCall) == call


@pytest.mark.parametrize("block", [r'{"name": "f", "arguments": {"a": "\ud800"}}', r"f(a='\ud800')"])
def test_half_of_a_surrogate_pair_stays_an_escape(block: str) -> None:
    (call,) = read_calls(block, NAMES).calls
    assert call.function == FunctionCall("f", r'{"a": "\ud800"}')


@pytest.mark.parametrize("block", [r'{"name": "f", "arguments": {"a": "\ud83d\ude00"}}', r"f(a='\ud83d\ude00')"])
def test_a_surrogate_pair_is_its_character(block: str) -> None:
    assert plain(read_calls(block, NAMES).calls) == (("f", {"a": "\U0001f600"}),)


@pytest.mark.parametrize(
    "block",
    [
        "[" * 10**6,
        "```" * 10**6,
        '{"a":' * 10**6,
        '{"name": "f", "arguments": ' + "[" * 10**6,
        r'{"name": "f", "arguments": "' + "[" * 10**6 + '"}',
        '{"name": "f", "arguments": "' + "{" * 10**6,
        "f(" * 10**6,
        "f(a=" + "[" * 10**5 + "]" * 10**5 + ")",
        "f(a=" + "-" * 10**6,
        "f(a=" + "1" * 10**6,
        "f(a='" + r"\'" * 10**6,
        "f(a=" + "'b' " * 10**5,
        "f(" + "a " * 10**5,
        "f" * 10**6,
        '{"name": "f", "arguments": {"a": ' + "1" * 10**6 + "}}",
    ],
    ids=lambda block: block[:30],
)
def test_a_bomb_is_no_call_and_takes_no_time(block: str) -> None:
    begin = time.thread_time()
    assert read_calls(block, NAMES).calls == ()
    assert time.thread_time() - begin < 10


json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**9), 10**9),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)


@given(arguments=st.dictionaries(st.text(max_size=5), json_values, max_size=4))
def test_any_arguments_in_json(arguments: dict[str, Any]) -> None:
    block = msgspec.json.encode([{"name": "f", "arguments": arguments}]).decode()
    assert plain(read_calls(block, NAMES).calls) == (("f", arguments),)


@given(arguments=st.dictionaries(st.from_regex(r"[a-z_]{1,5}", fullmatch=True), json_values, max_size=4))
def test_any_arguments_in_pythons_syntax(arguments: dict[str, Any]) -> None:
    block = f"[f({', '.join(f'{name}={value!r}' for name, value in arguments.items())})]"
    assert plain(read_calls(block, NAMES).calls) == (("f", arguments),)


@given(
    block=st.lists(
        st.sampled_from(
            ["f", "(", ")", "a", "=", "1", "'", '"', "\\", "{", "}", "[", "]", ":", ",", '"name"', "\n", "`", "-", "."]
        )
    ).map("".join)
)
def test_nothing_raises(block: str) -> None:
    calls, unread = read_calls(block, NAMES)
    for call in calls:
        assert isinstance(msgspec.json.decode(call.function.arguments), dict)
    assert all(one.reason and one.text in block for one in unread)
    assert sorted(one.index for one in unread) == [one.index for one in unread]
