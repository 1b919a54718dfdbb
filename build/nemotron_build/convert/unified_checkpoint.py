"""Writing a unified Hugging Face checkpoint, what TensorRT-LLM's PyTorch flow serves without an engine.

It looks as the source does: the same config.json, tokenizer and shards. FP8 weights have `weight_scale` and
`input_scale` beside them, and `quantization_config` and hf_quant_config.json say so in ModelOpt's terms.
"""

from __future__ import annotations

import codecs
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemotron_build.checkpoint.generation import GENERATION_CONFIG
from nemotron_build.checkpoint.shape import CONFIG, ModelShape
from nemotron_build.checkpoint.tensors import INDEX
from nemotron_build.checkpoint.tokenizer import CHAT_TEMPLATE, TOKENIZER, TOKENIZER_CONFIG
from nemotron_build.checkpoint.weights import SourceTensors
from nemotron_build.convert.fp8 import Scales, scale_tensor, to_fp8
from nemotron_build.json_file import read_object, write_json
from nemotron_build.steps import Report
from nemotron_serving import __version__
from nemotron_serving.engine.tensorrt_llm.files import QUANTIZATION_CONFIG

if TYPE_CHECKING:
    from torch import Tensor

_COPIED = (
    TOKENIZER,
    TOKENIZER_CONFIG,
    "special_tokens_map.json",
    CHAT_TEMPLATE,
    "chat_template.json",
    GENERATION_CONFIG,
)
_FP8 = {"dynamic": False, "num_bits": 8, "type": "float"}
_PRODUCER = {"name": "nemotron-triton", "version": __version__}
_NOT_QUANTIZED = ["lm_head"]


def write_unified_checkpoint(
    checkpoint: Path, source: SourceTensors, shape: ModelShape, scales: Scales, output: Path, *, report: Report
) -> None:
    """Write the checkpoint into `output`, an empty directory. Without scales its weights are in BF16."""
    from safetensors.torch import save_file

    placed: dict[str, str] = {}
    total_bytes = 0
    shards = sorted({record.file for record in source.records.values()})
    for shard in shards:
        tensors: dict[str, Tensor] = {}
        names = [name for name, record in source.records.items() if record.file == shard]
        for name in names:
            report("Converting, tensor", len(placed) + len(tensors), len(source.records))
            tensors |= _tensors(name, source, scales)
        save_file(tensors, output / shard.name, {"format": "pt"})
        placed |= dict.fromkeys(tensors, shard.name)
        total_bytes += sum(tensor.nbytes for tensor in tensors.values())
    report("Converting, tensor", len(source.records), len(source.records))
    if len(shards) > 1:
        write_json(output / INDEX, {"metadata": {"total_size": total_bytes}, "weight_map": placed})
    for name in _COPIED:
        if (checkpoint / name).is_file():
            # Not every reader of JSON takes a byte order mark.
            (output / name).write_bytes((checkpoint / name).read_bytes().removeprefix(codecs.BOM_UTF8))
    write_json(output / CONFIG, unified_config(read_object(checkpoint / CONFIG), shape, scales))
    if scales.weights:
        write_json(output / QUANTIZATION_CONFIG, {"producer": _PRODUCER, "quantization": _quantization(scales)})


def unified_config(source: dict[str, Any], shape: ModelShape, scales: Scales) -> dict[str, Any]:
    """config.json: the source's, with rope and dtype in the spelling that every release of transformers reads."""
    scaling = shape.rope_scaling
    config = {name: value for name, value in source.items() if name not in ("rope_parameters", "dtype")}
    config |= {
        "rope_theta": shape.rope_theta,
        "rope_scaling": {**asdict(scaling), "rope_type": "llama3"} if scaling else None,
        "torch_dtype": "bfloat16",
    }
    if scales.weights:
        groups = {"group_0": {"input_activations": _FP8, "weights": _FP8, "targets": ["Linear"]}}
        config["quantization_config"] = {
            "config_groups": groups,
            "ignore": _NOT_QUANTIZED,
            "quant_algo": "FP8",
            "kv_cache_scheme": _FP8 if scales.keys else None,
            "producer": _PRODUCER,
            "quant_method": "modelopt",
        }
    return config


def _quantization(scales: Scales) -> dict[str, Any]:
    return {
        "quant_algo": "FP8",
        "kv_cache_quant_algo": "FP8" if scales.keys else None,
        "exclude_modules": _NOT_QUANTIZED,
    }


def _tensors(name: str, source: SourceTensors, scales: Scales) -> dict[str, Tensor]:
    weight = source.read(name)
    module = name.removesuffix(".weight")
    tensors = {name: weight}
    if name in scales.weights:
        tensors = {
            name: to_fp8(weight, scales.weights[name]),
            f"{module}.weight_scale": scale_tensor(scales.weights[name]).squeeze(),
            f"{module}.input_scale": scale_tensor(scales.inputs[name]).squeeze(),
        }
    for projection, of_layers, scale in (("k_proj", scales.keys, "k_scale"), ("v_proj", scales.values, "v_scale")):
        if of_layers and module.endswith(f".{projection}"):
            layer = int(module.split(".")[2])
            tensors[f"{module}.{scale}"] = scale_tensor(of_layers[layer]).squeeze()
    return tensors
