"""A plan for a CPU: memory alone. Speed there depends on too much that is not in a data sheet; measure it."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from nemotron_build.checkpoint.shape import ModelShape
from nemotron_build.cpu.packed import CPU_KV_VALUE_BYTES, weight_bytes
from nemotron_build.errors import UnsupportedError
from nemotron_build.plan.limits import CHAT_TOKENS, check_length
from nemotron_build.plan.plan import Concurrency
from nemotron_build.profiles import Profile
from nemotron_serving.engine.openvino.cpu import default_kv_cache_gib

# Python, Triton, tokenizers, compiled kernels.
_RUNTIME_BYTES = 2 * 2**30
# Of what is free, the most to ask for with --kv-cache-gib.
_LARGEST_SHARE = 0.8


@dataclass(frozen=True)
class CpuPlan:
    """What to expect of a model on a CPU with a profile; bytes unless the name says otherwise.

    Attributes:
        profile: The profile's name.
        precision: Of the weights.
        memory_total: RAM of the machine.
        weights: The model.
        runtime: The server's processes.
        kv_bytes_per_token: In 16 bits.
        kv_cache_gib: For `nemotron-serve --kv-cache-gib`.
        kv_pool_tokens: Tokens that it holds.
        max_batch_size: To build for.
        max_seq_len: To build for.
        concurrency: Sequences at once.
        notes: What one should know to read the figures.
    """

    profile: str
    precision: str
    memory_total: int
    weights: int
    runtime: int
    kv_bytes_per_token: int
    kv_cache_gib: int
    kv_pool_tokens: int
    max_batch_size: int
    max_seq_len: int
    concurrency: tuple[Concurrency, ...]
    notes: tuple[str, ...]


def make_cpu_plan(shape: ModelShape, profile: Profile, memory_bytes: int) -> CpuPlan:
    """Plan a model on a machine with so much RAM.

    Raises:
        UnsupportedError: it does not fit, or max_seq_len is beyond the model's.
    """
    check_length(shape, profile)
    length = profile.limits.max_seq_len
    weights = weight_bytes(shape, profile.precision)
    per_token = shape.kv_bytes_per_token(CPU_KV_VALUE_BYTES)
    free_bytes = memory_bytes - weights - _RUNTIME_BYTES
    needed_gib = math.ceil(length * per_token / 2**30)
    if needed_gib * 2**30 > free_bytes * _LARGEST_SHARE:
        raise UnsupportedError(
            f"It does not fit: weights {weights / 1e9:.1f} GB, the server {_RUNTIME_BYTES / 1e9:.1f} GB and a KV cache "
            f"of {needed_gib} GiB for one sequence of {length} tokens need more than the machine's "
            f"{memory_bytes / 1e9:.1f} GB leave. Use {_smaller(profile.precision)}a shorter --max-seq-len."
        )
    default_gib = default_kv_cache_gib(free_bytes)
    kv_cache_gib = max(default_gib, needed_gib)
    tokens = kv_cache_gib * 2**30 // per_token
    notes = ["No speed is estimated for CPUs: serve the package and measure."]
    if needed_gib > default_gib:
        notes.append(f"Serve it with --kv-cache-gib {kv_cache_gib}: the default of {default_gib} holds less.")
    lengths = sorted({CHAT_TOKENS, 8192, length})
    return CpuPlan(
        profile=profile.name,
        precision=profile.precision,
        memory_total=memory_bytes,
        weights=weights,
        runtime=_RUNTIME_BYTES,
        kv_bytes_per_token=per_token,
        kv_cache_gib=kv_cache_gib,
        kv_pool_tokens=tokens,
        max_batch_size=profile.limits.max_batch_size,
        max_seq_len=length,
        concurrency=tuple(Concurrency(size, tokens // size) for size in lengths),
        notes=tuple(notes),
    )


def machine_memory() -> int:
    """RAM of this machine in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _smaller(precision: str) -> str:
    return {"bf16": "cpu-int8, cpu-int4 or ", "int8": "cpu-int4 or ", "int4": ""}[precision]
