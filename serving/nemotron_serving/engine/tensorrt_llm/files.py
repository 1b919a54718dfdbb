"""What lies in PACKAGE/engine of a `tensorrt_llm` package, and whether it holds what the package promises."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from nemotron_serving.errors import PackageError
from nemotron_serving.package import EngineSpec, Limits, Package, check_engine_version

CONFIG = "config.json"
QUANTIZATION_CONFIG = "hf_quant_config.json"
"""Where a Hugging Face checkpoint says how it is quantized, in ModelOpt's terms."""
TENSORRT_LLM = "1.2.1"
"""The last stable release with TensorRT engines; engines are built and served with it."""
IMAGE = "nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3"
"""The image that has it."""
TOKENS_PER_BLOCK = 32
"""Tokens of a block of the paged KV cache, by default of KvCacheConfig and of trtllm-build."""

_CHECKPOINT_NUM_TOKENS = 8192  # TensorRT-LLM's default, said so that it stays

Flow = Literal["engine", "pytorch"]
_T = TypeVar("_T")


class Mapping(msgspec.Struct, frozen=True):
    """The GPUs of an engine: all of them, and those that share its tensors."""

    world_size: int = 1
    tp_size: int = 1


class Quantization(msgspec.Struct, frozen=True):
    """How weights and KV cache are quantized, such as `FP8`; None where they are not."""

    quant_algo: str | None = None
    kv_cache_quant_algo: str | None = None


class ModelConfig(msgspec.Struct, frozen=True):
    """What an engine's pretrained_config and a Hugging Face checkpoint's config.json have in common, and GPUs."""

    vocab_size: int
    num_hidden_layers: int
    num_attention_heads: int
    hidden_size: int
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    head_size: int | None = None
    max_position_embeddings: int = 0
    dtype: str | None = None
    mapping: Mapping = Mapping()
    quantization: Quantization = Quantization()

    def kv_bytes_per_token(self, quantization: Quantization) -> int:
        """Bytes of the KV cache of one token, on all GPUs together."""
        heads = self.num_key_value_heads or self.num_attention_heads
        size = self.head_dim or self.head_size or self.hidden_size // self.num_attention_heads
        value_bytes = 1 if quantization.kv_cache_quant_algo == "FP8" else 2
        return 2 * self.num_hidden_layers * heads * size * value_bytes


class PluginConfig(msgspec.Struct, frozen=True):
    """Settings of trtllm-build's plugins and kernels."""

    gpt_attention_plugin: str | None = None
    gemm_plugin: str | None = None
    remove_input_padding: bool | None = None
    use_paged_context_fmha: bool | None = True
    use_fp8_context_fmha: bool | None = None
    multiple_profiles: bool | None = None
    tokens_per_block: int = TOKENS_PER_BLOCK


class BuildConfig(msgspec.Struct, frozen=True):
    """Sizes and settings that an engine was compiled with."""

    max_batch_size: int
    max_seq_len: int
    max_num_tokens: int
    max_beam_width: int = 1
    plugin_config: PluginConfig = PluginConfig()


class EngineConfig(msgspec.Struct, frozen=True):
    """config.json, as far as anybody here reads it: of an engine the first three fields, of a checkpoint the others."""

    version: str = ""
    pretrained_config: ModelConfig | None = None
    build_config: BuildConfig | None = None
    architectures: list[str] = []
    max_position_embeddings: int = 0


@dataclass(frozen=True)
class EngineFiles:
    """Files that TensorRT-LLM loads, and what they say about themselves.

    Attributes:
        path: Directory with the files.
        flow: `engine`: a TensorRT engine, made by trtllm-build. `pytorch`: a Hugging Face checkpoint.
        max_batch_size: Sequences at once.
        max_seq_len: Prompt plus output tokens.
        max_num_tokens: Tokens that one step processes.
        vocab_size: Rows of the output layer.
        world_size: GPUs that an engine was built for; 1 for a checkpoint.
        cuts_prompts: Whether a prompt may be processed in parts, and its KV cache be used again.
        tokens_per_block: Tokens of a block of the paged KV cache.
        kv_bytes_per_token: KV cache of one token, on all GPUs together.
    """

    path: Path
    flow: Flow
    max_batch_size: int
    max_seq_len: int
    max_num_tokens: int
    vocab_size: int
    world_size: int
    cuts_prompts: bool
    tokens_per_block: int
    kv_bytes_per_token: int


