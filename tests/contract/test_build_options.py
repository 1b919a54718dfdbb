"""The command lines for TensorRT-LLM's scripts have no option that they do not know, and no value that they refuse."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from nemotron_build.checkpoint.check import Checkpoint, check_checkpoint
from nemotron_build.convert.trtllm import CONVERT_SCRIPT, QUANTIZE_SCRIPT, convert_command, quantize_command
from nemotron_build.profiles import Profile, ProfileLimits
from tests.unit.build.tiny import tiny_checkpoint

from .option_parser import parse_options, recorded_options

PROFILE = Profile(
    name="test",
    description="",
    target="tensorrt_llm",
    precision="fp8",
    gpu="h100",
    tp_size=2,
    limits=ProfileLimits(max_batch_size=8, max_seq_len=256),
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return check_checkpoint(tiny_checkpoint(tmp_path_factory.mktemp("source")))


def test_convert_checkpoint_knows_every_option(checkpoint: Checkpoint, tmp_path: Path) -> None:
    profile = msgspec.structs.replace(PROFILE, precision="bf16")
    _, script, *arguments = convert_command(checkpoint, profile, tmp_path / "out")
    assert script == str(CONVERT_SCRIPT) == f"/app/tensorrt_llm/{_script('llama_convert_checkpoint')}"
    options = parse_options("llama_convert_checkpoint", arguments)
    assert options.model_dir == str(checkpoint.path)
    assert options.output_dir == str(tmp_path / "out")
    assert (options.dtype, options.tp_size) == ("bfloat16", 2)
    assert not options.use_fp8  # it sets the format and calibrates nothing


@pytest.mark.parametrize("precision", ["fp8", "bf16"])
@pytest.mark.parametrize("kv_cache", ["fp8", "bf16"])
def test_quantize_knows_every_option(checkpoint: Checkpoint, tmp_path: Path, precision: str, kv_cache: str) -> None:
    profile = msgspec.structs.replace(PROFILE, precision=precision, kv_cache=kv_cache)
    _, script, *arguments = quantize_command(checkpoint, profile, tmp_path / "texts", tmp_path / "out")
    assert script == str(QUANTIZE_SCRIPT) == f"/app/tensorrt_llm/{_script('quantize')}"
    options = parse_options("quantize", arguments)
    assert options.qformat == ("fp8" if precision == "fp8" else "full_prec")
    assert options.kv_cache_dtype == ("fp8" if kv_cache == "fp8" else None)
    assert options.calib_dataset == str(tmp_path / "texts")
    assert (options.calib_size, options.calib_max_seq_length) == (512, 512)
    assert (options.dtype, options.tp_size) == ("bfloat16", 2)


def test_the_parser_refuses_what_a_tool_does_not_know() -> None:
    with pytest.raises(ValueError, match="unrecognized arguments: --export_format"):
        parse_options("quantize", ["--export_format", "hf"])
    with pytest.raises(ValueError, match="invalid choice: 'fp7'"):
        parse_options("quantize", ["--qformat", "fp7"])
    with pytest.raises(ValueError, match="invalid int value: 'two'"):
        parse_options("llama_convert_checkpoint", ["--tp_size", "two"])
    with pytest.raises(ValueError, match="unrecognized arguments: --tp_size"):
        parse_options("trtllm_build", ["--tp_size", "2"])
    with pytest.raises(ValueError, match="unrecognized arguments: --calib"):  # no abbreviations
        parse_options("quantize", ["--calib", "x"])


def _script(tool: str) -> str:
    name: str = recorded_options(tool)["tool"]
    return name
