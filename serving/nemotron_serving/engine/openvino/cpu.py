"""What the OpenVINO engine takes of a CPU and of its memory. A build plans and checks with the same values."""

from __future__ import annotations

import os
from collections.abc import Mapping

KV_BLOCK_TOKENS = 32
"""Tokens of a block of the KV cache, by the CPU plugin's paged attention."""

_DEFAULT_KV_CACHE_SHARE = 0.25
_DEFAULT_KV_CACHE_MAX_GIB = 4
# Values of the variable, from https://uxlfoundation.github.io/oneDNN/dev_guide_cpu_dispatcher_control.html.
_WITHOUT_VNNI = frozenset(("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE"))
_WITHOUT_BF16 = _WITHOUT_VNNI | {"AVX512_CORE_VNNI"}


def default_kv_cache_gib(free_bytes: int) -> int:
    """The KV cache, in GiB, where nobody says a size: a quarter of the memory that is free at start, 1 to 4."""
    return max(1, min(int(free_bytes * _DEFAULT_KV_CACHE_SHARE / 2**30), _DEFAULT_KV_CACHE_MAX_GIB))


def default_threads(paid: int | None) -> int | None:
    """Threads of a step where nobody says how many; None leaves it to OpenVINO.

    OpenVINO takes one for each physical core that it may run on, and knows nothing of quotas. More threads than a quota
    is worth spend it within a part of each period, and stand still for the rest.

    Args:
        paid: Cores that a quota is worth; None where there is none.
    """
    return paid if paid is not None and paid < physical_cores() else None


def physical_cores() -> int:
    """Cores that this process may run on; two threads of one core count once, where that can be told."""
    import psutil

    own = len(os.sched_getaffinity(0))
    return min(psutil.cpu_count(logical=False) or own, own)


def isa_properties(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Properties for `compile_model` and GenAI's pipelines that go with ONEDNN_MAX_CPU_ISA; none where it is not set.

    The variable lets this machine stand for an older one, and limits oneDNN alone. OpenVINO (2026.4) asks the CPU
    itself, goes on choosing BF16 and inputs that are rounded to 8 bits, and fails in the first step because oneDNN has
    no such primitive any more. With these properties it computes as it does on a CPU that lacks the instructions.
    """
    limit = environment.get("ONEDNN_MAX_CPU_ISA", "").upper()
    properties = {}
    if limit in _WITHOUT_BF16:
        properties["INFERENCE_PRECISION_HINT"] = "f32"
    if limit in _WITHOUT_VNNI:
        properties["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = "0"
    return properties
