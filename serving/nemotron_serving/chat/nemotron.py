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

from nemotron_serving.chat.controls import Control, PromptPart, compact, in_tags, spaced, tagged
from nemotron_serving.chat.conversation import ChatRequest, Turn, arrange
from nemotron_serving.chat.json_values import dump, is_json
from nemotron_serving.chat.messages import ToolCall
from nemotron_serving.chat.tools import Tool
from nemotron_serving.errors import PackageError
from nemotron_serving.output.tags import NEMOTRON_CALL_TAGS
from nemotron_serving.package import ThinkingPolicy

_BEGIN, _END_OF_TURN = Control("<|begin_of_text|>"), Control("<|eot_id|>")
_START, _END = Control("<|start_header_id|>"), Control("<|end_header_id|>")


class NemotronFormat:
    """Renders conversations for the Nemotron models made from Llama 3."""

    tool_tags = NEMOTRON_CALL_TAGS

    def __init__(self, policy: ThinkingPolicy, default_system_prompt: str) -> None:
        self._policy, self._default_system_prompt = policy, default_system_prompt
        if not (policy.system_on and policy.system_off):
            raise PackageError(
                "chat_format 'nemotron' writes one of two toggle lines into every prompt, but thinking.system_on or "
                "thinking.system_off is empty. Build the package again with both, such as 'detailed thinking on' "
                "and 'detailed thinking off'."
            )

    def render(self, request: ChatRequest) -> list[PromptPart]:
        """The prompt in parts. The system turn is always there."""
        conversation = arrange(request, self._policy, self._default_system_prompt)
        system = spaced([conversation.system], _available(request.tools))
        parts = [_BEGIN, *_written("system", system), _END_OF_TURN]
        for turn in conversation.turns:
            parts += [*_written(turn.side, _content(turn)), _END_OF_TURN]
        return [*parts, *_written("assistant", tagged(request.prefill))]


def _written(role: str, content: list[PromptPart]) -> list[PromptPart]:
    return [_START, role, _END, *compact(["\n\n", *content])]


def _content(turn: Turn) -> list[PromptPart]:
    if turn.side == "assistant":
        return [turn.text, *_called(turn.calls)]
    return spaced([turn.preface], _results([message.text for message in turn.results]), [turn.text])


def _called(calls: tuple[ToolCall, ...]) -> list[PromptPart]:
    functions = [{"name": call.function.name, "arguments": call.function.arguments} for call in calls]
    return in_tags("TOOLCALL", dump(functions)) if calls else []


def _available(tools: tuple[Tool, ...]) -> list[PromptPart]:
    return in_tags("AVAILABLE_TOOLS", dump([tool.function for tool in tools])) if tools else []


def _results(contents: list[str]) -> list[PromptPart]:
    values = ", ".join(content if is_json(content) else dump(content) for content in contents)
    return in_tags("TOOL_RESPONSE", f"[{values}]") if contents else []
