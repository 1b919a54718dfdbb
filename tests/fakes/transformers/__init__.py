"""As much of transformers as the TensorRT-LLM adapter and the fake TensorRT-LLM use."""

from __future__ import annotations

from tokenizers import Tokenizer


class PreTrainedTokenizerFast:
    def __init__(self, *, tokenizer_file: str) -> None:
        self._tokenizer = Tokenizer.from_file(tokenizer_file)
        self.eos_token = ""

    @property
    def eos_token_id(self) -> int | None:
        index: int | None = self._tokenizer.token_to_id(self.eos_token)
        return index

    def convert_ids_to_tokens(self, index: int) -> str | None:
        token: str | None = self._tokenizer.id_to_token(index)
        return token

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids
        return ids

    def decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids)
        return text
