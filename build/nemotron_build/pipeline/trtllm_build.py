"""trtllm-build: its command line for a profile, and what it made against what was asked for.

It changes some settings with no more than a warning. Facts: TensorRT-LLM 1.2.1; a contract test knows each option.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nemotron_build.errors import BuildError, VerificationError
from nemotron_build.plan.limits import check_kv_cache
from nemotron_build.profiles import Profile
from nemotron_serving.engine.tensorrt_llm.files import (
    CONFIG,
    TENSORRT_LLM,
    BuildConfig,
    ModelConfig,
    PluginConfig,
    engine_file,
    read_config,
)

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


def check_engine(engine: Path, profile: Profile, log: Path | None = None) -> None:
    """Compare an engine directory with its profile.

    Args:
        engine: Directory of the engine.
        profile: What it was compiled for.
        log: What trtllm-build wrote, where that is known.

    Raises:
        VerificationError: naming the first thing that is missing or different, with both values.
    """
    version, model, build = _read(engine)
    facts = [("version", version, (TENSORRT_LLM,)), *_facts(model, build, profile)]
    for name, found, expected in facts:
        if found not in expected:
            wanted = " or ".join(repr(value) for value in expected)
            raise VerificationError(
                f"{engine / CONFIG}: {name} is {found!r}, profile {profile.name} needs {wanted}. "
                f"The reason is in trtllm-build's log{f', {log}' if log else ''}. Compile again."
            )
    for rank in range(profile.tp_size):
        path = engine / engine_file(rank)
        if not path.is_file() or not path.stat().st_size:
            raise VerificationError(f"{path} is missing or empty; {profile.tp_size} are expected. Compile again.")


def _facts(model: ModelConfig, build: BuildConfig, profile: Profile) -> list[tuple[str, Any, tuple[Any, ...]]]:
    limits = profile.limits
    # More tokens than all requests have together are cut down to those.
    tokens = min(limits.max_num_tokens, limits.max_batch_size * limits.max_seq_len)
    return [
        ("build_config.max_batch_size", build.max_batch_size, (limits.max_batch_size,)),
        ("build_config.max_seq_len", build.max_seq_len, (limits.max_seq_len,)),
        ("build_config.max_num_tokens", build.max_num_tokens, (tokens,)),
        ("build_config.max_beam_width", build.max_beam_width, (1,)),
        ("pretrained_config.dtype", model.dtype, ("bfloat16",)),
        ("pretrained_config.mapping.tp_size", model.mapping.tp_size, (profile.tp_size,)),
        ("pretrained_config.mapping.world_size", model.mapping.world_size, (profile.tp_size,)),
        (
            "pretrained_config.quantization.quant_algo",
            model.quantization.quant_algo,
            ("FP8",) if profile.precision == "fp8" else (None,),
        ),
        (
            "pretrained_config.quantization.kv_cache_quant_algo",
            model.quantization.kv_cache_quant_algo,
            ("FP8",) if profile.kv_cache == "fp8" else (None,),
        ),
        *_plugin_facts(build.plugin_config, profile),
    ]


def _plugin_facts(plugins: PluginConfig, profile: Profile) -> list[tuple[str, Any, tuple[Any, ...]]]:
    gemm = ("auto", "bfloat16") if profile.precision == "bf16" else (None, "disable")
    expected: dict[str, tuple[Any, ...]] = {
        "gpt_attention_plugin": ("auto", "bfloat16"),
        "gemm_plugin": gemm,
        "remove_input_padding": (True,),
        "use_paged_context_fmha": (True,),
        "use_fp8_context_fmha": (profile.kv_cache == "fp8",),
        "multiple_profiles": (True,),
    }
    # What a profile changes on its own is its own business.
    return [
        (f"build_config.plugin_config.{name}", getattr(plugins, name), values)
        for name, values in expected.items()
        if name not in profile.build_options
    ]


def _read(engine: Path) -> tuple[str, ModelConfig, BuildConfig]:
    path = engine / CONFIG
    try:
        config = read_config(engine)
    except FileNotFoundError:
        raise VerificationError(f"{path} is missing: trtllm-build made no engine. Compile again.") from None
    except (OSError, ValueError) as error:
        raise VerificationError(f"{path} cannot be used: {error}. Compile again.") from error
    if config.pretrained_config is None or config.build_config is None:
        raise VerificationError(
            f"{path} is not an engine's: pretrained_config or build_config is missing. Compile again."
        )
    return config.version, config.pretrained_config, config.build_config
