"""A model is divided among GPUs into equal parts or not at all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nemotron_build.checkpoint.shape import LLAMA_31_8B, ModelShape
from nemotron_build.checkpoint.tensor_parallel import check_tp_size, tp_sizes
from nemotron_build.errors import UnsupportedError


@pytest.mark.parametrize(
    ("shape", "tp_size", "named"),
    [
        (LLAMA_31_8B, 16, "8 KV heads"),
        (replace(LLAMA_31_8B, num_heads=36, num_kv_heads=36), 8, "36 heads"),
        (replace(LLAMA_31_8B, intermediate_size=14337), 2, "14337 rows of its MLP"),
        (replace(LLAMA_31_8B, vocab_size=128257), 2, "128257 tokens"),
    ],
)
def test_an_uneven_split_is_refused_by_name(shape: ModelShape, tp_size: int, named: str) -> None:
    with pytest.raises(UnsupportedError, match=f"tp_size {tp_size} does not divide the model's .*{named}.*Use one of"):
        check_tp_size(shape, tp_size)


def test_the_8b_splits_evenly() -> None:
    assert tp_sizes(LLAMA_31_8B) == [1, 2, 4, 8]
    for tp_size in tp_sizes(LLAMA_31_8B):
        check_tp_size(LLAMA_31_8B, tp_size)
