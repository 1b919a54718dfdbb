"""Prompt parts to token ids, and how many a text has at the least, told without tokenizing it.

Text is always encoded with the control tokens switched off, so `<|im_end|>` in a caller's text is six ordinary
tokens, and so is `<think>` where that is a special token. Neighbouring texts are encoded as one, which gives the ids of
the plain rendering: a control token separates what stands on its two sides in any case.

A byte-level token is a run of a text's bytes. So what is counted in a text, and what one token holds of it at the most,
bound the number of tokens from below: a text with 1,000 digits has 100 tokens or more if no token has more than ten. To
count takes a hundredth of the time that it takes to tokenize.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from nemotron_serving.cgroups import cores
from nemotron_serving.chat.controls import Control, ControlTokens, PromptPart, Tag
from nemotron_serving.errors import PackageError
from nemotron_serving.output.detokenizer import byte_of_character

# Long texts are cut so that all cores encode. A letter before a space or newline ends a word in the pre-tokenizers
# of every byte-level BPE model we know (GPT-2, Llama 3, Qwen, SmolLM2), and no merge reaches across words.
_CHUNK_CHARACTERS = 16_384
_BATCH_CHARACTERS = _CHUNK_CHARACTERS * cores()
_WORD_END = re.compile(r"[^\W\d_](?=[ \n])")
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


class TooManyTokensError(Exception):
    """A prompt has more tokens than are of use.

    Attributes:
        at_least: How many it has at the least.
    """

    def __init__(self, at_least: int) -> None:
        super().__init__(f"at least {at_least} tokens")
        self.at_least = at_least


class PromptTokenizer:
    """Encodes prompts with a package's tokenizer.json.

    Attributes:
        control_ids: Ids of its special tokens by their names.
        vocabulary_size: Token ids are below it.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:
            raise PackageError(f"{path} cannot be read: {error}. Build the package again.") from error
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        added = self._tokenizer.get_added_tokens_decoder()
        self.control_ids: dict[str, int] = {token.content: index for index, token in added.items() if token.special}
        self._controls = ControlTokens(self.control_ids)
        self._least = LeastTokens(path.read_bytes())
        # A vocabulary may have holes. The library makes a new dictionary of it for each call, which takes 50 ms.
        self.vocabulary_size = 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values())

    def encode(self, parts: Sequence[PromptPart], most: int | None = None) -> npt.NDArray[np.int32]:
        """Encode a rendered prompt.

        Args:
            parts: The prompt's parts.
            most: Tokens that are of use. A prompt that has more takes no longer than one that has so many, or hardly
                any time where they can be counted without encoding.

        Returns:
            Token ids, shape [n], int32; n may be above `most`.

        Raises:
            TooManyTokensError: the prompt has more than `most` tokens, and how many is not known.
            PackageError: the format names a control token that the tokenizer lacks.
        """
        spans = list(self._spans(parts))
        if most is not None:
            least = sum(1 if isinstance(span, int) else self._least.of(span) for span in spans)
            if least > most:
                raise TooManyTokensError(least)
        pieces = [piece for span in spans for piece in ([span] if isinstance(span, int) else _chunks(span))]
        ids: list[int] = []
        for batch in _batches(pieces):
            if most is not None and len(ids) > most:
                raise TooManyTokensError(len(ids))
            texts = [piece for piece in batch if isinstance(piece, str)]
            encodings = iter(self._tokenizer.encode_batch_fast(texts, add_special_tokens=False))
            for piece in batch:
                if isinstance(piece, int):
                    ids.append(piece)
                else:
                    ids += next(encodings).ids
        return np.array(ids, dtype=np.int32)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens, control tokens by their names; bytes that are not valid UTF-8 become U+FFFD."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=False))

    def split_controls(self, text: str) -> list[PromptPart]:
        """Parts of a text whose author may write control tokens: a complete prompt (`raw_prompt`)."""
        return self._controls.split(text)

    def _spans(self, parts: Sequence[PromptPart]) -> Iterator[int | str]:
        """Token ids, and what is to be encoded between them."""
        texts: list[str] = []
        for part in parts:
            if isinstance(part, Control):
                index = self._control_id(part)
            elif isinstance(part, Tag) and part in self.control_ids:
                index = self.control_ids[part]
            else:
                texts.append(part)
                continue
            if texts:
                yield "".join(texts)
                texts.clear()
            yield index
        if texts:
            yield "".join(texts)

    def _control_id(self, control: Control) -> int:
        if control.token not in self.control_ids:
            raise PackageError(f"The tokenizer has no control token {control.token}, which the chat format needs.")
        return self.control_ids[control.token]


def _batches(pieces: Sequence[int | str]) -> Iterator[Sequence[int | str]]:
    """Parts that keep all cores busy, and are not much longer than that."""
    begin = characters = 0
    for end, piece in enumerate(pieces, 1):
        characters += 1 if isinstance(piece, int) else len(piece)
        if characters >= _BATCH_CHARACTERS:
            yield pieces[begin:end]
            begin, characters = end, 0
    yield pieces[begin:]


def _chunks(text: str) -> Iterator[str]:
    begin = 0
    while len(text) - begin > _CHUNK_CHARACTERS:
        end = _WORD_END.search(text, begin + _CHUNK_CHARACTERS)
        if end is None:
            break
        yield text[begin : end.end()]
        begin = end.end()
    yield text[begin:]


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
