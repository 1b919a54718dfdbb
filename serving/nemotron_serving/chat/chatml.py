r"""ChatML, as SmolLM2's own chat template writes it, with tools in the way Hermes introduced.

    <|im_start|>system\nYou are helpful<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n

Functions are listed in a `<tools>` block of the system turn, each as OpenAI wraps it. Each call and each result stands
in tags of its own; results are a user's turn, with their content as it is, but for a closing tag in it.
"""

from __future__ import annotations

from nemotron_serving.chat.controls import Control, PromptPart, compact, in_tags, spaced, tagged
from nemotron_serving.chat.conversation import ChatRequest, Turn, arrange
from nemotron_serving.chat.json_values import dump, quoted
from nemotron_serving.chat.messages import ToolCall
from nemotron_serving.chat.tools import Tool
from nemotron_serving.output.tags import CHATML_CALL_TAGS
from nemotron_serving.package import ThinkingPolicy

_START, _END = Control("<|im_start|>"), Control("<|im_end|>")
_SIGNATURES = "You may call functions to help the user. Their signatures, one JSON object a line:\n"
_HOW_TO_CALL = """

To call a function, write its name and arguments as a JSON object between tags, once for each call:
"""
_RESULT = "tool_response"
_CALL = '{"name": <function name>, "arguments": <arguments object>}'


class ChatMlFormat:
    """Renders conversations for models that know ChatML."""

    tool_tags = CHATML_CALL_TAGS

    def __init__(self, policy: ThinkingPolicy, default_system_prompt: str) -> None:
        self._policy, self._default_system_prompt = policy, default_system_prompt

    def render(self, request: ChatRequest) -> list[PromptPart]:
        """The prompt in parts. Without system text and tools there is no system turn."""
        conversation = arrange(request, self._policy, self._default_system_prompt)
        system = spaced([conversation.system], _available(request.tools))
        parts = _turn("system", system) if system else []
        for turn in conversation.turns:
            parts += _turn(turn.side, _content(turn))
        return [*parts, _START, "assistant\n", *tagged(request.prefill)]


def _turn(role: str, content: list[PromptPart]) -> list[PromptPart]:
    return [_START, *compact([f"{role}\n", *content]), _END, "\n"]


def _available(tools: tuple[Tool, ...]) -> list[PromptPart]:
    if not tools:
        return []
    signatures = (dump({"type": "function", "function": tool.function}) for tool in tools)
    return [_SIGNATURES, *_in_lines("tools", *signatures), _HOW_TO_CALL, *_in_lines("tool_call", _CALL)]


def _content(turn: Turn) -> list[PromptPart]:
    if turn.side == "assistant":
        return _lines([turn.text] if turn.text else [], *map(_called, turn.calls))
    results = _lines(*(_in_lines(_RESULT, quoted(message.text, f"</{_RESULT}>")) for message in turn.results))
    return spaced([turn.preface], results, [turn.text])


def _called(call: ToolCall) -> list[PromptPart]:
    return _in_lines("tool_call", dump({"name": call.function.name, "arguments": call.function.arguments}))


def _in_lines(name: str, *lines: str) -> list[PromptPart]:
    return in_tags(name, "\n".join(["", *lines, ""]))


def _lines(*blocks: list[PromptPart]) -> list[PromptPart]:
    """Blocks one below the other."""
    return [part for number, block in enumerate(filter(None, blocks)) for part in (["\n", *block] if number else block)]
