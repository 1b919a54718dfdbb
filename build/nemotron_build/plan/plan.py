"""A plan: where the memory goes, what runs at once, which limits to build for, and on a GPU how fast it will be.

A plan for a CPU is memory alone. Speed there depends on too much that is not in a data sheet; measure it.
"""

from __future__ import annotations

from dataclasses import dataclass

from nemotron_build.checkpoint.shape import ModelShape
from nemotron_build.errors import UnsupportedError
from nemotron_build.plan.gpus import Gpu
from nemotron_build.plan.limits import (
    CHAT_TOKENS,
    THINKING_SEQ_LEN,
    THINKING_TOKENS,
    check_length,
    check_supported,
    does_not_fit,
    profile_footprint,
)
from nemotron_build.plan.memory import Footprint, cpu_footprint
from nemotron_build.plan.roofline import FITTED_GPUS, Bound, Roofline, Workload
from nemotron_build.profiles import Profile

LENGTHS = (CHAT_TOKENS, 8192, THINKING_TOKENS)
"""Sequences whose number a plan says: a chat, a document, a long thinking trace."""


@dataclass(frozen=True)
class Concurrency:
    """How many sequences of one length the KV cache holds at once."""

    tokens: int
    sequences: int


@dataclass(frozen=True)
class Estimate:
    """Speed while `batch` requests of the plan's workload run.

    Attributes:
        batch: Requests generating at once.
        output_tokens_per_s: Tokens that all of them generate together.
        itl_ms: Mean time from one token of a request to its next.
        ttft_ms: Time to the first token of one that finds a free place.
        bound: What most of a step's time goes to.
        fits: Whether the KV cache holds so many at their full length and max_batch_size admits them.
    """

    batch: int
    output_tokens_per_s: float
    itl_ms: float
    ttft_ms: float
    bound: Bound
    fits: bool


@dataclass(frozen=True)
class Plan:
    """What to expect of a model on a GPU with a profile.

    Attributes:
        profile: The profile's name.
        gpu: The GPU's name in the table.
        gpu_title: The GPU's name as its maker spells it.
        tp_size: GPUs that the model is spread over; bytes are those of each.
        precision: How the weights are stored.
        kv_cache: How the KV cache is stored.
        memory: Where the memory of a GPU goes.
        max_batch_size: Requests generating at once, to build for.
        max_seq_len: Prompt and output tokens of a request, to build for.
        max_num_tokens: Tokens of one step, to build for.
        workload: The requests that the estimates are for.
        concurrency: Sequences at once, for `LENGTHS` and max_seq_len.
        memory_limit: How many requests of the workload the KV cache holds at their full length.
        batch_limit: How many run at once: `memory_limit` or max_batch_size.
        estimates: Speed at growing batches, up to `batch_limit` and some beyond it.
        prefill_tokens_per_s: Prompt tokens read, of prompts of the workload's length.
        warnings: What the profile promises and the machine does not hold; empty for one that was chosen well.
        notes: What one should know to read the figures.
    """

    profile: str
    gpu: str
    gpu_title: str
    tp_size: int
    precision: str
    kv_cache: str
    memory: Footprint
    max_batch_size: int
    max_seq_len: int
    max_num_tokens: int
    workload: Workload
    concurrency: tuple[Concurrency, ...]
    memory_limit: int
    batch_limit: int
    estimates: tuple[Estimate, ...]
    prefill_tokens_per_s: float
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def best(self) -> Estimate:
        """The estimate at the largest batch that runs: the most tokens per second to expect."""
        return max((estimate for estimate in self.estimates if estimate.fits), key=lambda estimate: estimate.batch)


