"""The TensorRT-LLM checkpoint: config.json and a rank*.safetensors for each tensor-parallel rank."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from nemotron_build.checkpoint.shape import ARCHITECTURE, CONFIG, ModelShape, RopeScaling
from nemotron_build.checkpoint.tensors import OUTPUT, expected_tensors
from nemotron_build.convert.trtllm_checkpoint import kv_scale, rank_file, target_tensors
from nemotron_build.errors import VerificationError
from nemotron_build.profiles import Profile
from nemotron_build.verify.expected import (
    AGAIN,
    Claim,
    Converted,
    KvScale,
    Weight,
    excluded,
    pieces,
    read_object,
    rope_claims,
)
from nemotron_build.verify.tensors_and_scales import read_records

# TensorRT-LLM's convert_checkpoint.py writes out its tables of the rope; an engine is built with new ones.
_ROPE_TABLES = frozenset(("embed_positions", "embed_positions_for_gpt_attention", "rotary_inv_freq"))
_OTHER_TP = "Convert it again with this profile, or name the profile it was converted with."
# Fields of the shape by their names here.
_FIELDS = {
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "num_kv_heads": "num_key_value_heads",
    "head_dim": "head_size",
    "vocab_size": "vocab_size",
    "max_position_embeddings": "max_position_embeddings",
    "rms_norm_eps": "norm_epsilon",
    "rope_theta": "rotary_base",
    "dtype": "dtype",
}


class _Mapping(msgspec.Struct):
    world_size: int = 1
    tp_size: int = 1
    pp_size: int = 1


class _Quantization(msgspec.Struct):
    quant_algo: str | None = None
    kv_cache_quant_algo: str | None = None
    exclude_modules: list[str] | None = None


class _Config(msgspec.Struct):
    """config.json with the defaults of TensorRT-LLM 1.2: `PretrainedConfig`, and `LLaMAConfig` for the rope."""

    architecture: str
    dtype: str
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    vocab_size: int
    hidden_act: str = "gelu"
    norm_epsilon: float = 1e-5
    position_embedding_type: str = "learned_absolute"
    max_position_embeddings: int | None = None
    num_key_value_heads: int | None = None
    intermediate_size: int | None = None
    head_size: int | None = None
    rotary_base: float = 10000.0
    rotary_scaling: dict[str, Any] | None = None
    rotary_pct: float = 1.0
    rotary_embedding_dim: int | None = None
    tie_word_embeddings: bool | None = None
    attn_bias: bool = False
    mlp_bias: bool = False
    use_parallel_embedding: bool = False
    embedding_sharding_dim: int = 0
    share_embedding_table: bool = False
    mapping: _Mapping = msgspec.field(default_factory=_Mapping)
    quantization: _Quantization = msgspec.field(default_factory=_Quantization)


class _Llama3Scaling(msgspec.Struct):
    """Rope scaling with the defaults of TensorRT-LLM's `RopeEmbeddingUtils.apply_llama3_scaling`."""

    factor: float = 8.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192


