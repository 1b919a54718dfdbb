"""The functions a model may call, in OpenAI's shape: the inputs `tools` and `tool_choice`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import msgspec

from nemotron_serving.chat.json_values import check_depth, read_json
from nemotron_serving.errors import InvalidRequestError

_Mode = Literal["none", "auto", "required"]
_MODES = get_args(_Mode)
_MAX_TOOLS = 128  # as OpenAI has it
_CHOICE = '"none", "auto", "required" or {"type": "function", "function": {"name": …}}'


@dataclass(frozen=True)
class Tool:
    """One function.

    Attributes:
        name: The function's name.
        function: OpenAI's inner `function` object as it was sent: name, description, parameters and what else.
    """

    name: str
    function: dict[str, Any]


@dataclass(frozen=True)
class ToolChoice:
    """Whether the model may, must or must not call. A `name` means that function, in the mode `required`."""

    mode: _Mode
    name: str | None = None


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: Literal["function"]
    function: dict[str, Any]


class _Signature(msgspec.Struct, frozen=True):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Name(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str


class _Named(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: Literal["function"]
    function: _Name


def parse_tools(value: str) -> tuple[Tool, ...]:
    """Read the JSON of the `tools` input; an empty text, `null` and `[]` are no tools.

    Raises:
        InvalidRequestError: not JSON, not a list of functions, a function without a name or two of one name.
    """
    entries = _read("tools", value, list[_Entry] | None, "OpenAI's tools") or []
    if len(entries) > _MAX_TOOLS:
        raise InvalidRequestError("tools", f"{len(entries)} were given, expected at most {_MAX_TOOLS}")
    tools: dict[str, Tool] = {}
    for number, entry in enumerate(entries):
        tool = _tool(f"tools[{number}].function", entry.function)
        if tool.name in tools:
            raise InvalidRequestError(f"tools[{number}].function.name", f"{tool.name!r} was given twice")
        tools[tool.name] = tool
    return tuple(tools.values())


def parse_tool_choice(value: str, tools: tuple[Tool, ...]) -> ToolChoice:
    """Read the `tool_choice` input: a mode, bare or as a JSON string, or OpenAI's object with a function's name.

    An empty text and `null` are "auto".

    Raises:
        InvalidRequestError: none of these, a function that is not among the tools, or a call required without tools.
    """
    choice = _choice(value)
    if choice.mode == "required" and not tools:
        raise InvalidRequestError("tool_choice", "a call is required, but no tools were given; send tools with it")
    names = [tool.name for tool in tools]
    if choice.name is not None and choice.name not in names:
        raise InvalidRequestError("tool_choice", f"{choice.name!r} is not among the tools, expected one of {names}")
    return choice


def _tool(field: str, function: dict[str, Any]) -> Tool:
    check_depth(field, function)
    try:
        name = msgspec.convert(function, _Signature).name
    except msgspec.ValidationError as error:
        raise InvalidRequestError(field, f"{error}. Expected OpenAI's function.") from error
    if not name:
        raise InvalidRequestError(f"{field}.name", "empty, expected the function's name")
    return Tool(name, function)


def _choice(value: str) -> ToolChoice:
    if value in _MODES:
        value = f'"{value}"'
    read = _read("tool_choice", value, _Mode | _Named | None, _CHOICE)
    if isinstance(read, _Named):
        return ToolChoice("required", read.function.name)
    return ToolChoice(read or "auto")


def _read(field: str, text: str, kind: Any, expected: str) -> Any:
    return read_json(field, text, kind, expected) if text.strip() else None
