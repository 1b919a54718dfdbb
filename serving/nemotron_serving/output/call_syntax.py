"""The ways in which models write tool calls inside a block, all read into one shape.

JSON is read by the standard library. A call in Python's syntax is first rewritten as JSON, word by word: nothing that
the model wrote is compiled, and how deep it nests matters to the JSON decoder alone, which refuses what is too deep.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Collection
from typing import Any, NamedTuple

import msgspec

# The brackets of a list around the calls are skipped like commas, so that a missing one does no harm.
_BETWEEN_CALLS = re.compile(r"(?:[\s,;\[\]]+|```\w*)*")
_SAYS_SOMETHING = re.compile(r"\w")
_KEYS_OF_ARGUMENTS = {"arguments", "parameters"}
_KEYS_BESIDE_ARGUMENTS = {"name", "id", "type"}
_KEYS_BESIDE_FUNCTION = {"function", "id", "type", "index"}
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
# What Python and JSON both read, and Python's own. Of a backslash before anything else nobody knows what was meant: in
# "C:\new\data" the first one would be a newline.
_KNOWN_ESCAPES = re.compile(
    r"""(?:[^\\]|\\(?:["'\\bfnrt]|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|U[0-9a-fA-F]{8}))*""", re.DOTALL
)


class FunctionCall(msgspec.Struct, frozen=True):
    """The function that is called, and a JSON object with its arguments, as text."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct, frozen=True, tag_field="type", tag="function"):
    """One call, in OpenAI's shape."""

    id: str
    function: FunctionCall


class ToolCallError(msgspec.Struct, frozen=True):
    """Something in a block that is no call of a tool there is.

    Attributes:
        index: Its place among the calls of the block, or of the answer; 0 for the first.
        reason: What is wrong with it.
        text: As the model wrote it.
    """

    index: int
    reason: str
    text: str


class Block(NamedTuple):
    """What was found in a block, each in its order."""

    calls: tuple[ToolCall, ...]
    unread: tuple[ToolCallError, ...]


def read_calls(block: str, names: Collection[str]) -> Block:
    """The calls in a block, and the text of what is none. What follows something unreadable is part of it.

    Understood are `{"name": …, "arguments": {…}}`, with `parameters` for `arguments`, with the arguments as a JSON
    string or without any; the same in OpenAI's `{"function": …}`, and written as Python writes a dict; and
    `name(key=value, …)` with literal values: one or several, in a list, with or without its end, or in a code fence. An
    object that has other keys in the place of its arguments is no call: they may be the arguments under another name.

    Args:
        block: What stands between the tags.
        names: The tools there are. Calls of others are unread.
    """
    calls: list[ToolCall] = []
    unread: list[ToolCallError] = []
    at = 0
    while True:
        between = _BETWEEN_CALLS.match(block, at)
        begin = between.end() if between else at
        if not _SAYS_SOMETHING.search(block, begin):
            return Block(tuple(calls), tuple(unread))
        index = len(calls) + len(unread)
        try:
            call, at = _json_call(block, begin) if block.startswith("{", begin) else _python_call(block, begin)
        except (ValueError, RecursionError) as error:
            reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            return Block(tuple(calls), (*unread, ToolCallError(index, reason, block[begin:].rstrip())))
        try:
            function = _function(call, names)
        except ValueError as error:
            unread.append(ToolCallError(index, str(error), block[begin:at]))
        else:
            calls.append(ToolCall(f"call_{secrets.token_hex(12)}", function))


def _json_call(block: str, at: int) -> tuple[Any, int]:
    """An object in JSON or as Python writes it, and where it ends."""
    try:
        return _JSON.raw_decode(block, at)
    except json.JSONDecodeError as error:
        try:
            return _literals(block, at + 1, as_object=True)
        except ValueError:
            raise ValueError(f"not valid JSON: {error.msg}, at character {error.pos - at}") from None


def _python_call(block: str, at: int) -> tuple[dict[str, Any], int]:
    """A call in Python's syntax as an object, and where it ends."""
    call = _PYTHON_CALL.match(block, at)
    if call is None:
        raise ValueError("neither a JSON object nor a call in Python's syntax")
    try:
        arguments, end = _literals(block, call.end(), as_object=False)
    except ValueError:
        raise ValueError("a call in Python's syntax whose arguments are not all literals with names") from None
    return {"name": call[1], "arguments": arguments}, end


def _literals(block: str, at: int, *, as_object: bool) -> tuple[Any, int]:
    """The inside of a dict, or of a call's brackets, up to its end; ValueError for anything else."""
    depth, words = 1, ["{"]
    while depth:
        word = _PYTHON_WORD.match(block, at)
        if word is None or (word["key"] and (as_object or depth > 1)):
            raise ValueError("no literals")
        if as_object and word["string"] and not _KNOWN_ESCAPES.fullmatch(word["string"]):
            raise ValueError("a backslash that escapes nothing")
        at = word.end()
        mark = word["mark"]
        depth += (mark in {"(", "[", "{"}) - (mark in {")", "]", "}"})
        words.append(_as_json(word))
    if not as_object:
        words[-1] = "}"
    return _JSON.decode("".join(words)), at


def _function(call: Any, names: Collection[str]) -> FunctionCall:
    """The function that is called; ValueError with the reason where there is none."""
    inner = call.get("function")
    if isinstance(inner, dict) and call.keys() <= _KEYS_BESIDE_FUNCTION:
        call = inner
    name = call.get("name")
    if not isinstance(name, str):
        raise ValueError("it has no name")
    if name not in names:
        raise ValueError(f"there is no tool {name!r}")
    if call.keys().isdisjoint(_KEYS_OF_ARGUMENTS) and (others := call.keys() - _KEYS_BESIDE_ARGUMENTS):
        raise ValueError(f"it has no arguments, but {min(others)!r}")
    text = _arguments_text(call.get("arguments", call.get("parameters")))
    if text is None:
        raise ValueError("its arguments are no JSON object")
    return FunctionCall(name, text)


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
