"""The command line of trtllm-build for a profile. Facts: TensorRT-LLM 1.2.1; a contract test knows each option."""

from __future__ import annotations

from pathlib import Path

from nemotron_build.errors import BuildError
from nemotron_build.plan.limits import check_kv_cache
from nemotron_build.profiles import Profile

PROGRAM = "trtllm-build"
# A profile's build_options may not name these.
_REFUSED = {
    "checkpoint_dir": "the stage sets it",
    "output_dir": "the stage sets it",
    "max_batch_size": "write it under [limits]",
    "max_seq_len": "write it under [limits]",
    "max_num_tokens": "write it under [limits]",
    "max_beam_width": "the server has no beam search",
    "opt_num_tokens": "it contradicts --multiple_profiles",
    "tp_size": "write tp_size at the top; the checkpoint is converted for it",
    "pp_size": "pipeline parallelism is not offered",
    "build_config": "it would replace all other options",
    "dry_run": "an engine would be missing",
}


def engine_options(profile: Profile) -> dict[str, str]:
    """Options of trtllm-build by name, in the order of the command line.

    BF16 is multiplied by the GEMM plugin. FP8 is not: TensorRT's own kernels are faster there. FP8 attention over the
    prompt needs an FP8 KV cache.

    Raises:
        BuildError: the profile's build_options name one that must not be set, or that contradicts the precision.
        UnsupportedError: an FP8 KV cache without FP8 weights.
    """
    check_kv_cache(profile)
    limits = profile.limits
    options = {
        "gpt_attention_plugin": "auto",
        "remove_input_padding": "enable",
        "kv_cache_type": "paged",
        "use_paged_context_fmha": "enable",
        "multiple_profiles": "enable",
        "max_batch_size": str(limits.max_batch_size),
        "max_num_tokens": str(limits.max_num_tokens),
        "max_seq_len": str(limits.max_seq_len),
        "max_beam_width": "1",
    }
    if profile.precision == "bf16":
        options = {"gemm_plugin": "auto", **options}
    if profile.kv_cache == "fp8":
        options["use_fp8_context_fmha"] = "enable"
    if profile.tp_size > 1:
        options["workers"] = str(profile.tp_size)
    added = {name: str(value) for name, value in profile.build_options.items()}
    _check_added(profile, added)
    return {**options, **added}


def build_command(profile: Profile, checkpoint: Path, output: Path) -> list[str]:
    """Program and arguments that compile a TensorRT-LLM checkpoint.

    Args:
        profile: What to build.
        checkpoint: The converted checkpoint.
        output: Directory of the engine.

    Raises:
        BuildError: see `engine_options`.
    """
    command = [PROGRAM, "--checkpoint_dir", str(checkpoint), "--output_dir", str(output)]
    for name, value in engine_options(profile).items():
        # An option without a value, such as fast_build, is written as "" in a profile.
        command += [f"--{name}", value] if value else [f"--{name}"]
    return command


def _check_added(profile: Profile, added: dict[str, str]) -> None:
    for name, value in added.items():
        if name in _REFUSED:
            raise BuildError(f"Profile {profile.name}: build_options.{name} cannot be set: {_REFUSED[name]}.")
        if name == "gemm_plugin" and profile.precision == "fp8" and value != "disable":
            raise BuildError(
                f"Profile {profile.name}: build_options.gemm_plugin is {value!r}; an FP8 engine goes without it."
            )
        if name == "use_fp8_context_fmha" and value == "enable" and profile.kv_cache != "fp8":
            raise BuildError(
                f'Profile {profile.name}: build_options.use_fp8_context_fmha needs kv_cache = "fp8"; it is '
                f"{profile.kv_cache!r}."
            )
        if name == "use_paged_context_fmha" and value != "enable":
            raise BuildError(
                f"Profile {profile.name}: build_options.use_paged_context_fmha is {value!r}; prompts could not be "
                "processed in parts, nor their KV cache be used again."
            )
