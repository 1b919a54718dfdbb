"""What a GPU and a model can do together: refusals with a remedy, and limits that fit."""

from __future__ import annotations

from msgspec.structs import replace

from nemotron_build.checkpoint.shape import ModelShape, check_tp_size, tp_sizes
from nemotron_build.errors import UnsupportedError
from nemotron_build.plan.gpus import GPUS, Gpu
from nemotron_build.plan.memory import Footprint, footprint
from nemotron_build.profiles import KvCache, Precision, Profile, ProfileLimits

CHAT_TOKENS = 2048
"""A request of a chat, prompt and answer: max_batch_size is chosen so that as many of them run at once."""

THINKING_TOKENS = 32768
"""The longest thinking trace that the model card has figures for."""

THINKING_SEQ_LEN = THINKING_TOKENS + 4096
"""Such a trace with its prompt."""

_LARGEST_BATCH = 512
_MOST_GPUS = 8  # in one server
_STEP_TOKENS = (8192, 4096, 2048)
# Of the memory that the weights leave; beyond it a larger step takes more sequences away than it speeds up.
_ACTIVATION_SHARE = 0.06


def check_supported(shape: ModelShape, gpu: Gpu, profile: Profile) -> None:
    """Refuse what no amount of memory makes possible.

    Raises:
        UnsupportedError: saying what would be possible.
    """
    if profile.target != "tensorrt_llm":
        raise UnsupportedError(f"Profile {profile.name} is for CPUs. Name one for the {gpu.title}, such as h100-bf16.")
    if profile.precision not in ("bf16", "fp8"):
        raise UnsupportedError(f"precision is {profile.precision}, which is for CPUs. GPUs take bf16 and fp8.")
    for what, value in (("precision", profile.precision), ("kv_cache", profile.kv_cache)):
        if value == "fp8" and gpu.fp8_flops is None:
            raise UnsupportedError(
                f"{what} is fp8, which needs compute capability 8.9; the {gpu.title} has "
                f"{'.'.join(map(str, gpu.compute_capability))}. Use bf16 on it."
            )
    check_kv_cache(profile)
    check_tp_size(shape, profile.tp_size)
    check_length(shape, profile)
    if profile.limits.max_num_tokens < profile.limits.max_batch_size:
        raise UnsupportedError(
            f"max_num_tokens {profile.limits.max_num_tokens} is less than max_batch_size "
            f"{profile.limits.max_batch_size}: a step has at least one token of every request. Raise it."
        )


def check_length(shape: ModelShape, profile: Profile) -> None:
    """Refuse sequences that are longer than the model's, on any hardware.

    Raises:
        UnsupportedError: saying how long they may be.
    """
    if profile.limits.max_seq_len > shape.max_position_embeddings:
        raise UnsupportedError(
            f"max_seq_len is {profile.limits.max_seq_len}, the model knows {shape.max_position_embeddings} positions. "
            "Use at most that."
        )


def check_kv_cache(profile: Profile) -> None:
    """Refuse an FP8 KV cache that neither flow could use.

    Raises:
        UnsupportedError: an FP8 KV cache without FP8 weights.
    """
    if not _can_cache(profile):
        raise UnsupportedError(
            f"Profile {profile.name}: with an FP8 KV cache under {profile.precision} weights trtllm-build would switch "
            "off use_paged_context_fmha, so that prompts could not be processed in parts, and TensorRT-LLM's PyTorch "
            "flow would not load the checkpoint. Use FP8 weights with it."
        )


def profile_footprint(shape: ModelShape, gpu: Gpu, profile: Profile) -> Footprint:
    """The memory of one GPU under a profile."""
    return footprint(
        shape,
        memory_bytes=gpu.memory_bytes,
        precision=profile.precision,
        kv_cache=profile.kv_cache,
        max_batch_size=profile.limits.max_batch_size,
        max_num_tokens=profile.limits.max_num_tokens,
        tp_size=profile.tp_size,
    )


def fits(shape: ModelShape, gpu: Gpu, profile: Profile) -> bool:
    """Whether the KV cache holds one request of max_seq_len."""
    return profile_footprint(shape, gpu, profile).kv_pool_tokens >= profile.limits.max_seq_len


def does_not_fit(shape: ModelShape, gpu: Gpu, profile: Profile) -> UnsupportedError:
    """The error for a plan that does not fit, with what would."""
    memory = profile_footprint(shape, gpu, profile)
    length = profile.limits.max_seq_len
    needed = memory.weights + memory.activations + memory.runtime + length * memory.kv_bytes_per_token
    remedies = _remedies(shape, gpu, profile)
    return UnsupportedError(
        f"It does not fit: weights {memory.weights / 1e9:.1f} GB, activations and runtime "
        f"{(memory.activations + memory.runtime) / 1e9:.1f} GB and one sequence of {length} tokens "
        f"{length * memory.kv_bytes_per_token / 1e9:.1f} GB make {needed / 1e9:.1f} GB; the {gpu.title} has "
        f"{memory.total / 1e9:.1f} GB, and a tenth of what the model leaves stays free. "
        + (f"What would fit: {'; '.join(remedies)}." if remedies else "Nothing in the GPU table holds it.")
    )