def read_engine_files(package: Package) -> EngineFiles:
    """Read config.json.

    Raises:
        PackageError: files that are neither, an engine file missing, or a package that promises more than they hold.
    """
    path, limits = package.engine_path, package.serving.limits
    config = _read(path / CONFIG, EngineConfig)
    if config.build_config is not None and config.pretrained_config is not None:
        files = _engine(path, config.pretrained_config, config.build_config)
    elif config.architectures and any(path.glob("*.safetensors")):
        files = _checkpoint(path, limits)
    else:
        raise PackageError(
            f"{path} is neither a TensorRT engine ({CONFIG} with pretrained_config and build_config, rank0.engine) "
            f"nor a Hugging Face checkpoint ({CONFIG} with architectures, *.safetensors). Build the package again."
        )
    _check_limits(files, limits)
    return files


def check_release(spec: EngineSpec, engine_path: Path, installed: str) -> None:
    """Refuse files that the installed TensorRT-LLM cannot run.

    An engine runs with the version that built it; a checkpoint with the package's release and later ones.

    Raises:
        PackageError: naming both versions.
    """
    config = _read(engine_path / CONFIG, EngineConfig)
    if config.build_config is None:
        if _release(installed) < _release(spec.version):
            check_engine_version(spec, installed)
    elif config.version != installed:
        raise PackageError(
            f"{engine_path} was built with TensorRT-LLM {config.version}, installed is {installed}. "
            f"An engine runs only with the version that built it: install {config.version}, or build the package again."
        )


def read_config(engine: Path) -> EngineConfig:
    """Read config.json of a directory with an engine or a checkpoint.

    Raises:
        OSError: it is missing or cannot be read.
        ValueError: it is no JSON, or lacks what every engine has.
    """
    return msgspec.json.decode((engine / CONFIG).read_bytes(), type=EngineConfig)


def engine_file(rank: int) -> str:
    """The file of an engine that one GPU loads."""
    return f"rank{rank}.engine"


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


class _QuantizationFile(msgspec.Struct, frozen=True):
    quantization: Quantization


def _engine(path: Path, model: ModelConfig, build: BuildConfig) -> EngineFiles:
    for rank in range(model.mapping.world_size):
        if not (path / engine_file(rank)).is_file():
            raise PackageError(
                f"{path / engine_file(rank)} is missing; {CONFIG} says that there are {model.mapping.world_size}. "
                "Build the package again."
            )
    return EngineFiles(
        path=path,
        flow="engine",
        max_batch_size=build.max_batch_size,
        max_seq_len=build.max_seq_len,
        max_num_tokens=build.max_num_tokens,
        vocab_size=model.vocab_size,
        world_size=model.mapping.world_size,
        cuts_prompts=bool(build.plugin_config.use_paged_context_fmha),
        tokens_per_block=build.plugin_config.tokens_per_block,
        kv_bytes_per_token=model.kv_bytes_per_token(model.quantization),
    )


def _checkpoint(path: Path, limits: Limits) -> EngineFiles:
    model, quantization = _read(path / CONFIG, ModelConfig), Quantization()
    if (path / QUANTIZATION_CONFIG).is_file():
        quantization = _read(path / QUANTIZATION_CONFIG, _QuantizationFile).quantization
        if quantization.quant_algo is None:
            raise PackageError(
                f"{path / QUANTIZATION_CONFIG} names no quant_algo for the weights, and TensorRT-LLM does not load "
                "that. Build the package again, with FP8 weights or with a BF16 KV cache."
            )
    if limits.max_seq_len > model.max_position_embeddings:
        raise PackageError(
            f"The package promises max_seq_len {limits.max_seq_len}, the checkpoint's max_position_embeddings is "
            f"{model.max_position_embeddings}. Lower limits.max_seq_len."
        )
    return EngineFiles(
        path=path,
        flow="pytorch",
        max_batch_size=limits.max_batch_size,
        max_seq_len=limits.max_seq_len,
        max_num_tokens=_CHECKPOINT_NUM_TOKENS,
        vocab_size=model.vocab_size,
        world_size=1,
        cuts_prompts=True,
        tokens_per_block=TOKENS_PER_BLOCK,
        kv_bytes_per_token=model.kv_bytes_per_token(quantization),
    )


def _check_limits(files: EngineFiles, limits: Limits) -> None:
    for name, promised, held in (
        ("max_batch_size", limits.max_batch_size, files.max_batch_size),
        ("max_seq_len", limits.max_seq_len, files.max_seq_len),
    ):
        if promised > held:
            raise PackageError(
                f"The package promises {name} {promised}, the engine in {files.path} was built for {held}. "
                f"Lower limits.{name}, or build the engine with a larger --{name}."
            )
    if not files.cuts_prompts and limits.max_seq_len > files.max_num_tokens:
        raise PackageError(
            f"The package promises max_seq_len {limits.max_seq_len}, the engine in {files.path} takes "
            f"{files.max_num_tokens} tokens a step and cannot process a prompt in parts. Build it with "
            "--use_paged_context_fmha enable, or with a larger --max_num_tokens."
        )


def _read(path: Path, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, ValueError) as error:
        raise PackageError(f"{path} cannot be used: {error}. Build the package again.") from error
