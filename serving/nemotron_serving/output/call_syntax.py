"""The ways in which models write tool calls inside a block, all read into one shape.

JSON is read by the standard library. A call in Python's syntax is first rewritten as JSON, word by word: nothing that
the model wrote is compiled, and how deep it nests matters to the JSON decoder alone, which refuses what is too deep.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Collection
from typing import Any

import msgspec

# The brackets of a list around the calls are skipped like commas, so that a missing one does no harm.
_BETWEEN_CALLS = re.compile(r"(?:[\s,;\[\]]+|```\w*)*")
_KEYS_OF_ARGUMENTS = {"arguments", "parameters"}
_KEYS_BESIDE_ARGUMENTS = {"name", "id", "type"}
_PYTHON_CALL = re.compile(r"([^\W\d][\w.-]*)\s*\(")
_PYTHON_WORD = re.compile(
    r"""\s*(?:
        (?P<string> "[^"\\]*(?:\\.[^"\\]*)*" | '[^'\\]*(?:\\.[^'\\]*)*' )
        | (?P<key> [^\W\d]\w* ) \s* =
        | (?P<constant> True | False | None | true | false | null ) \b
        | (?P<number> -? \d+ (?: \.\d+ )? (?: [eE][+-]?\d+ )? )
        | (?P<trailing> , ) (?= \s* [)\]}] )
        | (?P<mark> [()\[\]{}:,] )
    )""",
    re.VERBOSE | re.DOTALL,
)
_AS_JSON = {"True": "true", "False": "false", "None": "null", "(": "[", ")": "]"}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([\\'\"abfnrtv0\n]))")
_ESCAPED = dict(zip("abfnrtv0\n", ["\a", "\b", "\f", "\n", "\r", "\t", "\v", "\0", ""], strict=True))


class FunctionCall(msgspec.Struct, frozen=True):
    """The function that is called, and a JSON object with its arguments, as text."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct, frozen=True, tag_field="type", tag="function"):
    """One call, in OpenAI's shape."""

    id: str
    function: FunctionCall


def read_calls(block: str, names: Collection[str]) -> tuple[ToolCall, ...]:
    """The calls in a block, up to the first thing in it that is none.

    Understood are `{"name": …, "arguments": {…}}`, with `parameters` for `arguments`, with the arguments as a JSON
    string or without any, and `name(key=value, …)` with literal values: one or several, in a list, with or without its
    end, or in a code fence. An object that has other keys in the place of its arguments is no call: they may be the
    arguments under another name.

    Args:
        block: What stands between the tags.
        names: The tools there are. Calls of others are left out.
    """
    calls: list[ToolCall] = []
    at = 0
    while True:
        between = _BETWEEN_CALLS.match(block, at)
        at = between.end() if between else at
        try:
            name, arguments, at = _json_call(block, at) if block.startswith("{", at) else _python_call(block, at)
        except (ValueError, RecursionError):
            return tuple(calls)
        text = _arguments_text(arguments)
        if name in names and text is not None:
            calls.append(ToolCall(f"call_{secrets.token_hex(12)}", FunctionCall(name, text)))


def _json_call(block: str, at: int) -> tuple[str, Any, int]:
    """Name, arguments and end of a call that is a JSON object; ValueError for anything else."""
    call, end = _JSON.raw_decode(block, at)
    name = call.get("name")
    arguments = call.get("arguments", call.get("parameters"))
    unread = call.keys() - _KEYS_BESIDE_ARGUMENTS if call.keys().isdisjoint(_KEYS_OF_ARGUMENTS) else ()
    return name if isinstance(name, str) and not unread else "", arguments, end


def _python_call(block: str, at: int) -> tuple[str, Any, int]:
    """Name, arguments and end of a call in Python's syntax; ValueError for anything else."""
    call = _PYTHON_CALL.match(block, at)
    if call is None:
        raise ValueError("no call")
    at, depth, words = call.end(), 1, ["{"]
    while depth:
        word = _PYTHON_WORD.match(block, at)
        if word is None or (word["key"] and depth > 1):
            raise ValueError("no call with literal arguments")
        at = word.end()
        mark = word["mark"]
        depth += (mark in {"(", "[", "{"}) - (mark in {")", "]", "}"})
        words.append(_as_json(word))
    words[-1] = "}"
    return call[1], _JSON.decode("".join(words)), at


def _as_json(word: re.Match[str]) -> str:
    match word.lastgroup:
        case "string":
            return json.dumps(_ESCAPE.sub(_unescaped, word["string"][1:-1]))
        case "key":
            return f'"{word["key"]}":'
        case "trailing":
            return ""
    text = word[0].lstrip()
    return _AS_JSON.get(text, text)


def _unescaped(escape: re.Match[str]) -> str:
    code = escape[1] or escape[2] or escape[3]
    if not code:
        return _ESCAPED.get(escape[4], escape[4])
    return chr(int(code, 16))  # ValueError above U+10FFFF


def _arguments_text(arguments: Any) -> str | None:
    """The arguments as JSON text; None for what is no object."""
    try:
        if isinstance(arguments, str):
            arguments = _JSON.decode(arguments) if arguments.strip() else None
        if arguments is None:
            arguments = {}
        if not isinstance(arguments, dict):
            return None
        text = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
        # JSON may name half of a surrogate pair, which UTF-8 cannot carry as it is.
        return json.dumps(arguments) if _SURROGATE.search(text) else text
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


_JSON = json.JSONDecoder(strict=False, parse_constant=_refuse)
_SURROGATE = re.compile("[\ud800-\udfff]")
