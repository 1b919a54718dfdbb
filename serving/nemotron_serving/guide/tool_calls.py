"""The form of a tool call, where the caller demands one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from nemotron_serving.errors import InvalidRequestError
from nemotron_serving.guide import json_text
from nemotron_serving.guide.ebnf import render
from nemotron_serving.guide.grammar import Grammar, GuideError, Node, Repeat, Seq, Text, choice
from nemotron_serving.guide.response_format import at_path, check_size
from nemotron_serving.guide.schema import SchemaError, schema_node
from nemotron_serving.guide.schema_kinds import kinds

_FIELD = "tools"
_ANY_OBJECT = {"type": "object"}


def tool_guide(tools: Sequence[tuple[str, str]], open_tag: str, close_tag: str, *, single: bool) -> str:
    """The grammar of a list of tool calls between its tags.

    Args:
        tools: Name and schema of the parameters, as JSON, of each tool that may be called.
        open_tag: What the model writes before the list.
        close_tag: What it writes after it.
        single: Exactly one call, rather than one or more.

    Returns:
        xgrammar's EBNF with a rule `root`.

    Raises:
        InvalidRequestError: the parameters of all tools are wrong or not supported, and where; or together too much.
    """
    if not tools or not open_tag or not close_tag:
        raise InvalidRequestError(_FIELD, "a call of one of no tools, or without tags")
    check_size(_FIELD, open_tag, close_tag, *(text for tool in tools for text in tool))
    grammar = Grammar()
    call = grammar.rule(choice(*_calls(grammar, tools)))
    more: list[Node] = [] if single else [Repeat(Seq((Text(", "), call)), 0, None)]
    try:
        return render(grammar, Seq((Text(f"{open_tag}["), call, *more, Text(f"]{close_tag}"))))
    except GuideError as error:
        raise InvalidRequestError(_FIELD, f"the parameters together are {error}") from error


def _calls(grammar: Grammar, tools: Sequence[tuple[str, str]]) -> list[Node]:
    """A call of each tool. Arguments that cannot be held are any object, as long as those of another tool can."""
    calls: list[Node] = []
    refusals: list[InvalidRequestError] = []
    for index, (name, parameters) in enumerate(tools):
        try:
            arguments = _arguments(grammar, f"tools[{index}].function.parameters", parameters)
        except InvalidRequestError as error:
            refusals.append(error)
            arguments = schema_node(grammar, _ANY_OBJECT)
        calls.append(
            json_text.record(grammar, [("name", json_text.literal(name), True), ("arguments", arguments, True)])
        )
    if len(refusals) == len(tools):
        raise refusals[0]
    return calls


def _arguments(grammar: Grammar, place: str, parameters: str) -> Node:
    schema = _schema(place, parameters)
    try:
        if not schema.keys() & {"type", "$ref", "allOf"}:
            schema["type"] = "object"
        arguments = schema_node(grammar, schema)
        if kinds(schema, schema) != {"object"}:
            raise GuideError("arguments are an object, expected 'type': 'object'")
    except SchemaError as error:
        raise InvalidRequestError(_FIELD, f"{at_path(place, error.path)}: {error}") from error
    except GuideError as error:
        raise InvalidRequestError(_FIELD, f"{place}: {error}") from error
    return arguments


def _schema(place: str, parameters: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(parameters, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidRequestError(_FIELD, f"{place}: {error}. Expected a JSON schema.") from error
