"""GGUF files that are something else, or not whole: one line that says what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from nemotron_build.checkpoint.shape import inverse_frequencies, read_shape
from nemotron_build.cpu.gguf_file import GgufFile
from nemotron_build.cpu.gguf_tokenizer import read_vocabulary
from nemotron_build.cpu.gguf_weights import GgufSource
from nemotron_build.errors import CheckpointError
from tests.unit.build.cpu.gguf_models import write_gguf


def test_shape_frequencies_and_rows_are_those_of_the_checkpoint(tiny: Path, tmp_path: Path) -> None:
    weights = write_gguf(tiny, tmp_path / "tiny.gguf", Type.Q8_0)
    source = GgufSource(GgufFile(tmp_path / "tiny.gguf"))
    original = read_shape(tiny)
    for field in ("hidden_size", "num_layers", "num_kv_heads", "head_dim", "vocab_size", "tie_word_embeddings"):
        assert getattr(source.shape, field) == getattr(original, field)
    np.testing.assert_allclose(source.inverse_frequencies, inverse_frequencies(original), rtol=1e-6)
    rows = np.array([0, 1, 17, 40])
    for name in ("model.layers.1.self_attn.q_proj.weight", "model.layers.0.mlp.down_proj.weight"):
        assert np.array_equal(source.rows(name, rows), weights[name][rows])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"general__architecture": "qwen2"}, "general.architecture is 'qwen2', expected 'llama'. Only Llama-shaped"),
        ({"without": ("output_norm.weight",)}, "has no tensor output_norm.weight. Download it again"),
        ({"without": ("token_embd.weight",)}, "has no tensor token_embd.weight. Download it again"),
    ],
)
def test_other_models_are_refused(tiny: Path, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write_gguf(tiny, tmp_path / "tiny.gguf", Type.F16, **change)
    with pytest.raises(CheckpointError, match=message):
        GgufSource(GgufFile(tmp_path / "tiny.gguf"))


def test_a_missing_tokenizer_is_named(tiny: Path, tmp_path: Path) -> None:
    write_gguf(tiny, tmp_path / "tiny.gguf", Type.F16, without=("tokenizer",))
    with pytest.raises(CheckpointError, match=r"no field tokenizer.ggml.tokens; .* with its tokenizer is needed"):
        read_vocabulary(GgufFile(tmp_path / "tiny.gguf"))


def test_a_type_that_cannot_be_read_is_named(tiny: Path, tmp_path: Path) -> None:
    write_gguf(tiny, tmp_path / "tiny.gguf", Type.Q8_0)
    file = GgufFile(tmp_path / "tiny.gguf")
    name = "blk.0.ffn_up.weight"
    file.tensors[name] = file.tensors[name]._replace(tensor_type=Type.Q8_1)
    with pytest.raises(CheckpointError, match=rf"{name} is of type Q8_1, which cannot be read. Use a file of F16"):
        GgufSource(file)


@pytest.mark.parametrize("kept", [20, 2000, 30_000, -100])
def test_a_file_cut_short_is_refused(tiny: Path, tmp_path: Path, kept: int) -> None:
    write_gguf(tiny, tmp_path / "tiny.gguf", Type.F16)
    short = tmp_path / "short.gguf"
    short.write_bytes((tmp_path / "tiny.gguf").read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"cannot be read as GGUF: it is cut short or damaged. Download it again"):
        GgufFile(short)


def test_what_is_not_there_or_not_gguf(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent.gguf cannot be read: No such file.* Name a .gguf file"):
        GgufFile(tmp_path / "absent.gguf")
    (tmp_path / "text.gguf").write_bytes(b"PK\x03\x04 a zip file")
    with pytest.raises(CheckpointError, match=r"cannot be read as GGUF: it starts with b'PK"):
        GgufFile(tmp_path / "text.gguf")
