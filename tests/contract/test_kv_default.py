"""What a CPU plan says the server takes for the KV cache is what the server takes."""

from __future__ import annotations

import pytest

from nemotron_build.checkpoint.shape import LLAMA_31_8B
from nemotron_build.plan.plan import make_cpu_plan
from nemotron_build.profiles import changed_profile, load_profile
from nemotron_serving.engine.openvino.cpu import default_kv_cache_gib


@pytest.mark.parametrize("free_gib", [2.1, 6.0, 9.5, 13.0, 16.1, 100.0])
def test_the_plan_knows_the_servers_default(free_gib: float) -> None:
    """A sequence of 4096 tokens needs half a GiB, so that nothing but the default decides."""
    profile = changed_profile(load_profile("cpu-int4"), {"max_seq_len": 4096})
    roomy = make_cpu_plan(LLAMA_31_8B, profile, 2**40)
    plan = make_cpu_plan(LLAMA_31_8B, profile, int(free_gib * 2**30) + roomy.weights + roomy.runtime)
    assert plan.kv_cache_gib == default_kv_cache_gib(int(free_gib * 2**30))
