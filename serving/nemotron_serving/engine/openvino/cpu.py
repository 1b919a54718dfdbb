"""What OpenVINO's CPU plugin has to be told where ONEDNN_MAX_CPU_ISA lets this machine stand for an older one."""

from __future__ import annotations

import os
from collections.abc import Mapping

# Values of the variable, from https://uxlfoundation.github.io/oneDNN/dev_guide_cpu_dispatcher_control.html.
_WITHOUT_VNNI = frozenset(("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE"))
_WITHOUT_BF16 = _WITHOUT_VNNI | {"AVX512_CORE_VNNI"}


def isa_properties(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Properties for `compile_model` and GenAI's pipelines that go with ONEDNN_MAX_CPU_ISA; none where it is not set.

    The variable limits oneDNN alone. OpenVINO (2026.4) asks the CPU itself, goes on choosing BF16 and inputs that are
    rounded to 8 bits, and fails in the first step because oneDNN has no such primitive any more. With these properties
    it computes as it does on a CPU that lacks the instructions.
    """
    limit = environment.get("ONEDNN_MAX_CPU_ISA", "").upper()
    properties = {}
    if limit in _WITHOUT_BF16:
        properties["INFERENCE_PRECISION_HINT"] = "f32"
    if limit in _WITHOUT_VNNI:
        properties["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = "0"
    return properties