@dataclass(frozen=True)
class CpuPlan:
    """What to expect of a model on a CPU with a profile; bytes unless the name says otherwise.

    Attributes:
        profile: The profile's name.
        precision: How the weights are stored.
        memory_total: RAM of the machine.
        weights: The model.
        runtime: The server's processes.
        kv_bytes_per_token: Keys and values of a token, in 16 bits.
        kv_cache_gib: For `nemotron-serve --kv-cache-gib`.
        kv_pool_tokens: Tokens that it holds.
        max_batch_size: Requests generating at once, to build for.
        max_seq_len: Prompt and output tokens of a request, to build for.
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


def make_plan(shape: ModelShape, gpu: Gpu, profile: Profile, workload: Workload | None = None) -> Plan:
    """Plan a model on a GPU.

    Args:
        shape: The model.
        gpu: The GPU; it may be another than the profile names.
        profile: Precision, limits and number of GPUs.
        workload: The requests that speed is estimated for; None for those of `default_workload`.

    Raises:
        UnsupportedError: the GPU cannot compute in this precision, the GPUs cannot share the heads, a limit is beyond
            the model's, or it does not fit. The message says what would.
    """
    limits = profile.limits
    workload = workload or default_workload(limits.max_seq_len)
    check_supported(shape, gpu, profile)
    memory = profile_footprint(shape, gpu, profile)
    if memory.kv_pool_tokens < limits.max_seq_len:
        raise does_not_fit(shape, gpu, profile)
    if workload.tokens > limits.max_seq_len:
        raise UnsupportedError(
            f"{workload.input_tokens} tokens in and {workload.output_tokens} out are more than max_seq_len "
            f"{limits.max_seq_len}. Name fewer, or a larger max_seq_len."
        )
    memory_limit = memory.sequences(workload.tokens)
    batch_limit = min(limits.max_batch_size, memory_limit)
    roofline = _roofline(shape, gpu, profile)
    return Plan(
        profile=profile.name,
        gpu=gpu.name,
        gpu_title=gpu.title,
        tp_size=profile.tp_size,
        precision=profile.precision,
        kv_cache=profile.kv_cache,
        memory=memory,
        max_batch_size=limits.max_batch_size,
        max_seq_len=limits.max_seq_len,
        max_num_tokens=limits.max_num_tokens,
        workload=workload,
        concurrency=tuple(
            Concurrency(tokens, memory.sequences(tokens))
            for tokens in sorted({*LENGTHS, limits.max_seq_len})
            if tokens <= shape.max_position_embeddings
        ),
        memory_limit=memory_limit,
        batch_limit=batch_limit,
        estimates=tuple(
            estimate(roofline, batch, workload, limits.max_num_tokens, batch_limit) for batch in _batches(batch_limit)
        ),
        prefill_tokens_per_s=roofline.prefill_tokens_per_s(workload.input_tokens, limits.max_num_tokens),
        warnings=_warnings(profile, memory),
        notes=_notes(shape, gpu, profile, memory),
    )


def make_cpu_plan(shape: ModelShape, profile: Profile, memory_bytes: int) -> CpuPlan:
    """Plan a model on a machine with so much RAM, for its CPU.

    Raises:
        UnsupportedError: it does not fit, or max_seq_len is beyond the model's.
    """
    check_length(shape, profile)
    length = profile.limits.max_seq_len
    memory = cpu_footprint(shape, memory_bytes=memory_bytes, precision=profile.precision, max_seq_len=length)
    if not memory.fits:
        raise UnsupportedError(
            f"It does not fit: weights {memory.weights / 1e9:.1f} GB, the server {memory.runtime / 1e9:.1f} GB and a "
            f"KV cache of {memory.needed_gib} GiB for one sequence of {length} tokens need more than the machine's "
            f"{memory_bytes / 1e9:.1f} GB leave. Use {_smaller(profile.precision)}a shorter --max-seq-len."
        )
    notes = ["No speed is estimated for CPUs: serve the package and measure."]
    if memory.needed_gib > memory.default_gib:
        notes.append(
            f"Serve it with --kv-cache-gib {memory.kv_cache_gib}: the default of {memory.default_gib} holds less."
        )
    tokens = memory.kv_pool_tokens
    return CpuPlan(
        profile=profile.name,
        precision=profile.precision,
        memory_total=memory_bytes,
        weights=memory.weights,
        runtime=memory.runtime,
        kv_bytes_per_token=memory.kv_bytes_per_token,
        kv_cache_gib=memory.kv_cache_gib,
        kv_pool_tokens=tokens,
        max_batch_size=profile.limits.max_batch_size,
        max_seq_len=length,
        concurrency=tuple(Concurrency(size, tokens // size) for size in sorted({CHAT_TOKENS, 8192, length})),
        notes=tuple(notes),
    )


def default_workload(max_seq_len: int) -> Workload:
    """1024 tokens in and 1024 out, or what max_seq_len has room for."""
    half = min(CHAT_TOKENS, max_seq_len) // 2
    return Workload(input_tokens=half, output_tokens=half)


def throughput_curve(shape: ModelShape, gpu: Gpu, profile: Profile, plan: Plan) -> list[Estimate]:
    """Estimates at every batch worth drawing, up to four times what the memory holds."""
    roofline = _roofline(shape, gpu, profile)
    last = 4 * plan.memory_limit
    batches = {round(2 ** (eighths / 8)) for eighths in range(8 * last.bit_length())}
    return [
        estimate(roofline, batch, plan.workload, plan.max_num_tokens, plan.batch_limit)
        for batch in sorted({*batches, plan.batch_limit, last})
        if batch <= last
    ]


def estimate(roofline: Roofline, batch: int, workload: Workload, max_num_tokens: int, batch_limit: int) -> Estimate:
    """Speed at one batch."""
    step = roofline.steady(batch, workload)
    return Estimate(
        batch=batch,
        output_tokens_per_s=batch / step.total,
        itl_ms=1000 * roofline.itl_s(batch, workload),
        ttft_ms=1000 * roofline.ttft_s(batch, workload, max_num_tokens),
        bound=step.bound,
        fits=batch <= batch_limit,
    )


def _roofline(shape: ModelShape, gpu: Gpu, profile: Profile) -> Roofline:
    return Roofline(shape, gpu, profile.precision, profile.kv_cache, profile.tp_size)


def _batches(limit: int) -> list[int]:
    """Powers of two up to `limit`, `limit` itself, and two powers beyond it to see what more memory would bring."""
    powers = [2**exponent for exponent in range(limit.bit_length() + 2)]
    return sorted({*powers, limit})


def _warnings(profile: Profile, memory: Footprint) -> tuple[str, ...]:
    chats = memory.sequences(CHAT_TOKENS)
    if profile.limits.max_batch_size <= chats:
        return ()
    return (
        f"max_batch_size is {profile.limits.max_batch_size}, and the KV cache holds {chats} requests of {CHAT_TOKENS} "
        f"tokens: the rest of the memory set aside for the batch is wasted. Set it to {chats}.",
    )


def _notes(shape: ModelShape, gpu: Gpu, profile: Profile, memory: Footprint) -> tuple[str, ...]:
    notes = []
    possible = min(memory.kv_pool_tokens, shape.max_position_embeddings)
    if profile.limits.max_seq_len < THINKING_SEQ_LEN <= possible:
        notes.append(
            f"A thinking trace of {THINKING_TOKENS} tokens does not fit in max_seq_len {profile.limits.max_seq_len}; "
            f"the memory would hold it (--max-seq-len {THINKING_SEQ_LEN})."
        )
    if gpu.name not in FITTED_GPUS or profile.tp_size > 1:
        what = f"{profile.tp_size} GPUs" if profile.tp_size > 1 else f"the {gpu.title}"
        notes.append(
            f"NVIDIA published no figures for {what} that this plan knows: the speed is extrapolated from "
            "other GPUs and may be wrong by a lot."
        )
    return tuple(notes)


def _smaller(precision: str) -> str:
    return {"bf16": "cpu-int8, cpu-int4 or ", "int8": "cpu-int4 or ", "int4": ""}[precision]
