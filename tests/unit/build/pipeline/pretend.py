"""A machine with an H100 and TensorRT-LLM that is not there, and conversions that take no time.

`python -m tests.unit.build.pipeline.pretend ARGUMENTS` is nemotron-build on that machine. PRETEND_HANG names a stage
that then hangs when it is half done, after writing the file PRETEND_HANG_MARK.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from nemotron_build import machine
from nemotron_build.checkpoint import files
from nemotron_build.checkpoint.check import Checkpoint
from nemotron_build.convert import conversion
from nemotron_build.pipeline import assemble
from nemotron_build.profiles import Profile
from nemotron_build.verify import converted as verify
from nemotron_build.verify.accuracy import AccuracyFigures
from nemotron_serving import package
from tests.fakes.nvml import nvml

H100 = machine.InstalledGpu("NVIDIA H100 80GB HBM3", "9.0", 81559 << 20)
LIBRARIES = {"tensorrt_llm": "1.2.1", "tensorrt": "10.14.1.48", "modelopt": "0.37.0"}
FIGURES = AccuracyFigures(0.97, 0.004, 1.001, 8.2, 4000, 20)

PROFILE = """\
description = "for tests"
target = "tensorrt_llm"
precision = "{precision}"
gpu = "h100"
flow = "{flow}"

[limits]
max_batch_size = 8
max_seq_len = 256
max_num_tokens = 512
max_tokens = 64
"""


def write_profile(directory: Path, *, precision: str = "fp8", flow: str = "engine") -> Path:
    path = directory / f"{precision}-{flow}.toml"
    path.write_text(PROFILE.format(precision=precision, flow=flow))
    return path


def pretend(
    patch: pytest.MonkeyPatch, *, gpus: tuple[machine.InstalledGpu, ...] = (H100,), **libraries: str | None
) -> None:
    """Give this process the machine, and conversions that write next to nothing."""
    there = {**LIBRARIES, **libraries}
    patch.setitem(sys.modules, "pynvml", nvml(gpus) if gpus else None)
    for variable in ("CUDA_VISIBLE_DEVICES", "CUDA_VERSION"):
        patch.delenv(variable, raising=False)
    patch.setattr(machine, "library_version", there.get)
    patch.setattr(conversion, "convert", convert)
    patch.setattr(verify, "verify_converted", lambda *_, **__: _at("verify", FIGURES))


def convert(checkpoint: Checkpoint, profile: Profile, output: Path, **_: Any) -> None:
    quantization = {"quant_algo": "FP8" if profile.precision == "fp8" else None, "kv_cache_quant_algo": None}
    mapping = {"world_size": profile.tp_size, "tp_size": profile.tp_size, "pp_size": 1}
    shape = checkpoint.shape
    config: dict[str, Any] = {"architecture": "LlamaForCausalLM", "dtype": "bfloat16", "vocab_size": shape.vocab_size}
    config |= {"num_hidden_layers": shape.num_layers, "num_attention_heads": shape.num_heads}
    config |= {"num_key_value_heads": shape.num_kv_heads, "hidden_size": shape.hidden_size}
    config |= {"max_position_embeddings": shape.max_position_embeddings}
    config |= {"mapping": mapping, "quantization": quantization}
    (output / "rank0.safetensors").write_bytes(b"half")
    _at("quantize" if profile.precision == "fp8" else "convert", None)
    (output / "rank0.safetensors").write_bytes(b"weights")
    (output / "config.json").write_text(json.dumps(config))


def hanging(patch: pytest.MonkeyPatch) -> None:
    """Let `check` and the package hang too, where that was asked for."""
    fingerprint, write = files.fingerprint_of, package.write_package
    patch.setattr(files, "fingerprint_of", _after("check", fingerprint))
    patch.setattr(assemble, "write_package", _after("package", write))


def _after(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def called(*arguments: Any) -> Any:
        _at(stage, None)
        return function(*arguments)

    return called


def _at(stage: str, value: Any) -> Any:
    if os.environ.get("PRETEND_HANG") == stage:
        Path(os.environ["PRETEND_HANG_MARK"]).write_text("hangs\n")
        time.sleep(60)
    return value


if __name__ == "__main__":
    from nemotron_build.cli import main

    with pytest.MonkeyPatch.context() as patch:
        pretend(patch)
        hanging(patch)
        sys.exit(main())


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
