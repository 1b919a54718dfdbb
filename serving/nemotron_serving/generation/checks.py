"""Ranges and sizes of what a request may ask for: ranges are in the contract, sizes here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nemotron_serving.contract import RANGES
from nemotron_serving.errors import InvalidRequestError

_MAX_WORDS = 32  # each is looked for in every token's text, on a thread that all streams share
_MAX_WORD_CHARACTERS = 256
_MAX_BAD_CHARACTERS = 256  # of all bad words: an engine may make a grammar of them, in a step that all requests share
_MAX_LOGIT_BIASES = 1024
_MAX_LOGIT_BIAS_CHARACTERS = 64 * _MAX_LOGIT_BIASES  # of their JSON, which has to be read before they are counted
_LOGIT_BIAS_LIMIT = 100.0


def check_range(field: str, value: float, rule: str | None = None) -> None:
    """Refuse a number outside its range, or one that is not a number.

    Args:
        field: The name the caller knows.
        value: What was given.
        rule: The name in our own vocabulary, where it differs.

    Raises:
        InvalidRequestError: naming the field, the value and the range.
    """
    low, high = RANGES[rule or field]
    if not low <= value <= high:
        raise InvalidRequestError(field, f"{value} was given, expected {low} to {high}")


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


def check_bad_words(field: str, words: tuple[str, ...]) -> None:
    """Refuse bad words that an engine could not keep out, or not without holding others up.

    Raises:
        InvalidRequestError: naming the field, what was given and the limit.
    """
    check_words(field, words)
    if (size := sum(map(len, words))) > _MAX_BAD_CHARACTERS:
        raise InvalidRequestError(field, f"{size} characters were given in all, expected at most {_MAX_BAD_CHARACTERS}")
    for word in words:
        if not word or any(character < " " and character not in "\t\n\r" for character in word):
            raise InvalidRequestError(
                field, f"{word!r} was given, expected a text that is not empty and has no control characters"
            )


def check_logit_bias_size(field: str, text: str) -> None:
    """Refuse a JSON of biases that is too long to be read.

    Raises:
        InvalidRequestError: naming the field, what was given and the limit.
    """
    if len(text) > _MAX_LOGIT_BIAS_CHARACTERS:
        raise InvalidRequestError(
            field, f"{len(text)} characters were given, expected at most {_MAX_LOGIT_BIAS_CHARACTERS}"
        )


def check_logit_bias(field: str, biases: Mapping[int, float], vocabulary_size: int) -> None:
    """Refuse biases of tokens that do not exist, too many of them, or too large ones.

    Raises:
        InvalidRequestError: naming the field, what was given and the limit.
    """
    if len(biases) > _MAX_LOGIT_BIASES:
        raise InvalidRequestError(field, f"{len(biases)} were given, expected at most {_MAX_LOGIT_BIASES}")
    limit = _LOGIT_BIAS_LIMIT
    for token, bias in biases.items():
        if not 0 <= token < vocabulary_size:
            raise InvalidRequestError(field, f"{token} is no token id, expected 0 to {vocabulary_size - 1}")
        if not -limit <= bias <= limit:
            raise InvalidRequestError(field, f"{bias} was given, expected {-limit:g} to {limit:g}")
