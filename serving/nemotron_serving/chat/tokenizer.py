"""Prompt parts to token ids.

Text is always encoded with the control tokens switched off, so `<|im_end|>` in a caller's text is six ordinary
tokens, and so is `<think>` where that is a special token. Neighbouring texts are encoded as one, which gives the ids of
the plain rendering: a control token separates what stands on its two sides in any case.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from nemotron_serving.chat.controls import Control, ControlTokens, PromptPart, Tag
from nemotron_serving.chat.least_tokens import LeastTokens
from nemotron_serving.errors import PackageError

# Long texts are cut so that all cores encode. A letter before a space or newline ends a word in the pre-tokenizers
# of every byte-level BPE model we know (GPT-2, Llama 3, Qwen, SmolLM2), and no merge reaches across words.
_CHUNK_CHARACTERS = 16_384
_BATCH_CHARACTERS = _CHUNK_CHARACTERS * (os.cpu_count() or 1)
_WORD_END = re.compile(r"[^\W\d_](?=[ \n])")


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
            parts: Of the prompt.
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
