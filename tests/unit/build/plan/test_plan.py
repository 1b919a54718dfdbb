"""Plans of the profiles that ship, and what is refused with which remedy."""

from __future__ import annotations

import itertools
from dataclasses import replace as replace_shape
from typing import Any

import pytest

from nemotron_build.checkpoint.shape import LLAMA_31_8B
from nemotron_build.errors import UnsupportedError
from nemotron_build.pipeline.trtllm_build import engine_options
from nemotron_build.plan.gpus import GPUS
from nemotron_build.plan.limits import suggested_profile
from nemotron_build.plan.plan import Plan, make_cpu_plan, make_plan, throughput_curve
from nemotron_build.plan.roofline import Workload
from nemotron_build.profiles import Profile, builtin_profiles, changed_profile, load_profile

GIB = 2**30
ON_GPUS = [profile for profile in builtin_profiles() if profile.gpu]
ON_CPUS = [profile for profile in builtin_profiles() if not profile.gpu]
TINY = replace_shape(LLAMA_31_8B, num_layers=2, max_position_embeddings=512)


def plan_of(profile: Profile, gpu: str = "") -> Plan:
    return make_plan(LLAMA_31_8B, GPUS[gpu or str(profile.gpu)], profile)


@pytest.mark.parametrize("profile", ON_GPUS, ids=lambda profile: profile.name)
def test_every_profile_is_planned_without_a_warning(profile: Profile) -> None:
    plan = plan_of(profile)
    assert plan.warnings == ()
    assert not any("thinking" in note for note in plan.notes)
    limits = profile.limits
    assert (plan.max_batch_size, plan.max_seq_len) == (limits.max_batch_size, limits.max_seq_len)
    at_once = {item.tokens: item.sequences for item in plan.concurrency}
    assert at_once[2048] >= limits.max_batch_size
    assert at_once[32768] >= 1, "a thinking trace of 32k tokens"


@pytest.mark.parametrize("profile", ON_GPUS, ids=lambda profile: profile.name)
def test_profiles_have_the_limits_that_the_planner_suggests(profile: Profile) -> None:
    suggested = suggested_profile(LLAMA_31_8B, GPUS[str(profile.gpu)], profile.precision, profile.kv_cache, 1)
    assert suggested.limits == profile.limits


@pytest.mark.parametrize("profile", ON_CPUS, ids=lambda profile: profile.name)
def test_cpu_profiles_are_planned_where_the_weights_fit(profile: Profile) -> None:
    plan = make_cpu_plan(LLAMA_31_8B, profile, 32 * GIB)
    assert plan.kv_pool_tokens >= profile.limits.max_seq_len
    assert plan.weights + plan.runtime + plan.kv_cache_gib * GIB < plan.memory_total
    with pytest.raises(UnsupportedError, match="It does not fit: weights"):
        make_cpu_plan(LLAMA_31_8B, profile, 4 * GIB)


def test_kv_cache_on_a_cpu_has_the_size_that_openvino_reports() -> None:
    # SmolLM2-135M: OpenVINO GenAI 2026.4.1 puts 46,592 tokens in 1 GiB.
    demo = replace_shape(LLAMA_31_8B, num_layers=30, num_kv_heads=3, head_dim=64)
    plan = make_cpu_plan(demo, load_profile("cpu-int4"), 32 * GIB)
    assert plan.kv_bytes_per_token == pytest.approx(GIB / 46_592, rel=1e-3)


def test_speed_grows_with_the_batch_and_with_less_to_read() -> None:
    bf16, fp8 = plan_of(load_profile("h100-bf16")), plan_of(load_profile("h100-fp8"))
    for plan in (bf16, fp8):
        for smaller, larger in itertools.pairwise(plan.estimates):
            assert smaller.output_tokens_per_s < larger.output_tokens_per_s
            assert smaller.itl_ms < larger.itl_ms < larger.ttft_ms
    assert fp8.estimates[0].itl_ms < bf16.estimates[0].itl_ms
    assert plan_of(load_profile("h200-bf16")).estimates[0].itl_ms < bf16.estimates[0].itl_ms


def test_estimates_end_where_the_kv_cache_does() -> None:
    profile = load_profile("rtx-4090-bf16")
    plan = make_plan(LLAMA_31_8B, GPUS["rtx-4090"], profile, Workload(512, 8192))
    assert plan.batch_limit == plan.memory_limit == plan.memory.sequences(8704) == 6
    assert plan.best.batch == 6
    assert [row.batch for row in plan.estimates if row.fits] == [1, 2, 4, 6]
    curve = throughput_curve(LLAMA_31_8B, GPUS["rtx-4090"], profile, plan)
    assert (curve[0].batch, curve[-1].batch) == (1, 24)
    assert {6} < {row.batch for row in curve}


def test_long_prompts_wait_for_their_chunks() -> None:
    profile = load_profile("h100-bf16")
    short, long = (
        make_plan(LLAMA_31_8B, GPUS["h100"], profile, Workload(tokens, 100)).estimates[0].ttft_ms
        for tokens in (2000, 20000)
    )
    assert 10 * short < long < 20 * short


