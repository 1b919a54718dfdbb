r"""Nemotron's own format: Llama 3's headers with NVIDIA's tags for tools.

    <|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\ndetailed thinking on<|eot_id|>
    <|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n

Shown on two lines; there is no newline between turns. The published format leaves three things open, which are read
from it here as follows:

- JSON has `, ` and `: ` between its values and letters of all scripts as they are (`ensure_ascii=False`), which is
  what `tojson` does in Hugging Face's chat templates.
- `<TOOL_RESPONSE>[{content}, {content}]</TOOL_RESPONSE>` is a JSON list: content that is JSON stands in it as it is,
  any other text as a JSON string.
- Calls follow the text of their turn at once. Message text is not trimmed.
"""

from __future__ import annotations

from nemotron_serving.chat.base import ChatRequest
from nemotron_serving.chat.controls import Control, PromptPart
from nemotron_serving.chat.conversation import Turn, arrange
from nemotron_serving.chat.json_values import dump, is_json
from nemotron_serving.chat.messages import ToolCall, joined
from nemotron_serving.chat.tools import Tool
from nemotron_serving.errors import PackageError
from nemotron_serving.package import ServingConfig

_BEGIN, _END_OF_TURN = Control("<|begin_of_text|>"), Control("<|eot_id|>")
_START, _END = Control("<|start_header_id|>"), Control("<|end_header_id|>")


class NemotronFormat:
    """Renders conversations for the Nemotron models made from Llama 3."""

    tool_tags = ("<TOOLCALL>", "</TOOLCALL>")

    def __init__(self, config: ServingConfig) -> None:
        self._config = config
        if not (config.thinking.system_on and config.thinking.system_off):
            raise PackageError(
                "chat_format 'nemotron' writes one of two toggle lines into every prompt, but thinking.system_on or "
                "thinking.system_off is empty. Build the package again with both, such as 'detailed thinking on' "
                "and 'detailed thinking off'."
            )

    def render(self, request: ChatRequest) -> list[PromptPart]:
        """The prompt in parts. The system turn is always there."""
        conversation = arrange(request, self._config)
        parts = [_BEGIN, *_written("system", joined(conversation.system, _available(request.tools))), _END_OF_TURN]
        for turn in conversation.turns:
            parts += [*_written(turn.side, self._content(turn)), _END_OF_TURN]
        return [*parts, *_written("assistant", request.prefill)]

    def _content(self, turn: Turn) -> str:
        if turn.side == "assistant":
            return turn.text + self._called(turn.calls)
        return joined(turn.preface, _results([message.text for message in turn.results]), turn.text)

    def _called(self, calls: tuple[ToolCall, ...]) -> str:
        if not calls:
            return ""
        opening, closing = self.tool_tags
        functions = [{"name": call.function.name, "arguments": call.function.arguments} for call in calls]
        return f"{opening}{dump(functions)}{closing}"


def _written(role: str, text: str) -> list[PromptPart]:
    return [_START, role, _END, f"\n\n{text}"]


def _available(tools: tuple[Tool, ...]) -> str:
    return f"<AVAILABLE_TOOLS>{dump([tool.function for tool in tools])}</AVAILABLE_TOOLS>" if tools else ""


def _results(contents: list[str]) -> str:
    if not contents:
        return ""
    values = ", ".join(content if is_json(content) else dump(content) for content in contents)
    return f"<TOOL_RESPONSE>[{values}]</TOOL_RESPONSE>"
