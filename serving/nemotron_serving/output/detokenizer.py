"""Incremental detokenizing of byte-level BPE: exact for every script, whatever the chunking.

A byte-level token is a run of bytes, so text is the UTF-8 decoding of the concatenated bytes. An incremental
UTF-8 decoder holds an unfinished character back until its last byte, and gives the same text as decoding all
bytes at once. (Decoding id by id, or by comparing decoded prefixes, does not have that property for byte
sequences that are not valid UTF-8.)
"""

from __future__ import annotations

import codecs
import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from nemotron_serving.errors import PackageError
from nemotron_serving.output.tags import READ_TAGS

_UTF8 = codecs.getincrementaldecoder("utf-8")


class Vocabulary:
    """The bytes of every token id of a tokenizer.json.

    Special tokens are empty, for they never reach a text, but for the tags that outputs are read by.
    """

    def __init__(self, token_bytes: list[bytes], special_ids: dict[str, int]) -> None:
        self.token_bytes = token_bytes
        self.special_ids = special_ids

    def __len__(self) -> int:
        return len(self.token_bytes)

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read a tokenizer.json in the format of Hugging Face tokenizers.

        Raises:
            PackageError: a tokenizer that is not byte-level BPE.
        """
        raw = msgspec.json.decode(path.read_bytes())
        if raw["model"]["type"] != "BPE" or not _is_byte_level(raw["decoder"]):
            raise PackageError(
                f"{path}: expected a byte-level BPE tokenizer (Llama 3, SmolLM2, Qwen, …), found "
                f"{raw['model']['type']} with decoder {raw['decoder'] and raw['decoder']['type']}."
            )
        vocabulary: dict[str, int] = raw["model"]["vocab"]
        added: list[dict[str, Any]] = raw["added_tokens"]
        size = 1 + max([*vocabulary.values(), *(token["id"] for token in added)])
        token_bytes = [b""] * size
        byte_of = byte_of_character()
        for text, index in vocabulary.items():
            token_bytes[index] = bytes(byte_of[character] for character in text if character in byte_of)
        for token in added:
            silent = token["special"] and token["content"] not in READ_TAGS
            token_bytes[token["id"]] = b"" if silent else token["content"].encode()
        return cls(token_bytes, {token["content"]: token["id"] for token in added if token["special"]})

    def decode(self, ids: Iterable[int]) -> str:
        """The text of a whole sequence; bytes that are not valid UTF-8 become U+FFFD."""
        return b"".join(map(self.bytes_of, ids)).decode("utf-8", errors="replace")

    def spell(self, data: bytes) -> list[int]:
        """Token ids of these bytes: the one token that is just that, else one for each byte. Never a special token."""
        whole = self._id_of_bytes.get(data)
        if whole is not None:
            return [whole]
        return [self._id_of_bytes[bytes((byte,))] for byte in data]

    @functools.cached_property
    def _id_of_bytes(self) -> dict[bytes, int]:
        ids: dict[bytes, int] = {}
        special = set(self.special_ids.values())
        for index, data in enumerate(self.token_bytes):
            if data and index not in special:
                ids.setdefault(data, index)
        return ids

    def bytes_of(self, index: int) -> bytes:
        """The bytes of one token; none for an id that the tokenizer does not have."""
        return self.token_bytes[index] if 0 <= index < len(self.token_bytes) else b""


class Detokenizer:
    """The text of one stream. `feed` gives what became certain with a token, `flush` what the end decides."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._token_bytes = vocabulary.token_bytes
        self._utf8 = _UTF8(errors="replace")

    @property
    def mid_character(self) -> bool:
        """Whether bytes of an unfinished character are held back."""
        return bool(self._utf8.getstate()[0])

    def feed(self, index: int) -> str:
        """Text that one more token id completes; empty in the middle of a character."""
        if not 0 <= index < len(self._token_bytes):
            return ""
        return self._utf8.decode(self._token_bytes[index])

    def flush(self) -> str:
        """What is left at the end: U+FFFD for a character that was cut off, else empty."""
        return self._utf8.decode(b"", final=True)


def _is_byte_level(decoder: dict[str, Any] | None) -> bool:
    if decoder is None:
        return False
    return decoder["type"] == "ByteLevel" or any(map(_is_byte_level, decoder.get("decoders", ())))


def byte_of_character() -> dict[str, int]:
    """The byte that each character of a byte-level vocabulary stands for (GPT-2's bytes_to_unicode, inverted)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}
