"""How the next token is chosen and when the output ends: from what a caller gave, with the limits of its sizes.

The ranges of numbers are in the contract.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from nemotron_serving.contract import OPTIONS
from nemotron_serving.engine import Sampling
from nemotron_serving.errors import InvalidRequestError
from nemotron_serving.inputs import value_of
from nemotron_serving.package import SamplingDefaults

_MAX_WORDS = 32  # each is looked for in every token's text, on a thread that all streams share
_MAX_WORD_CHARACTERS = 256
_MAX_BAD_CHARACTERS = 256  # of all bad words: an engine may make a grammar of them, in a step that all requests share
_MAX_LOGIT_BIASES = 1024
_MAX_LOGIT_BIAS_CHARACTERS = 64 * _MAX_LOGIT_BIASES  # of their JSON, which has to be read before they are counted
_LOGIT_BIAS_LIMIT = 100.0
_NUMBERS = tuple(option.name for option in OPTIONS if option.to in ("sampling", "library") and option.range)


def resolve_sampling(
    given: Mapping[str, Any], defaults: SamplingDefaults, names: Mapping[str, str], vocabulary_size: int
) -> Sampling:
    """Sampling from the values a caller gave.

    Args:
        given: Values by the caller's field names; numbers are in their ranges.
        defaults: What applies where nothing was given.
        names: Caller's name of a field of `Sampling`, where it differs.
        vocabulary_size: Token ids are below it.

    Raises:
        InvalidRequestError: words or biases that are too many, too long or none.
    """
    values = msgspec.structs.asdict(defaults)
    for field in _NUMBERS:
        name = names.get(field, field)
        if name in given:
            values[field] = given[name]
    if values["top_p"] == 0:
        # NVIDIA's clients send 0 for "not set".
        values["top_p"] = 1.0
    return Sampling(
        bad_words=_bad_words(given),
        logit_bias=_logit_bias(given, vocabulary_size),
        logprobs=_logprobs(given),
        **values,
    )


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


def check_words(field: str, words: Sequence[str]) -> None:
    """Refuse more or longer stop words than can be matched in passing.

    Raises:
        InvalidRequestError: naming the field, what was given and the limit.
    """
    if len(words) > _MAX_WORDS:
        raise InvalidRequestError(field, f"{len(words)} were given, expected at most {_MAX_WORDS}")
    longest = max(map(len, words), default=0)
    if longest > _MAX_WORD_CHARACTERS:
        raise InvalidRequestError(
            field, f"one of {longest} characters was given, expected at most {_MAX_WORD_CHARACTERS}"
        )


def _bad_words(given: Mapping[str, Any]) -> tuple[str, ...]:
    """The bad words that an engine can keep out, and without holding others up."""
    words = given.get("bad_words", ())
    check_words("bad_words", words)  # before they are sorted
    kept = _shortest_words(filter(None, words))
    if (size := sum(map(len, kept))) > _MAX_BAD_CHARACTERS:
        raise InvalidRequestError(
            "bad_words", f"{size} characters were given in all, expected at most {_MAX_BAD_CHARACTERS}"
        )
    for word in kept:
        if any(character < " " and character not in "\t\n\r" for character in word):
            raise InvalidRequestError(
                "bad_words", f"{word!r} was given, expected a text that is not empty and has no control characters"
            )
    return kept


def _shortest_words(words: Iterable[str]) -> tuple[str, ...]:
    """The words without those that begin with another one: they cannot be written where the shorter is not.

    xgrammar does not take two of which one begins with the other.
    """
    kept: list[str] = []
    for word in sorted(set(words)):
        # In this order the shorter one stands in front of all that begin with it.
        if not kept or not word.startswith(kept[-1]):
            kept.append(word)
    return tuple(kept)


def _logit_bias(given: Mapping[str, Any], vocabulary_size: int) -> dict[int, float]:
    text = given.get("logit_bias", "")
    if not text:
        return {}
    if len(text) > _MAX_LOGIT_BIAS_CHARACTERS:
        raise InvalidRequestError(
            "logit_bias", f"{len(text)} characters were given, expected at most {_MAX_LOGIT_BIAS_CHARACTERS}"
        )
    try:
        biases = msgspec.json.decode(text, type=dict[int, float])
    except (msgspec.DecodeError, UnicodeError) as error:
        raise InvalidRequestError(
            "logit_bias", f'{error}; expected a JSON object of biases by token id, such as {{"50": -100}}'
        ) from error
    if len(biases) > _MAX_LOGIT_BIASES:
        raise InvalidRequestError("logit_bias", f"{len(biases)} were given, expected at most {_MAX_LOGIT_BIASES}")
    limit = _LOGIT_BIAS_LIMIT
    for token, bias in biases.items():
        if not 0 <= token < vocabulary_size:
            raise InvalidRequestError("logit_bias", f"{token} is no token id, expected 0 to {vocabulary_size - 1}")
        if not -limit <= bias <= limit:
            raise InvalidRequestError("logit_bias", f"{bias} was given, expected {-limit:g} to {limit:g}")
    return biases


def _logprobs(given: Mapping[str, Any]) -> int | None:
    alternatives: int = value_of(given, "top_logprobs")
    return alternatives if alternatives or value_of(given, "return_log_probs") else None
