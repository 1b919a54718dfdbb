"""Packages for the fake TensorRT-LLM: configuration files of both flows, and no weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from nemotron_serving.package import TOKENIZER, Package, write_package
from tests.unit.serving.support import byte_tokenizer, manifest, serving_config

LIMITS = {"max_seq_len": 8192, "max_batch_size": 8}
MODEL = {"vocab_size": 259, "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64}
BUILD = {"max_batch_size": 8, "max_seq_len": 8192, "max_num_tokens": 1024}


def engine_config(**build: Any) -> dict[str, Any]:
    pretrained = {**MODEL, "mapping": {"world_size": 1}, "quantization": {"kv_cache_quant_algo": None}}
    return {"version": "1.2.1", "pretrained_config": pretrained, "build_config": {**BUILD, **build}}


def checkpoint_config(**model: Any) -> dict[str, Any]:
    return {**MODEL, "architectures": ["LlamaForCausalLM"], "max_position_embeddings": 131072, **model}


def make_package(path: Path, flow: str, config: dict[str, Any] | None = None, **changes: Any) -> Package:
    """A package of a flow; `changes` are of `serving_config`, `version` of its manifest."""
    (path / "engine").mkdir(parents=True)
    config = config or (engine_config() if flow == "engine" else checkpoint_config())
    (path / "engine" / "config.json").write_bytes(msgspec.json.encode(config))
    (path / "engine" / ("rank0.engine" if flow == "engine" else "model.safetensors")).write_bytes(b"weights")
    byte_tokenizer().save(str(path / TOKENIZER))
    version = changes.pop("version", "1.2.1")
    spec = manifest(kind="tensorrt_llm", version=version, device="NVIDIA H100 80GB HBM3")
    return write_package(path, spec, serving_config(**(LIMITS | changes)))
