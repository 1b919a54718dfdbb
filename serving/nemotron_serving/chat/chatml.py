r"""ChatML, as SmolLM2's own chat template writes it, with tools in the way Hermes introduced.

    <|im_start|>system\nYou are helpful<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n

Functions are listed in a `<tools>` block of the system turn, each as OpenAI wraps it. Each call and each result stands
in tags of its own; results are a user's turn, with their content as it is.
"""

from __future__ import annotations

from nemotron_serving.chat.base import ChatRequest
from nemotron_serving.chat.controls import Control, PromptPart
from nemotron_serving.chat.conversation import Turn, arrange
from nemotron_serving.chat.json_values import dump
from nemotron_serving.chat.messages import ToolCall, joined
from nemotron_serving.chat.tools import Tool
from nemotron_serving.package import ServingConfig

_START, _END = Control("<|im_start|>"), Control("<|im_end|>")
_TOOLS = """\
You may call functions to help the user. Their signatures, one JSON object a line:
<tools>
{signatures}
</tools>

To call a function, write its name and arguments as a JSON object between tags, once for each call:
{opening}
{{"name": <function name>, "arguments": <arguments object>}}
{closing}"""


class ChatMlFormat:
    """Renders conversations for models that know ChatML."""

    tool_tags = ("<tool_call>", "</tool_call>")

    def __init__(self, config: ServingConfig) -> None:
        self._config = config

    def render(self, request: ChatRequest) -> list[PromptPart]:
        """The prompt in parts. Without system text and tools there is no system turn."""
        conversation = arrange(request, self._config)
        system = joined(conversation.system, self._available(request.tools))
        parts = _turn("system", system) if system else []
        for turn in conversation.turns:
            parts += _turn(turn.side, self._content(turn))
        return [*parts, _START, f"assistant\n{request.prefill}"]

    def _available(self, tools: tuple[Tool, ...]) -> str:
        if not tools:
            return ""
        signatures = "\n".join(dump({"type": "function", "function": tool.function}) for tool in tools)
        opening, closing = self.tool_tags
        return _TOOLS.format(signatures=signatures, opening=opening, closing=closing)

    def _content(self, turn: Turn) -> str:
        if turn.side == "assistant":
            return "\n".join(filter(None, [turn.text, *map(self._called, turn.calls)]))
        results = [f"<tool_response>\n{message.text}\n</tool_response>" for message in turn.results]
        return joined(turn.preface, "\n".join(results), turn.text)

    def _called(self, call: ToolCall) -> str:
        opening, closing = self.tool_tags
        function = {"name": call.function.name, "arguments": call.function.arguments}
        return f"{opening}\n{dump(function)}\n{closing}"


def _turn(role: str, text: str) -> list[PromptPart]:
    return [_START, f"{role}\n{text}", _END, "\n"]
