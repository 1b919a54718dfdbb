"""What a TensorRT-LLM checkpoint holds, tensor by tensor in the order of its files, against recorded lists.

The lists are of our own files for the tiny model. They were compared by hand with TensorRT-LLM 0.17's own scripts, run
on a CPU: convert_checkpoint.py gave the same bytes for one and two ranks, quantize.py with ModelOpt 0.37 the same
names, shapes and types. convert_checkpoint.py adds three tables of the rope, which `verify` takes and no engine needs.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nemotron_build.checkpoint.shape import read_shape
from nemotron_build.checkpoint.weights import SourceTensors
from nemotron_build.convert.fp8 import Scales
from tests.unit.build.tiny import tiny_checkpoint

LISTS = Path(__file__).parent / "listings"


def listing(file: Path) -> str:
    """One line for each tensor, in the order of the file: name, type, dimensions."""
    content = file.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    header.pop("__metadata__")
    tensors = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
    return "".join(f"{name} {one['dtype']} {'x'.join(map(str, one['shape']))}\n" for name, one in tensors)


def fp8_scales(path: Path) -> Scales:
    layers = range(read_shape(path).num_layers)
    weights = [name for name in SourceTensors(path, read_shape(path)).records if name.endswith("_proj.weight")]
    ones = dict.fromkeys(weights, 1.0)
    return Scales(ones, ones, [1.0 for _ in layers], [1.0 for _ in layers])


@pytest.mark.parametrize("tp_size", [1, 2])
@pytest.mark.parametrize("precision", ["bf16", "fp8"])
def test_the_tensors_are_those_of_the_list(tmp_path: Path, precision: str, tp_size: int) -> None:
    from nemotron_build.convert.trtllm_checkpoint import write_trtllm_checkpoint

    path = tiny_checkpoint(tmp_path / "source", layers=2)
    shape = read_shape(path)
    scales = fp8_scales(path) if precision == "fp8" else Scales()
    write_trtllm_checkpoint(
        SourceTensors(path, shape), shape, scales, tmp_path, tp_size=tp_size, report=lambda _what, _done, _total: None
    )
    expected = (LISTS / f"{precision}-tp{tp_size}.txt").read_text()
    assert [listing(tmp_path / f"rank{rank}.safetensors") for rank in range(tp_size)] == [expected] * tp_size
