"""Headers and values of safetensors files, whole and damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from nemotron_build.checkpoint.shape import read_shape
from nemotron_build.checkpoint.tensors import INDEX, WEIGHTS, expected_tensors, load_tensor, read_file, read_tensors
from nemotron_build.errors import CheckpointError
from tests.unit.build.tiny import random_weights, tiny_checkpoint

_FIRST = "model-00001-of-00003.safetensors"


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    return tiny_checkpoint(tmp_path / "sharded", shards=3)


@pytest.mark.parametrize("shards", [1, 3])
def test_every_value_comes_back(tmp_path: Path, shards: int) -> None:
    directory = tiny_checkpoint(tmp_path, shards=shards)
    records = read_tensors(directory)
    assert {name: record.shape for name, record in records.items()} == expected_tensors(read_shape(directory))
    for name, values in random_weights(directory, seed=0).items():
        loaded = load_tensor(records[name])
        assert loaded.dtype == ml_dtypes.bfloat16
        np.testing.assert_array_equal(loaded, values)


@pytest.mark.parametrize(
    ("dtype", "word"),
    [
        (ml_dtypes.float8_e4m3fn, "F8_E4M3"),
        (ml_dtypes.float8_e5m2, "F8_E5M2"),
        (np.float16, "F16"),
        (np.float32, "F32"),
        (np.int8, "I8"),
        (np.bool_, "BOOL"),
    ],
    ids=str,
)
def test_dtypes(tmp_path: Path, dtype: Any, word: str) -> None:
    values = np.array([[0, 1], [1, 1]]).astype(dtype)
    save_file({"values": values, "scalar": np.ones((), dtype), "empty": np.empty((0, 4), dtype)}, tmp_path / "f")
    records = read_file(tmp_path / "f")
    assert {record.dtype for record in records.values()} == {word}
    np.testing.assert_array_equal(load_tensor(records["values"]), values)
    assert load_tensor(records["scalar"]).shape == ()
    assert load_tensor(records["empty"]).shape == (0, 4)


def test_values_are_a_view_of_the_file(checkpoint: Path) -> None:
    loaded = load_tensor(read_tensors(checkpoint)["model.norm.weight"])
    assert isinstance(loaded, np.memmap)
    assert not loaded.flags.writeable


def test_unknown_dtype_is_listed_but_not_loaded(tmp_path: Path) -> None:
    _write(tmp_path / "f", {"packed": {"dtype": "F4", "shape": [4], "data_offsets": [0, 2]}}, b"\0\0")
    record = read_file(tmp_path / "f")["packed"]
    assert (record.dtype, record.bytes) == ("F4", 2)
    with pytest.raises(CheckpointError, match="holds F4, expected one of BF16"):
        load_tensor(record)


@pytest.mark.parametrize("kept", [0, 4, 8, 100, 4000, -1])
def test_cut_short(checkpoint: Path, kept: int) -> None:
    path = checkpoint / WEIGHTS
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=rf"{WEIGHTS} has .* bytes, .*Download it again"):
        read_tensors(checkpoint)


def test_too_long(checkpoint: Path) -> None:
    with (checkpoint / WEIGHTS).open("ab") as file:
        file.write(b"more")
    with pytest.raises(CheckpointError, match="its header says"):
        read_tensors(checkpoint)


def test_pointer_of_git_lfs(checkpoint: Path) -> None:
    (checkpoint / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    with pytest.raises(CheckpointError, match="Run 'git lfs pull'"):
        read_tensors(checkpoint)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
        {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1]},
        {"dtype": "F32", "shape": "wide", "data_offsets": [0, 4]},
    ],
    ids=["size", "gap", "negative", "no offsets", "no shape"],
)
def test_impossible_header(tmp_path: Path, entry: dict[str, Any]) -> None:
    _write(tmp_path / "f", {"values": entry}, bytes(8))
    with pytest.raises(CheckpointError, match=r"f(:| cannot be read).*Download it again"):
        read_file(tmp_path / "f")


def test_header_that_is_not_json(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes((4).to_bytes(8, "little") + b"\xff\xfe{}")
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        read_file(tmp_path / "f")


def test_missing_shard(sharded: Path) -> None:
    (sharded / _FIRST).unlink()
    with pytest.raises(CheckpointError, match=rf"{_FIRST} is missing; {INDEX} names it"):
        read_tensors(sharded)


def test_missing_index(sharded: Path) -> None:
    (sharded / INDEX).unlink()
    with pytest.raises(CheckpointError, match=f"has neither {WEIGHTS} nor {INDEX}"):
        read_tensors(sharded)


def test_index_that_puts_a_tensor_elsewhere(sharded: Path) -> None:
    _place(sharded, "model.norm.weight", _FIRST)
    with pytest.raises(CheckpointError, match=rf"{_FIRST} does not hold model.norm.weight"):
        read_tensors(sharded)


def test_index_that_leaves_the_directory(sharded: Path) -> None:
    _place(sharded, "model.norm.weight", "../outside.safetensors")
    with pytest.raises(CheckpointError, match="expected one beside it"):
        read_tensors(sharded)


def test_index_that_is_not_json(sharded: Path) -> None:
    (sharded / INDEX).write_text("{")
    with pytest.raises(CheckpointError, match=rf"{INDEX} cannot be used"):
        read_tensors(sharded)


def test_one_file_and_an_index_of_others(sharded: Path, checkpoint: Path) -> None:
    (checkpoint / WEIGHTS).rename(sharded / WEIGHTS)
    with pytest.raises(CheckpointError, match="Remove the one that is not wanted"):
        read_tensors(sharded)


def test_file_that_has_gone(checkpoint: Path) -> None:
    record = read_tensors(checkpoint)["model.norm.weight"]
    record.file.unlink()
    with pytest.raises(CheckpointError, match="Was it changed meanwhile"):
        load_tensor(record)


def _write(path: Path, header: dict[str, Any], values: bytes) -> None:
    encoded = json.dumps(header).encode()
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + values)


def _place(directory: Path, tensor: str, file: str) -> None:
    content = json.loads((directory / INDEX).read_text())
    content["weight_map"][tensor] = file
    (directory / INDEX).write_text(json.dumps(content))
