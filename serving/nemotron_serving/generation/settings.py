"""What one request asks of the generation, checked and with every default filled in.

The preprocessing model sends this as JSON (`request_settings`) to the generating model, which hands `output` on
to postprocessing. Callers of the generating model itself say the same with NVIDIA's token-level tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from nemotron_serving.engine.base import Sampling
from nemotron_serving.errors import InvalidRequestError
from nemotron_serving.output.assembler import OutputRules
from nemotron_serving.package import SamplingDefaults

_INT32_MAX = 2**31 - 1
_MAX_STOP_WORDS = 32  # each is looked for in every token's text, on a thread that all streams share
_MAX_STOP_WORD_CHARACTERS = 256
_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0.0, 10.0),
    "top_p": (0.0, 1.0),
    "top_k": (0, _INT32_MAX),
    "repetition_penalty": (0.001, 10.0),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
    "min_tokens": (0, _INT32_MAX),
    "max_tokens": (1, _INT32_MAX),
    "max_thinking_tokens": (1, _INT32_MAX),
    "timeout_ms": (1, _INT32_MAX),
}


class ThinkingBudget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When and how thinking is closed for the model.

    Attributes:
        max_tokens: Thinking tokens after which the next newline closes it.
        grace_tokens: Tokens to wait for that newline at most.
        close_ids: The closing tag with its newlines, as token ids.
    """

    max_tokens: int
    grace_tokens: int
    close_ids: tuple[int, ...]


class GenerationSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings of one request.

    Attributes:
        max_tokens: Output tokens in all: thinking, its closing tag and the answer.
        stream: Many responses rather than one.
        timeout_ms: Deadline from the arrival at the generating model.
        stop_token_ids: Tokens that end the output.
        budget: None leaves the end of the thinking to the model.
        guide: Grammar of the answer in xgrammar's EBNF; None leaves it free. After thinking it needs a budget, which
            says how thinking is closed.
        repetition_guard: Whether an endless loop ends the output.
        priority: Waiting requests with a smaller number are served first.
        output: How postprocessing reads the output; None for a caller that takes token ids.
    """

    sampling: Sampling
    max_tokens: int
    stream: bool
    timeout_ms: int
    stop_token_ids: tuple[int, ...]
    budget: ThinkingBudget | None = None
    guide: str | None = None
    repetition_guard: bool = False
    priority: int = 0
    output: OutputRules | None = None


def check_range(field: str, value: float, rule: str | None = None) -> None:
    """Refuse a number outside its range, or one that is not a number.

    Args:
        field: The name the caller knows.
        value: What was given.
        rule: The name in our own vocabulary, where it differs.

    Raises:
        InvalidRequestError: naming the field, the value and the range.
    """
    low, high = _RANGES[rule or field]
    if not low <= value <= high:
        raise InvalidRequestError(field, f"{value} was given, expected {low} to {high}")


def resolve_stop_ids(given: Mapping[str, Any], defaults: tuple[int, ...], vocabulary_size: int) -> tuple[int, ...]:
    """The package's stop tokens and the caller's `end_id`; -1 is how NVIDIA's clients say "none".

    Raises:
        InvalidRequestError: an `end_id` that is no token.
    """
    end_id = given.get("end_id", -1)
    if end_id == -1 or end_id in defaults:
        return defaults
    if not 0 <= end_id < vocabulary_size:
        raise InvalidRequestError("end_id", f"{end_id} is no token id, expected 0 to {vocabulary_size - 1}")
    return (*defaults, end_id)


def check_stop_words(field: str, stop_words: tuple[str, ...]) -> None:
    """Refuse more or longer stop words than can be matched in passing.

    Raises:
        InvalidRequestError: naming the field, what was given and the limit.
    """
    if len(stop_words) > _MAX_STOP_WORDS:
        raise InvalidRequestError(field, f"{len(stop_words)} were given, expected at most {_MAX_STOP_WORDS}")
    longest = max(map(len, stop_words), default=0)
    if longest > _MAX_STOP_WORD_CHARACTERS:
        raise InvalidRequestError(
            field, f"one of {longest} characters was given, expected at most {_MAX_STOP_WORD_CHARACTERS}"
        )


def check_settings(settings: GenerationSettings, vocabulary_size: int) -> None:
    """Refuse settings that preprocessing would not have written.

    Raises:
        InvalidRequestError: naming `request_settings` and what is wrong in it.
    """
    check_range("request_settings", settings.max_tokens, rule="max_tokens")
    check_range("request_settings", settings.timeout_ms, rule="timeout_ms")
    for field in Sampling.__struct_fields__:
        if field in _RANGES:
            check_range("request_settings", getattr(settings.sampling, field), rule=field)
    if settings.output is not None:
        check_stop_words("request_settings", settings.output.stop_words)
    budget = settings.budget
    ids = settings.stop_token_ids + (budget.close_ids if budget else ())
    if not settings.stop_token_ids or not all(0 <= index < vocabulary_size for index in ids):
        raise InvalidRequestError("request_settings", f"token ids {list(ids)}, expected stop ids of the vocabulary")
    if budget and (budget.max_tokens < 1 or budget.grace_tokens < 0 or not budget.close_ids):
        raise InvalidRequestError("request_settings", "a thinking budget without tokens or closing tag")


def resolve_sampling(given: Mapping[str, Any], defaults: SamplingDefaults, names: Mapping[str, str]) -> Sampling:
    """Sampling from the values a caller gave.

    Args:
        given: Values by the caller's field names.
        defaults: What applies where nothing was given.
        names: Caller's name of a field of `Sampling`, where it differs.

    Raises:
        InvalidRequestError: a value out of range.
    """
    values = msgspec.structs.asdict(defaults)
    for field in Sampling.__struct_fields__:
        name = names.get(field, field)
        if name in given:
            if field in _RANGES:
                check_range(name, given[name], rule=field)
            values[field] = given[name]
    if values["top_p"] == 0:
        # NVIDIA's clients send 0 for "not set".
        values["top_p"] = 1.0
    return Sampling(**values)
