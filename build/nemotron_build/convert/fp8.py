"""FP8: its scales, measured by NVIDIA ModelOpt, and values rounded with them.

The model reads the calibration texts, and the largest values decide: FP8 (E4M3) holds values up to 448, so a scale is
the largest magnitude seen divided by 448. Layers that read the same input become one matrix product in the engine, so
they share their scales: q, k and v; gate and up.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemotron_build.checkpoint.shape import ModelShape
from nemotron_build.errors import CheckpointError
from nemotron_build.steps import Report

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import LlamaForCausalLM

FP8_MAX = 448.0
"""The largest value of float8_e4m3fn."""

_GROUPS = (
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    ("self_attn.o_proj",),
    ("mlp.gate_proj", "mlp.up_proj"),
    ("mlp.down_proj",),
)
_DAMAGED = "The checkpoint's weights are damaged: check them with 'nemotron-build check --scan-values'."


@dataclass(frozen=True)
class Scales:
    """What an FP8 value is multiplied with to get the real one.

    Attributes:
        weights: Scales by the name of a source weight, such as `model.layers.0.mlp.up_proj.weight`. Empty for BF16
            weights.
        inputs: Scales of that layer's input, by the same names.
        keys: Scales of the KV cache's keys, by layer, at least 1. Empty for a BF16 KV cache.
        values: Scales of its values, likewise.
    """

    weights: dict[str, float] = field(default_factory=dict)
    inputs: dict[str, float] = field(default_factory=dict)
    keys: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


def measure_scales(
    checkpoint: Path,
    shape: ModelShape,
    prompts: Sequence[Sequence[int]],
    *,
    weights: bool,
    kv_cache: bool,
    report: Report,
) -> Scales:
    """Load the model, let it read the prompts one by one and take the scales from what ModelOpt saw.

    Args:
        checkpoint: Directory of the source.
        shape: The source's shape.
        prompts: Token ids.
        weights: Whether the linear layers become FP8.
        kv_cache: Whether the KV cache does.
        report: Hears of every prompt.

    Raises:
        CheckpointError: a weight or a layer's input was nothing but zeros, or not finite.
    """
    import torch

    with warnings.catch_warnings():
        # ModelOpt names the releases of transformers it was tried with: 0.37, that of the serving image, not even 4.57,
        # which is there beside it. The result is verified afterwards.
        warnings.filterwarnings("ignore", "transformers .* is (not tested|incompatible)", UserWarning)
        warnings.filterwarnings("ignore", "`torch.jit.* is deprecated", DeprecationWarning)
        import modelopt.torch.quantization as mtq

    config = deepcopy(mtq.FP8_DEFAULT_CFG)
    if kv_cache:
        of_cache, quantizers = mtq.FP8_KV_CFG["quant_cfg"], config["quant_cfg"]
        # A list with 0.47, a dictionary with the serving image's 0.37.
        config["quant_cfg"] = {**quantizers, **of_cache} if isinstance(quantizers, dict) else [*quantizers, *of_cache]
    model = _load(checkpoint, shape)

    def read_prompts(model: LlamaForCausalLM) -> None:
        for done, ids in enumerate(prompts):
            report("Calibrating, prompt", done, len(prompts))
            model(torch.tensor([ids], device=model.device), use_cache=False)
        report("Calibrating, prompt", len(prompts), len(prompts))

    with torch.inference_mode():
        try:
            mtq.quantize(model, config, read_prompts)
        except AssertionError as error:
            # With 0.47 "detected inf values in amax", of a NaN with 0.37 "detected negative values after abs".
            if not any(words in str(error) for words in ("in amax", "after abs")):
                raise
            raise CheckpointError(f"Calibration met values that are not finite. {_DAMAGED}") from error
        return _read(model, shape, weights=weights, kv_cache=kv_cache)


def to_fp8(weight: Tensor, scale: float) -> Tensor:
    """Round a weight to float8_e4m3fn: weight = FP8 value * scale.

    The division is done in float32, and its result then rounded once.
    """
    import torch

    return (weight.to(torch.float32) / scale_tensor(scale)).to(torch.float8_e4m3fn)


def scale_tensor(scale: float) -> Tensor:
    """A scale as float32 with one dimension of one value."""
    import torch

    return torch.tensor([scale], dtype=torch.float32)


def _load(checkpoint: Path, shape: ModelShape) -> LlamaForCausalLM:
    import torch
    from transformers import LlamaForCausalLM

    from nemotron_build.checkpoint.llama import check_rope, llama_config

    model = LlamaForCausalLM.from_pretrained(
        checkpoint,
        config=llama_config(shape),
        dtype=torch.bfloat16,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
    )
    check_rope(model, shape)
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def _read(model: LlamaForCausalLM, shape: ModelShape, *, weights: bool, kv_cache: bool) -> Scales:
    scales = Scales()
    for number in range(shape.num_layers):
        layer = f"model.layers.{number}"
        for group in _GROUPS if weights else ():
            linears = {f"{layer}.{name}": model.get_submodule(f"{layer}.{name}") for name in group}
            weight = max(_scale(linear.weight_quantizer, f"{name}'s weight") for name, linear in linears.items())
            entering = max(_scale(linear.input_quantizer, f"{name}'s input") for name, linear in linears.items())
            for name in group:
                scales.weights[f"{layer}.{name}.weight"] = weight
                scales.inputs[f"{layer}.{name}.weight"] = entering
        if kv_cache:
            attention = model.get_submodule(f"{layer}.self_attn")
            scales.keys.append(_cache_scale(attention.k_bmm_quantizer, f"{layer}'s keys"))
            scales.values.append(_cache_scale(attention.v_bmm_quantizer, f"{layer}'s values"))
    return scales


def _cache_scale(quantizer: Any, what: str) -> float:
    """At least 1, as ModelOpt recommends and its own export of 0.37 has it: a smaller one gains no accuracy.

    TensorRT-LLM's PyTorch flow stores an FP8 KV cache with scale 1 whatever the file says, so no other is judged.
    """
    return max(1.0, _scale(quantizer, what))


def _scale(quantizer: Any, what: str) -> float:
    largest = quantizer.amax.float()
    scale = float((largest / FP8_MAX).item())
    if not (math.isfinite(scale) and scale > 0):
        raise CheckpointError(
            f"Calibration saw {largest.item()} as the largest value of {what}, expected a positive number. {_DAMAGED}"
        )
    return scale
