"""A stand-in for trtllm-build: it takes the options that the real one takes, and leaves the files that it leaves.

What TensorRT-LLM does with the settings is done here too, as its source has it: FP8 attention over prompts follows the
KV cache, and max_num_tokens is cut to what all requests have together. Nothing is compiled.

Variables of the environment make it behave badly: TRTLLM_BUILD_FAKE is `fail`, `full`, `hang` or `old`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
VERSION = "1.2.1"


def install(directory: Path) -> Path:
    """Write an executable `trtllm-build` into a directory, to be put on PATH."""
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / "trtllm-build"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m tests.fakes.trtllm_build "$@"\n')
    program.chmod(0o755)
    return directory


def main(arguments: list[str]) -> None:
    from tests.contract.option_parser import parse_options, recorded_options

    print("[TensorRT-LLM] TensorRT-LLM version: 1.2.1", flush=True)
    options = parse_options(arguments)
    for option in recorded_options():
        name = option["flags"][0].removeprefix("--")
        if getattr(options, name) is None:
            setattr(options, name, option["default"])
    behaviour = os.environ.get("TRTLLM_BUILD_FAKE", "")
    if behaviour == "fail":
        sys.exit("[TRT] [E] Error Code 2: OutOfMemory (no further information)")
    checkpoint = json.loads((Path(options.checkpoint_dir) / "config.json").read_text())
    output = Path(options.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    Path(options.output_timing_cache).write_bytes(b"timings")
    (output / "rank0.engine").write_bytes(b"half")
    if behaviour == "hang":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
        Path(os.environ["TRTLLM_BUILD_FAKE_PIDS"]).write_text(f"{os.getpid()} {child.pid}\n")
        time.sleep(120)
    if behaviour == "full":
        raise OSError(28, "No space left on device")
    config = _config(options, checkpoint, "1.2.0" if behaviour == "old" else VERSION)
    (output / "config.json").write_text(json.dumps(config, indent=4))
    for rank in range(checkpoint["mapping"]["world_size"]):
        (output / f"rank{rank}.engine").write_bytes(b"engine")


def _config(options: Any, checkpoint: dict[str, Any], version: str) -> dict[str, Any]:
    quantization = checkpoint.get("quantization", {})
    fp8 = quantization.get("quant_algo") == "FP8"
    fp8_kv = quantization.get("kv_cache_quant_algo") == "FP8"
    plugins = {
        name: {"enable": True, "disable": None}.get(getattr(options, name), getattr(options, name))
        for name in (
            "gpt_attention_plugin", "gemm_plugin", "gemm_swiglu_plugin", "remove_input_padding",
            "use_paged_context_fmha", "multiple_profiles", "tokens_per_block",
        )
    }  # fmt: skip
    plugins["use_fp8_context_fmha"] = fp8 and fp8_kv
    if fp8_kv and not fp8:
        plugins["use_paged_context_fmha"] = False
    build = {
        "max_input_len": options.max_input_len,
        "max_seq_len": options.max_seq_len,
        "max_batch_size": options.max_batch_size,
        "max_beam_width": options.max_beam_width,
        "max_num_tokens": min(options.max_num_tokens, options.max_batch_size * options.max_seq_len),
        "kv_cache_type": "PAGED",
        "plugin_config": plugins,
    }
    return {"version": version, "pretrained_config": checkpoint, "build_config": build}


if __name__ == "__main__":
    main(sys.argv[1:])