def suggested_profile(shape: ModelShape, gpu: Gpu, precision: Precision, kv_cache: KvCache, tp_size: int) -> Profile:
    """A profile for a GPU where none was named, with suggested limits.

    Raises:
        UnsupportedError: see `check_supported` and `suggest_limits`.
    """
    profile = Profile(
        name=f"{gpu.name}-{precision}",
        description="limits suggested by the plan",
        target="tensorrt_llm",
        precision=precision,
        limits=ProfileLimits(max_batch_size=1, max_seq_len=min(CHAT_TOKENS, shape.max_position_embeddings)),
        kv_cache=kv_cache,
        gpu=gpu.name,
        tp_size=tp_size,
    )
    check_supported(shape, gpu, profile)
    return replace(profile, limits=suggest_limits(shape, gpu, profile))


def suggest_limits(shape: ModelShape, gpu: Gpu, profile: Profile) -> ProfileLimits:
    """The limits to build for, whatever those of the profile are.

    max_seq_len holds a thinking trace of 32k tokens with its prompt where the memory does, max_batch_size as many chats
    as the KV cache, max_num_tokens a large step where it costs little of it.

    Raises:
        UnsupportedError: there is no room for the model.
    """
    length = min(THINKING_SEQ_LEN, shape.max_position_embeddings)
    smallest = _with(profile, max_batch_size=1, max_num_tokens=_STEP_TOKENS[-1], max_seq_len=CHAT_TOKENS)
    if not fits(shape, gpu, smallest):
        raise does_not_fit(shape, gpu, smallest)
    free = gpu.memory_bytes - profile_footprint(shape, gpu, smallest).weights
    for step_tokens in _STEP_TOKENS:
        candidate = _with(smallest, max_num_tokens=step_tokens)
        if profile_footprint(shape, gpu, candidate).activations <= _ACTIVATION_SHARE * free:
            break
    batch = next(size for size in _batch_sizes() if _runs_chats(shape, gpu, _with(candidate, max_batch_size=size)))
    pool = profile_footprint(shape, gpu, _with(candidate, max_batch_size=batch)).kv_pool_tokens
    return _with(candidate, max_batch_size=batch, max_seq_len=min(length, pool // 1024 * 1024)).limits


def _batch_sizes() -> list[int]:
    """Falling: multiples of 32, then of 8, then all."""
    return [*range(_LARGEST_BATCH, 64, -32), *range(64, 8, -8), *range(8, 0, -1)]


def _runs_chats(shape: ModelShape, gpu: Gpu, profile: Profile) -> bool:
    return profile_footprint(shape, gpu, profile).sequences(CHAT_TOKENS) >= profile.limits.max_batch_size


def _remedies(shape: ModelShape, gpu: Gpu, profile: Profile) -> list[str]:
    found = []
    can_fp8 = gpu.fp8_flops is not None
    if profile.precision == "bf16" and can_fp8 and fits(shape, gpu, replace(profile, precision="fp8")):
        found.append("FP8 weights (--precision fp8)")
    smaller = replace(profile, kv_cache="fp8")
    if profile.kv_cache == "bf16" and can_fp8 and _can_cache(smaller) and fits(shape, gpu, smaller):
        found.append("an FP8 KV cache (--kv-cache fp8), which costs accuracy in long thinking")
    shorter = profile_footprint(shape, gpu, profile).kv_pool_tokens // 1024 * 1024
    if shorter:
        found.append(f"shorter sequences (--max-seq-len {shorter})")
    modest = _with(profile, max_batch_size=min(8, profile.limits.max_batch_size), max_num_tokens=_STEP_TOKENS[-1])
    if fits(shape, gpu, modest):
        found.append(
            f"smaller steps (--max-batch-size {modest.limits.max_batch_size} "
            f"--max-num-tokens {modest.limits.max_num_tokens})"
        )
    for tp_size in tp_sizes(shape):
        if profile.tp_size < tp_size <= _MOST_GPUS and fits(shape, gpu, replace(profile, tp_size=tp_size)):
            found.append(f"{tp_size} such GPUs (--tp {tp_size})")
            break
    larger = [other for other in GPUS.values() if _could(other, profile) and fits(shape, other, profile)]
    if larger:
        found.append(f"a larger GPU (--gpu {min(larger, key=lambda other: other.memory_bytes).name})")
    return found


def _can_cache(profile: Profile) -> bool:
    return profile.kv_cache != "fp8" or profile.precision == "fp8"


def _could(gpu: Gpu, profile: Profile) -> bool:
    return gpu.fp8_flops is not None or "fp8" not in (profile.precision, profile.kv_cache)


def _with(profile: Profile, **limits: int) -> Profile:
    return replace(profile, limits=replace(profile.limits, **limits))