def test_a_batch_that_the_memory_does_not_hold_is_warned_of() -> None:
    plan = plan_of(load_profile("h100-bf16"), gpu="rtx-4090")
    assert plan.warnings[0].startswith("max_batch_size is 224, and the KV cache holds 24 requests of 2048 tokens")
    assert plan.batch_limit == 24
    assert "extrapolated" in plan.notes[-1]


def test_a_needlessly_short_limit_is_noted() -> None:
    plan = plan_of(changed_profile(load_profile("h100-bf16"), {"max_seq_len": 8192}))
    assert "--max-seq-len 36864" in plan.notes[0]


@pytest.mark.parametrize(
    ("profile", "gpu", "changes", "messages"),
    [
        ("h100-fp8", "a100", {}, ["precision is fp8", "compute capability 8.9", "has 8.0", "Use bf16"]),
        ("a100-bf16", "a100", {"kv_cache": "fp8"}, ["kv_cache is fp8", "Use bf16"]),
        ("h100-bf16", "h100", {"tp_size": 3}, ["tp_size 3 does not divide", "8 KV heads", "one of 1, 2, 4, 8"]),
        ("h100-bf16", "h100", {"tp_size": 16}, ["tp_size 16 does not divide"]),
        ("h100-bf16", "h100", {"max_seq_len": 200_000}, ["the model knows 131072 positions"]),
        ("h100-bf16", "h100", {"max_num_tokens": 100}, ["max_num_tokens 100 is less than max_batch_size 224"]),
        (
            "rtx-4090-bf16",
            "rtx-4090",
            {"max_seq_len": 131_072},
            ["weights 16.1 GB", "17.2 GB", "25.8 GB", "--max-seq-len 54272", "--tp 2", "--gpu l40s"],
        ),
        (
            "rtx-4090-bf16",
            "rtx-4090",
            {"max_seq_len": 65_536},
            ["--precision fp8", "--max-seq-len 54272", "--tp 2", "--gpu rtx-5090"],
        ),
        ("h100-bf16", "h100", {"kv_cache": "fp8"}, ["switch off use_paged_context_fmha", "Use FP8 weights"]),
        ("h100-bf16", "h100", {"kv_cache": "fp8", "flow": "pytorch"}, ["would not load", "Use FP8 weights"]),
        ("rtx-4090-fp8", "rtx-4090", {"max_seq_len": 131_072}, ["--kv-cache fp8"]),
        ("rtx-3090-bf16", "rtx-3090", {"max_batch_size": 4096}, ["--max-batch-size 8 --max-num-tokens 2048"]),
    ],
)
def test_what_cannot_be_says_what_can(profile: str, gpu: str, changes: dict[str, Any], messages: list[str]) -> None:
    with pytest.raises(UnsupportedError) as caught:
        plan_of(changed_profile(load_profile(profile), changes), gpu)
    for message in messages:
        assert message in str(caught.value)


def test_every_remedy_that_is_named_works() -> None:
    profile = changed_profile(load_profile("rtx-4090-bf16"), {"max_seq_len": 65_536})
    changes: list[dict[str, Any]] = [{"precision": "fp8"}, {"max_seq_len": 54_272}, {"tp_size": 2}]
    for change in changes:
        changed = changed_profile(profile, change)
        plan_of(changed)
        engine_options(changed)
    plan_of(profile, "rtx-5090")
    plan_of(changed_profile(load_profile("rtx-4090-fp8"), {"max_seq_len": 131_072, "kv_cache": "fp8"}))


@pytest.mark.parametrize("flow", ["engine", "pytorch"])
def test_an_fp8_kv_cache_is_no_remedy_for_bf16_weights(flow: str) -> None:
    profile = changed_profile(load_profile("rtx-4090-bf16"), {"max_seq_len": 65_536, "flow": flow})
    with pytest.raises(UnsupportedError) as caught:
        plan_of(profile)
    assert "--kv-cache" not in str(caught.value)


def test_a_cpu_profile_is_not_for_a_gpu() -> None:
    with pytest.raises(UnsupportedError, match="cpu-int4 is for CPUs"):
        plan_of(load_profile("cpu-int4"), "h100")


def test_a_small_model_is_planned_within_its_positions() -> None:
    profile = suggested_profile(TINY, GPUS["h100"], "bf16", "bf16", 1)
    assert profile.limits.max_seq_len == 512
    plan = make_plan(TINY, GPUS["h100"], profile)
    assert plan.workload == Workload(256, 256)
    assert [row.tokens for row in plan.concurrency] == [512]
    assert plan.notes == ()


def test_a_workload_beyond_max_seq_len_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="30000 tokens in and 10000 out are more than max_seq_len 36864"):
        make_plan(LLAMA_31_8B, GPUS["h100"], load_profile("h100-bf16"), Workload(30000, 10000))
