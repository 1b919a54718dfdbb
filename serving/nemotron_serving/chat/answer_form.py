"""What a request says about the form of its answer: tools, a forced call, JSON, a pattern."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from nemotron_serving.chat.tools import Tool, ToolChoice, parse_tool_choice, parse_tools
from nemotron_serving.errors import InvalidRequestError
from nemotron_serving.guide import ForcedCalls, GuideSpec, ResponseFormat, stock_spec
from nemotron_serving.output.assembler import ToolRules

_NO_PARAMETERS = {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass(frozen=True)
class AnswerForm:
    """The form of one answer.

    Attributes:
        tools: What the model is told of.
        tool_rules: How its calls are read; None reads none.
        guide: What the answer must look like; None leaves it free.
    """

    tools: tuple[Tool, ...] = ()
    tool_rules: ToolRules | None = None
    guide: GuideSpec | None = None


def resolve_answer_form(fields: Mapping[str, Any], tool_tags: tuple[str, str]) -> AnswerForm:
    """Read `tools`, `tool_choice`, `response_format` and NVIDIA's guided decoding inputs.

    Args:
        fields: Values by input name of the ensemble.
        tool_tags: What opens and closes a block of calls in the chat format.

    Raises:
        InvalidRequestError: an input that cannot be read or honoured, or two that contradict each other.
    """
    tools = parse_tools(fields.get("tools", ""))
    choice = parse_tool_choice(fields.get("tool_choice", ""), tools)
    if choice.mode == "none":
        tools = ()
    guide = _guide(fields)
    if guide and tools:
        raise InvalidRequestError(
            "response_format",
            'it does not go with tools, whose calls have a form of their own; send tool_choice "none"',
        )
    return _tool_form(tools, choice, tool_tags) if tools else AnswerForm(guide=guide)


def _guide(fields: Mapping[str, Any]) -> GuideSpec | None:
    stock = stock_spec(fields)
    text = fields.get("response_format", "")
    own = ResponseFormat(text) if text else None
    if own is None or own.grammar() is None:
        return stock
    if stock is not None:
        raise InvalidRequestError("response_format", "guided_decoding_guide was given as well; send one of them")
    return own


def _tool_form(tools: tuple[Tool, ...], choice: ToolChoice, tool_tags: tuple[str, str]) -> AnswerForm:
    open_tag, close_tag = tool_tags
    forced = choice.mode == "required"
    rules = ToolRules(tuple(tool.name for tool in tools), open_tag, close_tag, ends_thinking=not forced)
    if not forced:
        return AnswerForm(tools, rules)
    may = [tool for tool in tools if choice.name in (None, tool.name)]
    schemas = tuple((tool.name, _parameters(tool)) for tool in may)
    guide = ForcedCalls(schemas, open_tag, close_tag, single=choice.name is not None)
    guide.grammar()  # what cannot be honoured is refused here, before anything is generated
    return AnswerForm(tools, rules, guide)


def _parameters(tool: Tool) -> str:
    return msgspec.json.encode(tool.function.get("parameters") or _NO_PARAMETERS).decode()
