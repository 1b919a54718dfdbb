"""The outputs of a stream's responses, from its tokens: what a caller reads, whichever way it came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from nemotron_serving.contract import TEXT_OUTPUTS
from nemotron_serving.output.assembler import Assembler, OutputRules
from nemotron_serving.output.detokenizer import Vocabulary

# As the engine's `TokenLogprob`: of the token, and of others in its place, by id.
_Logprob = tuple[float, Sequence[tuple[int, float]]]

_NOTHING_NEW = {output.name: output.nothing for output in TEXT_OUTPUTS if output.sent == "always"}


class TextFields:
    """Makes them for one stream.

    Args:
        vocabulary: To read token ids with.
        rules: How the stream is read.
    """

    def __init__(self, vocabulary: Vocabulary, rules: OutputRules) -> None:
        self._vocabulary = vocabulary
        self._assembler = Assembler(vocabulary, rules)
        self._prompt = rules.prompt  # until the first response has it
        self._package = rules.package  # the same

    @property
    def num_reasoning_tokens(self) -> int:
        """Tokens of thinking so far."""
        return self._assembler.num_reasoning_tokens

    def of_response(
        self,
        token_ids: Sequence[int],
        logprobs: Sequence[_Logprob] = (),
        finish_reason: str = "",
        states: Mapping[str, bool] = {},
    ) -> dict[str, Any]:
        """The outputs of the next response, by name: all that are always sent, and those that have something to say.

        Args:
            token_ids: What is new.
            logprobs: One for each of them, or none.
            finish_reason: In the last response.
            states: Outputs that are handed on as they are, where they say something.
        """
        assembler = self._assembler
        delta = assembler.feed(token_ids)
        if finish_reason:
            delta = delta.joined(assembler.flush())
        called = finish_reason == "stop" and assembler.has_tool_calls
        prompt, self._prompt = self._prompt, ""
        outputs = _NOTHING_NEW | {
            "text_output": prompt + delta.text,
            "reasoning_content": delta.reasoning_content,
            "content": delta.content,
            "num_reasoning_tokens": assembler.num_reasoning_tokens,
            "finish_reason": "tool_calls" if called else finish_reason,
            **states,
        }
        if self._package:
            outputs["package"], self._package = self._package, ""
        if delta.tool_calls:
            outputs["tool_calls"] = msgspec.json.encode(delta.tool_calls).decode()
        if delta.tool_call_error:
            outputs["tool_call_error"] = msgspec.json.encode(delta.tool_call_error).decode()
        if logprobs:
            outputs["logprobs"] = self._logprobs_json(token_ids, logprobs)
        return outputs

    def _logprobs_json(self, token_ids: Sequence[int], logprobs: Sequence[_Logprob]) -> str:
        entries = [
            self._logprob(index, chosen) | {"top_logprobs": [self._logprob(*other) for other in top]}
            for index, (chosen, top) in zip(token_ids, logprobs, strict=True)
        ]
        return msgspec.json.encode(entries).decode()

    def _logprob(self, index: int, logprob: float) -> dict[str, Any]:
        text = self._vocabulary.bytes_of(index)
        return {"token": text.decode(errors="replace"), "logprob": logprob, "bytes": list(text)}
