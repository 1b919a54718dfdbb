"""A request's fields to prompt ids and settings: everything that can be refused is refused here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nemotron_serving.chat.formats import PromptPart, chat_format
from nemotron_serving.chat.messages import Message, parse_messages
from nemotron_serving.chat.tokenizer import PromptTokenizer
from nemotron_serving.errors import InvalidRequestError
from nemotron_serving.generation.settings import (
    GenerationSettings,
    ThinkingBudget,
    check_range,
    check_stop_words,
    resolve_sampling,
    resolve_stop_ids,
)
from nemotron_serving.output.assembler import OutputRules
from nemotron_serving.output.reasoning import CLOSE_TAG, OPEN_TAG
from nemotron_serving.package import Package

THINKING_CLOSE = f"\n{CLOSE_TAG}\n\n"
_GRACE = 0.1  # of the budget, to wait for a newline


class Preprocessor:
    """Reads the ensemble's inputs for one package."""

    def __init__(self, package: Package) -> None:
        self._config = package.serving
        self._format = chat_format(package.serving.chat_format)
        self._tokenizer = PromptTokenizer(package.tokenizer_path)
        self._close_ids = tuple(self._tokenizer.encode([THINKING_CLOSE]).tolist())

    def prepare(self, fields: Mapping[str, Any]) -> tuple[npt.NDArray[np.int32], GenerationSettings]:
        """Turn one request into prompt ids, shape [n], and settings.

        Args:
            fields: Values by input name of the ensemble; absent ones were not sent.

        Raises:
            InvalidRequestError: naming the field, what was given and what was expected.
        """
        raw = fields.get("raw_prompt", False)
        thinking = fields.get("thinking", self._config.thinking.default)
        parts = self._raw_parts(fields) if raw else self._chat_parts(fields, thinking)
        ids = self._tokenizer.encode(parts)
        max_tokens = self._max_tokens(fields, len(ids))
        open_block = _opens_thinking(parts)
        config = self._config
        timeout_ms = fields.get("timeout_ms", config.limits.default_timeout_ms)
        check_range("timeout_ms", timeout_ms)
        stop_words = tuple(filter(None, fields.get("stop_words", ())))
        check_stop_words("stop_words", stop_words)
        settings = GenerationSettings(
            sampling=resolve_sampling(fields, config.sampling_on if thinking else config.sampling_off, names={}),
            max_tokens=max_tokens,
            stream=fields.get("stream", False),
            timeout_ms=timeout_ms,
            stop_token_ids=resolve_stop_ids(fields, config.stop_token_ids, self._tokenizer.vocabulary_size),
            budget=self._budget(fields, max_tokens, open_block),
            output=OutputRules("thinking" if open_block else "detect", stop_words),
        )
        return ids, settings

    def _chat_parts(self, fields: Mapping[str, Any], thinking: bool) -> list[PromptPart]:
        if ("text_input" in fields) == ("messages" in fields):
            given = "both were given" if "messages" in fields else "neither was given"
            raise InvalidRequestError("text_input", f"{given}; send either text_input or messages")
        if "messages" in fields:
            self._check_size("messages", fields["messages"])
            messages = parse_messages(fields["messages"])
        else:
            messages = [Message("user", self._text_input(fields))]
        policy = self._config.thinking
        prefill = policy.prefill_on if thinking else policy.prefill_off
        return self._format(messages, self._config.default_system_prompt, prefill)

    def _raw_parts(self, fields: Mapping[str, Any]) -> list[PromptPart]:
        for name in ("messages", "thinking"):
            if name in fields:
                raise InvalidRequestError(name, "does not go with raw_prompt; write it into text_input")
        return self._tokenizer.split_controls(self._text_input(fields))

    def _text_input(self, fields: Mapping[str, Any]) -> str:
        text: str = fields.get("text_input", "")
        if not text:
            raise InvalidRequestError("text_input", "empty, expected the user's text")
        self._check_size("text_input", text)
        return text

    def _check_size(self, field: str, text: str) -> None:
        size, limit = len(text.encode()), self._config.limits.max_prompt_bytes
        if size > limit:
            raise InvalidRequestError(field, f"{size} bytes were given, this server takes at most {limit}")

    def _max_tokens(self, fields: Mapping[str, Any], prompt_tokens: int) -> int:
        limit = self._config.limits.max_seq_len
        field = "messages" if "messages" in fields else "text_input"
        if prompt_tokens >= limit:
            raise InvalidRequestError(
                field, f"the prompt has {prompt_tokens} tokens, this server takes at most {limit - 1}"
            )
        if "max_tokens" not in fields:
            return min(self._config.max_tokens, limit - prompt_tokens)
        max_tokens: int = fields["max_tokens"]
        check_range("max_tokens", max_tokens)
        if prompt_tokens + max_tokens > limit:
            raise InvalidRequestError(
                "max_tokens",
                f"{max_tokens} was given with a prompt of {prompt_tokens} tokens, "
                f"together they may be at most {limit}; send at most {limit - prompt_tokens}",
            )
        return max_tokens

    def _budget(self, fields: Mapping[str, Any], max_tokens: int, thinking: bool) -> ThinkingBudget | None:
        policy = self._config.thinking
        budget: int | None = policy.max_thinking_tokens
        if "max_thinking_tokens" in fields:
            budget = fields["max_thinking_tokens"]
            check_range("max_thinking_tokens", fields["max_thinking_tokens"])
            if not thinking:
                raise InvalidRequestError("max_thinking_tokens", "thinking is off; send thinking=true with it")
        if budget is None or not thinking:
            return None
        # One token of thinking, one of grace, the closing tag and one of the answer.
        least = len(self._close_ids) + 3
        if max_tokens < least:
            if "max_thinking_tokens" in fields:
                raise InvalidRequestError("max_tokens", f"{max_tokens} is too few to think and answer; send {least}")
            return None
        # The grace and the closing tag must fit in front of the answer's reserve as well.
        room = math.floor((max_tokens - policy.min_answer_tokens - len(self._close_ids)) / (1 + _GRACE))
        budget = max(1, min(budget, room))
        return ThinkingBudget(budget, math.ceil(budget * _GRACE), self._close_ids)


def _opens_thinking(parts: list[PromptPart]) -> bool:
    return bool(parts) and isinstance(parts[-1], str) and parts[-1].rstrip().endswith(OPEN_TAG)
