"""How many tokens a text has at the least, told without tokenizing it.

A byte-level token is a run of a text's bytes. So what is counted in a text, and what one token holds of it at the most,
bound the number of tokens from below: a text with 1,000 digits has 100 tokens or more if no token has more than ten. To
count takes a hundredth of the time that it takes to tokenize.
"""

from __future__ import annotations

import string
from collections.abc import Iterable
from typing import Any

import msgspec

from nemotron_serving.output.detokenizer import byte_of_character

_LETTERS = string.ascii_letters.encode()
_DIGITS = string.digits.encode()
_SPACE = b" \t\n\r\x0b\x0c"
_BEYOND_ASCII = bytes(range(128, 256))
_CLASSES = {
    "letters": _LETTERS,
    "digits": _DIGITS,
    "white space": _SPACE,
    "other ASCII": bytes(set(range(128)) - set(_LETTERS + _DIGITS + _SPACE)),
    "beyond ASCII": _BEYOND_ASCII,
}
# Words of letters: `naïve` is one, and an exotic space parts none.
_TO_WORDS = bytes(byte if byte in _LETTERS else ord(" ") for byte in range(256))
# Steps of a tokenizer that lose nothing of a text, and those that lose nothing of ASCII.
_CUTTERS = ("ByteLevel", "Digits", "Split", "Punctuation")
_NORMALIZERS = ("NFC", "NFD", "NFKC", "NFKD")


class LeastTokens:
    """The bound for one tokenizer.

    Attributes:
        most: What one token holds at the most of the bytes of each class, of words, and of bytes in all. Empty for a
            tokenizer that may lose or change text before it cuts it: the bound is 0 then.
    """

    def __init__(self, tokenizer_json: bytes) -> None:
        """Look at every token of a tokenizer.json once."""
        raw: dict[str, Any] = msgspec.json.decode(tokenizer_json)
        byte_of = byte_of_character()
        vocabulary = raw["model"]["vocab"]
        # A character without a token is dropped, or becomes a token of its own.
        self._dropped = bytes(byte for character, byte in byte_of.items() if character not in vocabulary)
        self._only_ascii = raw["normalizer"] is not None
        self.most: dict[str, int] = {}
        if _keeps_text(raw):
            written = (bytes(byte_of.get(character, 0) for character in token) for token in _reachable(raw["model"]))
            for token in (*written, *_matched(raw)):
                for name, count in _counts(token).items():
                    self.most[name] = max(count, self.most.get(name, 0))

    def of(self, text: str) -> int:
        """Tokens that this text has at the least, where no part of it becomes a special token."""
        if not self.most or (self._only_ascii and not text.isascii()):
            return 0
        counts = _counts(text.encode().translate(None, self._dropped))
        return max(-(-count // self.most[name]) for name, count in counts.items() if self.most[name])


def _counts(data: bytes) -> dict[str, int]:
    """What may be added up: no more in a text than in its pieces together."""
    found = {name: len(data) - len(data.translate(None, members)) for name, members in _CLASSES.items()}
    return found | {"words": len(data.translate(_TO_WORDS, _BEYOND_ASCII).split()), "bytes": len(data)}


def _keeps_text(raw: dict[str, Any]) -> bool:
    """Whether the tokens of a text, put together, are its bytes: of any text, or with a normalizer of ASCII."""
    model, added = raw["model"], [token for token in raw["added_tokens"] if not token["special"]]
    cutters = list(_steps(raw["pre_tokenizer"], "pretokenizers"))
    normalizers = list(_steps(raw["normalizer"], "normalizers"))
    return (
        model["type"] == "BPE"
        and not model.get("continuing_subword_prefix")
        and not model.get("end_of_word_suffix")
        and all(step["type"] in _NORMALIZERS for step in normalizers)
        and any(step["type"] == "ByteLevel" for step in cutters)
        and all(step["type"] in _CUTTERS and step.get("behavior") != "Removed" for step in cutters)
        # Such a token takes any amount of white space beside it as well.
        and not any(token["lstrip"] or token["rstrip"] for token in added)
        # What a token is normalized to before it is matched is not looked at here.
        and (not normalizers or all(token["content"].isascii() for token in added))
    )


def _steps(step: dict[str, Any] | None, inner: str) -> Iterable[dict[str, Any]]:
    if step is not None and step["type"] == "Sequence":
        for one in step[inner]:
            yield from _steps(one, inner)
    elif step is not None:
        yield step


def _reachable(model: dict[str, Any]) -> Iterable[str]:
    """The tokens that a text may become; special ones are often in the vocabulary, and nothing is merged to them."""
    vocabulary: dict[str, int] = model["vocab"]
    if model.get("ignore_merges"):
        return vocabulary
    merges = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
    return {*(token for token in vocabulary if len(token) == 1), *("".join(merge) for merge in merges)}


def _matched(raw: dict[str, Any]) -> Iterable[bytes]:
    """The tokens that are found in a text as a whole."""
    return (token["content"].encode() for token in raw["added_tokens"] if not token["special"])
