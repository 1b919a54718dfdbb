"""From messages as callers send them to messages as the server takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nemotron_front.errors import invalid
from nemotron_front.reading import shown

_ROLES = ("system", "developer", "user", "assistant", "tool")
_TEXT_PARTS = ("text", "input_text", "output_text")
# Not shown to the model, whatever they hold.
_SILENT_PARTS = ("refusal", "thinking", "redacted_thinking", "reasoning")


def read_messages(given: Sequence[Any], where: str = "messages") -> list[dict[str, Any]]:
    """The conversation as the server takes it: role, content as text, calls and their results.

    All else that a message has is left out. Much of it comes from messages of the model that are sent back whole, and
    none of it is shown to the model; what would be, or could be meant to, is refused.

    Args:
        given: The messages.
        where: The field they are in, for errors.

    Raises:
        ApiError: something that is no message, or that this model cannot read.
    """
    return [_message(f"{where}[{number}]", message) for number, message in enumerate(given)]


def _message(where: str, given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise invalid(where, f"{where}: {shown(given)} was given, expected an object with role and content")
    role = given.get("role")
    if role not in _ROLES:
        hint = "; send its result with the role tool" if role == "function" else ""
        raise invalid(f"{where}.role", f"{where}.role: {shown(role)} was given, expected {', '.join(_ROLES)}{hint}")
    for name, remedy in _REFUSED.items():
        if given.get(name):
            raise invalid(f"{where}.{name}", f"{where}.{name}: {remedy}", "unsupported_parameter")
    message = {"role": role, "content": _content(f"{where}.content", given.get("content"))}
    if calls := given.get("tool_calls"):
        message["tool_calls"] = _calls(f"{where}.tool_calls", calls)
    if role == "tool" and (call_id := _id(f"{where}.tool_call_id", given.get("tool_call_id"))) is not None:
        message["tool_call_id"] = call_id
    return message


def _content(where: str, given: Any) -> str:
    if given is None:
        return ""
    if isinstance(given, str):
        return given
    if not isinstance(given, list):
        raise invalid(where, f"{where}: {shown(given)} was given, expected a string or a list of parts")
    return "".join(_part(f"{where}[{number}]", part) for number, part in enumerate(given))


def _part(where: str, given: Any) -> str:
    if isinstance(given, str):
        return given
    kind = given.get("type") if isinstance(given, dict) else None
    if kind in _SILENT_PARTS:
        return ""
    if kind not in _TEXT_PARTS:
        message = f"{where}: a part of the type {shown(kind)} was given; this model reads text, expected the type text"
        raise invalid(where, message, "unsupported_parameter" if kind else "invalid_value")
    text = given.get("text")
    if not isinstance(text, str):
        raise invalid(f"{where}.text", f"{where}.text: {shown(text)} was given, expected a string")
    return text


def _calls(where: str, given: Any) -> list[dict[str, Any]]:
    if not isinstance(given, list):
        raise invalid(where, f"{where}: {shown(given)} was given, expected a list of calls")
    return [_call(f"{where}[{number}]", call) for number, call in enumerate(given)]


def _call(where: str, given: Any) -> dict[str, Any]:
    function = given.get("function") if isinstance(given, dict) else None
    if not isinstance(function, Mapping) or given.get("type", "function") not in ("function", None):
        raise invalid(where, f"{where}: expected {_CALL}")
    name, arguments = function.get("name"), function.get("arguments")
    if not isinstance(name, str) or not isinstance(arguments, (str, dict, type(None))):
        raise invalid(f"{where}.function", f"{where}.function: expected {_CALL}")
    call: dict[str, Any] = {"type": "function", "function": {"name": name, "arguments": arguments}}
    if (call_id := _id(f"{where}.id", given.get("id"))) is not None:
        call["id"] = call_id
    return call


def _id(where: str, given: Any) -> str | None:
    """The name of a call, which its result has too."""
    if given is not None and not isinstance(given, str):
        raise invalid(where, f"{where}: {shown(given)} was given, expected a string")
    return given


_CALL = '{"id": …, "type": "function", "function": {"name": …, "arguments": "…"}}'
_REFUSED = {
    "function_call": "send tool_calls, and the result with the role tool",
    "audio": "this model reads text",
    "images": "this model reads text",
}
"""What a message may not have, and what to do."""
