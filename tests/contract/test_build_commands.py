"""trtllm-build knows every option that a profile gives it, and the traps of its options are kept clear of."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from nemotron_build.errors import BuildError, UnsupportedError
from nemotron_build.pipeline.trtllm_build import PROGRAM, build_command
from nemotron_build.profiles import Profile, ProfileLimits, builtin_profiles
from nemotron_serving.engine.tensorrt_llm.files import TENSORRT_LLM
from nemotron_serving.launcher.engine_library import recorded_api

from .option_parser import parse_options, recorded_options

BF16 = Profile(
    name="test",
    description="",
    target="tensorrt_llm",
    precision="bf16",
    gpu="h100",
    limits=ProfileLimits(max_batch_size=64, max_seq_len=4096, max_num_tokens=2048),
)
FP8 = msgspec.structs.replace(BF16, precision="fp8")
FP8_KV = msgspec.structs.replace(FP8, kv_cache="fp8")
ENGINES = [profile for profile in builtin_profiles() if profile.target == "tensorrt_llm" and profile.flow == "engine"]


def arguments(profile: Profile, **build_options: str | int) -> list[str]:
    profile = msgspec.structs.replace(profile, build_options=build_options or profile.build_options)
    program, *rest = build_command(profile, Path("/c"), Path("/e"))
    assert program == PROGRAM
    return rest


@pytest.mark.parametrize("profile", [*ENGINES, BF16, FP8, FP8_KV], ids=lambda profile: profile.name)
def test_every_profile_gives_options_that_the_tool_knows(profile: Profile) -> None:
    options = parse_options(arguments(profile))
    assert (options.checkpoint_dir, options.output_dir) == ("/c", "/e")
    limits = profile.limits
    assert (options.max_batch_size, options.max_seq_len) == (limits.max_batch_size, limits.max_seq_len)
    assert (options.max_num_tokens, options.max_beam_width) == (limits.max_num_tokens, 1)
    assert options.kv_cache_type == "paged"
    assert options.gpt_attention_plugin == "auto"
    assert options.use_paged_context_fmha == options.multiple_profiles == options.remove_input_padding == "enable"
    assert options.opt_num_tokens is None  # raises beside multiple_profiles
    assert options.gemm_plugin == ("auto" if profile.precision == "bf16" else None)


def test_fp8_attention_comes_with_an_fp8_kv_cache_alone() -> None:
    assert "--use_fp8_context_fmha" not in arguments(BF16)
    assert "--use_fp8_context_fmha" not in arguments(FP8)
    assert parse_options(arguments(FP8_KV)).use_fp8_context_fmha == "enable"


def test_parallelism_is_the_checkpoints_own() -> None:
    spread = arguments(msgspec.structs.replace(FP8, tp_size=2))
    assert not {"--tp_size", "--pp_size", "--world_size"} & set(spread)
    assert parse_options(spread).workers == 2


def test_a_profile_may_add_options_with_and_without_values() -> None:
    added = arguments(FP8, gemm_swiglu_plugin="fp8", tokens_per_block=64, fast_build="")
    options = parse_options(added)
    assert (options.gemm_swiglu_plugin, options.tokens_per_block, options.fast_build) == ("fp8", 64, True)


@pytest.mark.parametrize(
    ("profile", "added", "message"),
    [
        (BF16, {"opt_num_tokens": 8}, "contradicts --multiple_profiles"),
        (BF16, {"tp_size": 2}, "the checkpoint is converted for it"),
        (BF16, {"max_seq_len": 8}, r"write it under \[limits\]"),
        (FP8, {"gemm_plugin": "auto"}, "an FP8 engine goes without it"),
        (FP8, {"use_fp8_context_fmha": "enable"}, 'needs kv_cache = "fp8"'),
        (FP8, {"use_paged_context_fmha": "disable"}, "prompts could not be"),
    ],
)
def test_options_that_would_break_the_engine_are_refused(
    profile: Profile, added: dict[str, str | int], message: str
) -> None:
    with pytest.raises(BuildError, match=message):
        arguments(profile, **added)


def test_an_fp8_kv_cache_needs_fp8_weights() -> None:
    with pytest.raises(UnsupportedError, match="switch off"):
        arguments(msgspec.structs.replace(BF16, kv_cache="fp8"))


def test_the_parser_refuses_what_the_tool_removed() -> None:
    for option in ("--tp_size", "--use_custom_all_reduce", "--paged_kv", "--max_output_len"):
        with pytest.raises(ValueError, match="unrecognized arguments"):
            parse_options([*arguments(BF16), option, "1"])
    assert len(recorded_options()) == 67


def test_the_release_that_builds_is_the_one_that_serves() -> None:
    assert recorded_api().release == TENSORRT_LLM