class TensorRtLlmConfig:
    """config.json of a TensorRT-LLM checkpoint.

    Raises:
        VerificationError: it is missing, or not such a config.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / CONFIG
        self._raw = read_object(self._path)
        try:
            self._config = msgspec.convert(self._raw, _Config)
            self._scaling = _read_scaling(self._config.rotary_scaling)
        except ValueError as error:
            raise VerificationError(f"{self._path} cannot be used: {error}. {AGAIN}") from error

    @property
    def shape(self) -> ModelShape:
        """The model that TensorRT-LLM would build from it."""
        config = self._config
        return ModelShape(
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size or 4 * config.hidden_size,
            num_layers=config.num_hidden_layers,
            num_heads=config.num_attention_heads,
            num_kv_heads=config.num_key_value_heads or config.num_attention_heads,
            head_dim=config.head_size or config.hidden_size // config.num_attention_heads,
            vocab_size=config.vocab_size,
            max_position_embeddings=config.max_position_embeddings or 0,
            rms_norm_eps=config.norm_epsilon,
            rope_theta=config.rotary_base,
            rope_scaling=self._scaling,
            tie_word_embeddings=config.share_embedding_table,
            dtype=config.dtype,
        )

    @property
    def _rotary_dim(self) -> int:
        written = self._config.rotary_embedding_dim
        return int(self.shape.head_dim * self._config.rotary_pct) if written is None else written

    def claims(self, source: ModelShape, profile: Profile) -> Iterator[Claim]:
        """What has to be so for this source and profile."""
        yield Claim(self._path, "architecture", self._config.architecture, ARCHITECTURE)
        found, expected = self.shape, replace(source, dtype="bfloat16")
        for attribute, field in _FIELDS.items():
            yield self._claim(field, getattr(found, attribute), getattr(expected, attribute))
        yield from rope_claims(
            self._path,
            "rotary_scaling",
            self._scaling,
            source.rope_scaling,
            written=self._config.rotary_scaling is not None,
        )
        for field, value in (
            ("hidden_act", "silu"),
            ("position_embedding_type", "rope_gpt_neox"),
            ("attn_bias", False),
            ("mlp_bias", False),
        ):
            yield self._claim(field, getattr(self._config, field), value)
        yield self._claim("rotary_embedding_dim", self._rotary_dim, source.head_dim)
        if self._config.tie_word_embeddings is not None:
            yield self._claim("tie_word_embeddings", self._config.tie_word_embeddings, source.tie_word_embeddings)
        if not source.tie_word_embeddings:
            yield self._claim("share_embedding_table", self._config.share_embedding_table, False)
        yield from self._mapping_claims(profile)
        yield from self._quantization_claims(source, profile)

    def converted(self, source: ModelShape, profile: Profile) -> Converted:
        """What the files have to hold, once the claims are known to be true."""
        config = self._config
        axis = config.embedding_sharding_dim if config.use_parallel_embedding else None
        targets = target_tensors(source, embedding_axis=axis)
        if config.share_embedding_table:
            targets = [target for target in targets if target.name != OUTPUT]
        sizes = expected_tensors(source)
        weights = []
        kv_scales = []
        optional = set(_ROPE_TABLES)
        for rank in range(profile.tp_size):
            for target in targets:
                shape, parts = pieces(target.sources, sizes, target.split_axis, rank, profile.tp_size)
                quantized = target.quantized and profile.precision == "fp8"
                scales = (target.weight_scale, target.activation_scale) if quantized else ()
                weights.append(Weight(rank, target.name, shape, parts, *scales))
            if profile.kv_cache == "fp8":
                for layer in range(source.num_layers):
                    name = kv_scale(layer)
                    kv_scales.append(KvScale(rank, name, layer))
                    # ModelOpt's own exporter writes these two beside it.
                    optional |= {name.replace(".kv_", f".{which}_") for which in "kv"}
        return Converted(
            directory=self._path.parent,
            shape=self.shape,
            ranks=_read_ranks(self._path.parent, profile.tp_size),
            weights=tuple(weights),
            kv_scales=tuple(kv_scales),
            optional=frozenset(optional),
        )

    def _mapping_claims(self, profile: Profile) -> Iterator[Claim]:
        found = self._config.mapping
        raw = self._raw.get("mapping") or {}
        for field, value in (("tp_size", profile.tp_size), ("pp_size", 1), ("world_size", profile.tp_size)):
            yield Claim(
                self._path, f"mapping.{field}", getattr(found, field), value, written=field in raw, remedy=_OTHER_TP
            )

    def _quantization_claims(self, source: ModelShape, profile: Profile) -> Iterator[Claim]:
        found = self._config.quantization
        raw = self._raw.get("quantization") or {}
        fp8 = profile.precision == "fp8"
        for field, value in (
            ("quant_algo", "FP8" if fp8 else None),
            ("kv_cache_quant_algo", "FP8" if profile.kv_cache == "fp8" else None),
        ):
            yield Claim(self._path, f"quantization.{field}", getattr(found, field), value, written=field in raw)
        # Where nothing is excluded by name, TensorRT-LLM leaves out what is no layer's linear weight.
        if fp8 and found.exclude_modules is not None:
            modules = [
                target.name.removesuffix(".weight")
                for target in target_tensors(source)
                if target.quantized or target.name == OUTPUT
            ]
            yield Claim(
                self._path,
                "quantization.exclude_modules",
                excluded(modules, found.exclude_modules),
                [OUTPUT.removesuffix(".weight")],
            )

    def _claim(self, field: str, found: object, expected: object) -> Claim:
        return Claim(self._path, field, found, expected, written=field in self._raw)


def _read_scaling(scaling: dict[str, Any] | None) -> RopeScaling | None:
    if scaling is None:
        return None
    kind = scaling.get("type", scaling.get("rope_type"))
    if kind != "llama3":
        raise ValueError(f"rotary_scaling is of type {kind!r}, expected 'llama3' or no rotary_scaling")
    found = msgspec.convert(scaling, _Llama3Scaling)
    return RopeScaling(
        found.factor, found.low_freq_factor, found.high_freq_factor, found.original_max_position_embeddings
    )


def _read_ranks(directory: Path, tp_size: int) -> tuple[dict[str, Any], ...]:
    expected = [rank_file(rank) for rank in range(tp_size)]
    unknown = sorted({path.name for path in directory.glob("*.safetensors")} - set(expected))
    if unknown:
        raise VerificationError(f"{directory / unknown[0]} belongs to no rank; tp_size is {tp_size}. {_OTHER_TP}")
    return tuple(read_records(directory / name) for name in expected)
