"""How the next token is chosen, when the output ends and when it begins: from what a caller gave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from nemotron_serving.contract import OPTIONS
from nemotron_serving.engine import Sampling
from nemotron_serving.errors import InvalidRequestError
from nemotron_serving.generation.checks import (
    check_bad_words,
    check_logit_bias,
    check_logit_bias_size,
    check_range,
    check_words,
)
from nemotron_serving.package import SamplingDefaults

_NUMBERS = tuple(option.name for option in OPTIONS if option.to == "sampling" and option.range)


def resolve_sampling(
    given: Mapping[str, Any], defaults: SamplingDefaults, names: Mapping[str, str], vocabulary_size: int
) -> Sampling:
    """Sampling from the values a caller gave.

    Args:
        given: Values by the caller's field names.
        defaults: What applies where nothing was given.
        names: Caller's name of a field of `Sampling`, where it differs.
        vocabulary_size: Token ids are below it.

    Raises:
        InvalidRequestError: a value out of range.
    """
    values = msgspec.structs.asdict(defaults)
    for field in _NUMBERS:
        name = names.get(field, field)
        if name in given:
            check_range(name, given[name], rule=field)
            values[field] = given[name]
    if values["top_p"] == 0:
        # NVIDIA's clients send 0 for "not set".
        values["top_p"] = 1.0
    check_words("bad_words", given.get("bad_words", ()))  # before they are sorted
    bad_words = shortest_words(filter(None, given.get("bad_words", ())))
    check_bad_words("bad_words", bad_words)
    logit_bias = _logit_bias(given)
    check_logit_bias("logit_bias", logit_bias, vocabulary_size)
    return Sampling(bad_words=bad_words, logit_bias=logit_bias, logprobs=_logprobs(given), **values)


def shortest_words(words: Iterable[str]) -> tuple[str, ...]:
    """The words without those that begin with another one: they cannot be written where the shorter is not.

    xgrammar does not take two of which one begins with the other.
    """
    kept: list[str] = []
    for word in sorted(set(words)):
        # In this order the shorter one stands in front of all that begin with it.
        if not kept or not word.startswith(kept[-1]):
            kept.append(word)
    return tuple(kept)


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


def resolve_priority(given: Mapping[str, Any]) -> int:
    """Seconds by which the request stands behind others that wait; 0 if nothing was said.

    Raises:
        InvalidRequestError: a value out of range.
    """
    priority: int = given.get("priority", 0)
    check_range("priority", priority)
    return priority


def _logit_bias(given: Mapping[str, Any]) -> dict[int, float]:
    text = given.get("logit_bias", "")
    if not text:
        return {}
    check_logit_bias_size("logit_bias", text)
    try:
        return msgspec.json.decode(text, type=dict[int, float])
    except (msgspec.DecodeError, UnicodeError) as error:
        raise InvalidRequestError(
            "logit_bias", f'{error}; expected a JSON object of biases by token id, such as {{"50": -100}}'
        ) from error


def _logprobs(given: Mapping[str, Any]) -> int | None:
    alternatives: int = given.get("top_logprobs", 0)
    check_range("top_logprobs", alternatives)
    return alternatives if alternatives or given.get("return_log_probs", False) else None
