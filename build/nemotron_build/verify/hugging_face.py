"""The unified Hugging Face checkpoint: config.json, hf_quant_config.json, safetensors with scales beside weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from nemotron_build.checkpoint.shape import CONFIG, ModelShape, read_shape
from nemotron_build.checkpoint.tensors import expected_tensors, read_tensors
from nemotron_build.errors import CheckpointError, VerificationError
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
from nemotron_serving.engine.tensorrt_llm.files import QUANTIZATION_CONFIG

_OLD_READER = (
    "TensorRT-LLM 1.2 reads the rope as transformers 4 does, from rope_theta and rope_scaling, "
    "and takes 10000 and no scaling where they are missing. Write them beside rope_parameters."
)
# Fields of the shape by their names here.
_FIELDS = {
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "num_kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "vocab_size": "vocab_size",
    "max_position_embeddings": "max_position_embeddings",
    "rms_norm_eps": "rms_norm_eps",
    "rope_theta": "rope_theta",
    "tie_word_embeddings": "tie_word_embeddings",
    "dtype": "dtype",
}


class _Quantization(msgspec.Struct):
    quant_algo: str | None = None
    kv_cache_quant_algo: str | None = None
    exclude_modules: list[str] = []


class HuggingFaceConfig:
    """config.json and hf_quant_config.json of a unified Hugging Face checkpoint.

    Raises:
        VerificationError: one of them cannot be used.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / CONFIG
        self._raw = read_object(self._path)
        self._quantization_path = directory / QUANTIZATION_CONFIG
        try:
            self.shape = read_shape(directory)
            self._quantization = _read_quantization(self._quantization_path)
        except (CheckpointError, ValueError) as error:
            raise VerificationError(f"{directory} is not a usable checkpoint: {error} {AGAIN}") from error

    def claims(self, source: ModelShape, profile: Profile) -> Iterator[Claim]:
        """What has to be so for this source and profile."""
        expected = replace(source, dtype="bfloat16")
        for attribute, field in _FIELDS.items():
            yield Claim(self._path, field, getattr(self.shape, attribute), getattr(expected, attribute))
        yield from rope_claims(
            self._path,
            "rope_scaling",
            self.shape.rope_scaling,
            source.rope_scaling,
            written="rope_scaling" in self._raw,
        )
        yield from self._old_rope_claims(source)
        yield from self._quantization_claims(source, profile)

    def converted(self, source: ModelShape, profile: Profile) -> Converted:
        """What the files have to hold, once the claims are known to be true."""
        sizes = expected_tensors(source)
        weights = []
        for name in sizes:
            shape, parts = pieces((name,), sizes, None, 0, 1)
            module = name.removesuffix(".weight")
            quantized = profile.precision == "fp8" and module.endswith("_proj")
            scales = (f"{module}.weight_scale", f"{module}.input_scale") if quantized else ()
            weights.append(Weight(0, name, shape, parts, *scales))
        kv_scales = []
        if profile.kv_cache == "fp8":
            for layer in range(source.num_layers):
                attention = f"model.layers.{layer}.self_attn"
                kv_scales.append(KvScale(0, f"{attention}.k_proj.k_scale", layer, values=False))
                kv_scales.append(KvScale(0, f"{attention}.v_proj.v_scale", layer, keys=False))
        try:
            records = read_tensors(self._path.parent)
        except CheckpointError as error:
            raise VerificationError(f"{self._path.parent} is incomplete: {error} {AGAIN}") from error
        return Converted(self._path.parent, self.shape, (records,), tuple(weights), tuple(kv_scales))

    def _old_rope_claims(self, source: ModelShape) -> Iterator[Claim]:
        theta = self._raw.get("rope_theta", 10000.0)
        yield Claim(
            self._path,
            "rope_theta",
            float(theta),
            source.rope_theta,
            written="rope_theta" in self._raw,
            remedy=_OLD_READER,
        )
        scaling = self._raw.get("rope_scaling") or {}
        kind = scaling.get("rope_type", scaling.get("type"))
        yield Claim(
            self._path,
            "rope_scaling",
            None if kind == "default" else kind,
            "llama3" if source.rope_scaling else None,
            written="rope_scaling" in self._raw,
            remedy=_OLD_READER,
        )

    def _quantization_claims(self, source: ModelShape, profile: Profile) -> Iterator[Claim]:
        found = self._quantization
        fp8 = profile.precision == "fp8"
        written = self._quantization_path.exists()
        for field, value in (
            ("quant_algo", "FP8" if fp8 else None),
            ("kv_cache_quant_algo", "FP8" if profile.kv_cache == "fp8" else None),
        ):
            yield Claim(self._quantization_path, f"quantization.{field}", getattr(found, field), value, written=written)
        if fp8:
            names = [name.removesuffix(".weight") for name in expected_tensors(source)]
            linear = [name for name in names if name.endswith("_proj")]
            yield Claim(
                self._quantization_path,
                "quantization.exclude_modules",
                excluded([*linear, "lm_head"], found.exclude_modules),
                ["lm_head"],
            )
        # Other servers read this copy of it.
        copy: dict[str, Any] = self._raw.get("quantization_config") or {}
        yield Claim(
            self._path,
            "quantization_config.quant_algo",
            copy.get("quant_algo"),
            "FP8" if fp8 else None,
            written="quant_algo" in copy,
        )


def _read_quantization(path: Path) -> _Quantization:
    if not path.exists():
        return _Quantization()
    return msgspec.convert(read_object(path).get("quantization", {}), _Quantization)
