"""Bytes, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nemotron_build.checkpoint.shape import LLAMA_31_8B
from nemotron_build.plan.gpus import GPUS
from nemotron_build.plan.limits import profile_footprint
from nemotron_build.plan.memory import Footprint, footprint, gpu_weight_bytes
from nemotron_build.profiles import changed_profile, load_profile

GIB = 2**30


def test_weights_of_the_8b_model() -> None:
    # 8,030,261,248 weights of 2 bytes.
    assert gpu_weight_bytes(LLAMA_31_8B, "bf16") == 16_060_522_496
    # 6,979,321,856 of them in the linear layers shrink to a byte; 32 layers x 7 x 2 scales of 4 bytes come on top.
    assert gpu_weight_bytes(LLAMA_31_8B, "fp8") == 16_060_522_496 - 6_979_321_856 + 1792


def test_kv_cache_of_a_token() -> None:
    # 32 layers x 8 heads x 128 values x (key, value) x bytes
    for kv_cache, kib in (("bf16", 128), ("fp8", 64)):
        assert _h100("bf16", kv_cache).kv_bytes_per_token == kib * 1024


@pytest.mark.parametrize(
    ("precision", "kv_cache", "sequences"),
    [
        # An H100 has 81559 MiB = 85.520 GB. A step of 8192 tokens takes 8192 x 65536 x 2 bytes = 1.074 GB, the runtime
        # 1.074 GB and logits of 224 x 128256 x 12 bytes = 0.345 GB: 83.028 GB are left for weights and KV cache.
        # BF16: (83.028 - 16.061) x 0.9 = 60.270 GB; 32768 tokens of 128 KiB are 4.295 GB: 14.03 of them.
        ("bf16", "bf16", 14),
        # FP8:  (83.028 -  9.081) x 0.9 = 66.552 GB: 15.50 of them.
        ("fp8", "bf16", 15),
        # With an FP8 KV cache they take half: 30.99.
        ("fp8", "fp8", 30),
    ],
)
def test_thinking_traces_of_32k_on_an_h100(precision: str, kv_cache: str, sequences: int) -> None:
    assert _h100(precision, kv_cache).sequences(32768) == sequences


def test_a_sequence_takes_whole_blocks() -> None:
    memory = replace(_h100("bf16"), kv_pool=10 * 32 * 128 * 1024)  # ten blocks
    assert [memory.sequences(tokens) for tokens in (32, 33, 160, 161, 321)] == [10, 5, 2, 1, 0]


def test_what_does_not_fit_leaves_no_pool() -> None:
    memory = footprint(
        LLAMA_31_8B,
        memory_bytes=16 * GIB,
        precision="bf16",
        kv_cache="bf16",
        max_batch_size=8,
        max_num_tokens=2048,
    )
    assert (memory.kv_pool, memory.kv_pool_tokens) == (0, 0)


def test_two_gpus_share_weights_and_heads_but_not_the_embedding() -> None:
    one, two = gpu_weight_bytes(LLAMA_31_8B, "bf16"), gpu_weight_bytes(LLAMA_31_8B, "bf16", tp_size=2)
    embedding_and_norms = 2 * (128256 * 4096 + 65 * 4096)
    assert two == (one - embedding_and_norms) // 2 + embedding_and_norms


def test_a_tied_embedding_counts_once() -> None:
    tied = replace(LLAMA_31_8B, tie_word_embeddings=True)
    assert gpu_weight_bytes(tied, "bf16") == 2 * tied.parameters


def _h100(precision: str, kv_cache: str = "bf16") -> Footprint:
    profile = changed_profile(load_profile("h100-bf16"), {"precision": precision, "kv_cache": kv_cache})
    return profile_footprint(LLAMA_31_8B, GPUS["h100"], profile)
