"""Fields of a GGUF file that change the arithmetic: applied as llama.cpp does, or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from nemotron_build.checkpoint.shape import inverse_frequencies, read_shape
from nemotron_build.cpu.gguf_file import GgufFile
from nemotron_build.cpu.gguf_weights import GgufSource
from nemotron_build.errors import CheckpointError
from tests.unit.build.cpu.gguf_models import Array, write_gguf

_SCALING = "llama__rope__scaling__"


def _plain(tiny: Path, theta: float | None = None) -> Array:
    """The closed formula."""
    shape = read_shape(tiny)
    pairs = np.arange(shape.head_dim // 2)
    frequencies: Array = (theta or shape.rope_theta) ** (-2.0 * pairs / shape.head_dim)
    return frequencies


@pytest.mark.parametrize(
    ("fields", "divisor"),
    [
        ({}, 1),
        ({f"{_SCALING}type": "none"}, 1),
        ({f"{_SCALING}type": "linear"}, 1),
        ({f"{_SCALING}type": "linear", f"{_SCALING}factor": 4.0}, 4),
        ({f"{_SCALING}factor": 4.0}, 4),
        ({f"{_SCALING}factor": 0.5}, 0.5),
        ({f"{_SCALING}factor": 1.0}, 1),
        ({f"{_SCALING}factor": 0.0}, 1),
        ({f"{_SCALING}type": "none", f"{_SCALING}factor": 4.0}, 1),
        ({"llama__rope__scale_linear": 4.0}, 4),
        ({"llama__rope__scale_linear": 4.0, f"{_SCALING}factor": 2.0}, 2),
        ({"llama__rope__scale_linear": 4.0, f"{_SCALING}factor": 0.0}, 1),
        ({f"{_SCALING}original_context_length": 64, f"{_SCALING}finetuned": True}, 1),
    ],
    ids=str,
)
def test_frequencies_are_those_of_the_formula(
    tiny: Path, tmp_path: Path, fields: dict[str, Any], divisor: float
) -> None:
    write_gguf(tiny, tmp_path / "tiny.gguf", Type.F16, scaling=False, **fields)
    source = GgufSource(GgufFile(tmp_path / "tiny.gguf"))
    np.testing.assert_allclose(source.inverse_frequencies, _plain(tiny) / divisor, rtol=1e-6)


def _linear(factor: float) -> dict[str, Any]:
    return {f"{_SCALING}factor": factor}


def test_a_factor_and_llama_3s_factors_come_together(tiny: Path, tmp_path: Path) -> None:
    write_gguf(tiny, tmp_path / "tiny.gguf", Type.F16, **_linear(4.0))
    source = GgufSource(GgufFile(tmp_path / "tiny.gguf"))
    np.testing.assert_allclose(source.inverse_frequencies, inverse_frequencies(read_shape(tiny)) / 4, rtol=1e-6)


def test_what_a_file_may_leave_out_has_llama_cpps_defaults(tiny: Path, tmp_path: Path) -> None:
    shape = read_shape(tiny)
    without = ("llama.rope.freq_base", "llama.rope.dimension_count", "llama.attention.head_count_kv")
    write_gguf(tiny, tmp_path / "whole.gguf", Type.F16, scaling=False)
    write_gguf(tiny, tmp_path / "tiny.gguf", Type.F16, scaling=False, without=without[:2])
    source = GgufSource(GgufFile(tmp_path / "tiny.gguf"))
    np.testing.assert_allclose(source.inverse_frequencies, _plain(tiny, 10000.0), rtol=1e-6)
    assert source.shape.head_dim == shape.head_dim
    write_gguf(tiny, tmp_path / "tiny.gguf", Type.F16, scaling=False, without=without)
    with pytest.raises(CheckpointError, match=r"attn_k.weight has the shape .* expected"):
        GgufSource(GgufFile(tmp_path / "tiny.gguf"))


@pytest.mark.parametrize(
    "fields",
    [
        {"llama__attention__head_count_kv": [2, 2]},
        {"llama__feed_forward_length": [768, 768], "llama__attention__head_count": [8, 8]},
        {"llama__attention__key_length": 32, "llama__attention__value_length": 32},
        {"llama__vocab_size": 512, "llama__tensor_data_layout": "Meta AI original pth"},
        {"llama__expert_count": 0, "llama__expert_used_count": 0},
        {"llama__attention__causal": True, "llama__logit_scale": 1.0, "llama__attention__sliding_window": 0},
        {f"{_SCALING}attn_factor": 1.0},
    ],
    ids=str,
)
def test_fields_that_change_nothing(tiny: Path, tmp_path: Path, fields: dict[str, Any]) -> None:
    write_gguf(tiny, tmp_path / "plain.gguf", Type.F16)
    write_gguf(tiny, tmp_path / "tiny.gguf", Type.F16, **fields)
    plain, found = (GgufSource(GgufFile(tmp_path / f"{name}.gguf")) for name in ("plain", "tiny"))
    assert found.shape == plain.shape
    assert np.array_equal(found.inverse_frequencies, plain.inverse_frequencies)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {f"{_SCALING}type": "yarn", f"{_SCALING}factor": 4.0},
            "scaling.type is 'yarn'; only none, linear, or Llama 3's",
        ),
        ({f"{_SCALING}type": "longrope"}, "scaling.type is 'longrope'"),
        ({f"{_SCALING}factor": -4.0}, "scaling.factor is -4.0, expected a number above 0"),
        ({f"{_SCALING}factor": float("nan")}, "scaling.factor is nan, expected a number above 0"),
        ({f"{_SCALING}factor": float("inf")}, "scaling.factor is inf, expected a number above 0"),
        ({f"{_SCALING}factor": "4"}, "scaling.factor is 4, expected a number above 0"),
        ({f"{_SCALING}attn_factor": 1.5}, "scaling.attn_factor is 1.5, expected 1 or none"),
        ({f"{_SCALING}yarn_ext_factor": 1.0}, "yarn_ext_factor is 1.0, a field that is not known and may change"),
        ({"llama__rope__scale_linear": -1.0}, "rope.scale_linear is -1.0, expected a number above 0"),
        ({"llama__rope__freq_base": 0.0}, "rope.freq_base is 0.0, expected a number above 0"),
        ({"llama__rope__dimension_count": 16}, "rope.dimension_count is 16, expected the head's 32"),
        ({"llama__attention__key_length": 33}, "attention.key_length is 33, expected an even number"),
        ({"llama__attention__value_length": 64}, "attention.value_length is 64, expected the head's 32"),
        ({"llama__block_count": 2**31}, "block_count is 2147483648, expected at most 10000"),
        ({"llama__attention__head_count": 0}, "attention.head_count is 0, expected a whole number above 0"),
        ({"llama__attention__head_count_kv": 3}, "attention.head_count_kv is 3, expected a divisor of the 8 heads"),
        ({"llama__attention__head_count_kv": [2, 4]}, r"head_count_kv is \[2, 4\], expected the same in all layers"),
        ({"llama__attention__layer_norm_rms_epsilon": 0.0}, "layer_norm_rms_epsilon is 0.0, expected a number above 0"),
        ({"llama__attention__scale": 0.5}, "attention.scale is 0.5, expected 0 or none: only plain Llamas"),
        ({"llama__attention__sliding_window": 4096}, "attention.sliding_window is 4096, expected 0 or none"),
        ({"llama__attention__causal": False}, "attention.causal is False, expected True or none"),
        ({"llama__attention__layer_norm_epsilon": 1e-5}, "attention.layer_norm_epsilon is .* not known"),
        ({"llama__logit_scale": 0.5}, "logit_scale is 0.5, expected 1 or none"),
        ({"llama__expert_count": 8}, "expert_count is 8, expected 0 or none"),
        (
            {"llama__new": "x"},
            "llama.new is 'x', a field that is not known .* Build from the checkpoint in safetensors",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_applied_is_refused(tiny: Path, tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    write_gguf(tiny, tmp_path / "tiny.gguf", Type.F16, **fields)
    with pytest.raises(CheckpointError, match=message):
        GgufSource(GgufFile(tmp_path / "tiny.gguf"))


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf")])
def test_factors_of_frequencies_are_above_0(tiny: Path, tmp_path: Path, factor: float) -> None:
    write_gguf(tiny, tmp_path / "tiny.gguf", Type.F16)
    file = GgufFile(tmp_path / "tiny.gguf")
    factors = np.ones(16, np.float32)
    factors[3] = factor
    file.tensors["rope_freqs.weight"] = file.tensors["rope_freqs.weight"]._replace(data=factors)
    with pytest.raises(CheckpointError, match=r"rope_freqs.weight holds factors that are not above 0"):
        GgufSource(file)
