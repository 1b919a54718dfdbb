"""What the build's own checks find: planted faults in the written model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nemotron_build.checkpoint.shape import read_shape
from nemotron_build.checkpoint.tensors import expected_tensors, read_tensors
from nemotron_build.cpu import graph
from nemotron_build.cpu.fidelity import check_answers, check_weights, measure_arithmetic
from nemotron_build.cpu.graph import write_graph
from nemotron_build.cpu.packed import Array, Element, Packed, pack
from nemotron_build.cpu.weight_source import SafetensorsSource
from nemotron_build.errors import VerificationError

_PROMPT = list(range(40, 90))


@pytest.fixture
def source(tiny: Path) -> SafetensorsSource:
    return SafetensorsSource(read_shape(tiny), read_tensors(tiny))


def _write(
    path: Path,
    source: SafetensorsSource,
    *,
    swapped: dict[str, str] | None = None,
    elements: dict[str, Element] | None = None,
    others: Element = "i8",
) -> Path:
    """Write the model with the weights of `swapped` in place of those named there, in the `elements` of some names."""

    def matrix(name: str) -> Packed:
        rows, columns = expected_tensors(source.shape)[name]
        taken = (swapped or {}).get(name, name)
        return pack([source.rows(taken, np.arange(rows))], rows, columns, (elements or {}).get(name, others))

    write_graph(path, source.shape, source.inverse_frequencies, matrix, source.vector)
    return path


def test_a_right_model_passes(tmp_path: Path, source: SafetensorsSource) -> None:
    model = _write(tmp_path / "model.xml", source)
    check_weights(model, source)
    accuracy = check_answers(model, source, "int8", _PROMPT)
    assert accuracy.top1_agreement > 0.9
    assert 0 < accuracy.mean_kl < 0.05


def test_a_swapped_matrix_is_named(tmp_path: Path, source: SafetensorsSource) -> None:
    gate, up = "model.layers.1.mlp.gate_proj.weight", "model.layers.1.mlp.up_proj.weight"
    model = _write(tmp_path / "model.xml", source, swapped={gate: up, up: gate})
    with pytest.raises(VerificationError, match=f"{gate} differs from its source"):
        check_weights(model, source)


def test_matrices_that_are_packed_otherwise_stand_alone(tmp_path: Path, source: SafetensorsSource) -> None:
    value = "model.layers.0.self_attn.v_proj.weight"
    model = _write(tmp_path / "model.xml", source, elements={value: "bf16"})
    check_weights(model, source)
    assert check_answers(model, source, "int8", _PROMPT).mean_kl < 0.05
    wrong = _write(
        tmp_path / "wrong.xml",
        source,
        elements={value: "bf16"},
        swapped={value: value.replace("v_proj", "k_proj")},
    )
    with pytest.raises(VerificationError, match=f"{value} differs from its source"):
        check_weights(wrong, source)


def test_large_matrices_have_offsets_and_the_same_answers(
    tmp_path: Path, source: SafetensorsSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = _write(tmp_path / "small.xml", source, others="u4")
    monkeypatch.setattr(graph, "_LARGE", 1)
    large = _write(tmp_path / "large.xml", source, others="u4")
    check_weights(large, source)
    found = [check_answers(model, source, "int4", _PROMPT).mean_kl for model in (small, large)]
    assert abs(found[1] - found[0]) < 0.02  # a CPU may multiply those without zeros as integers
    assert "/offsets" in large.read_text()
    assert "/zeros" not in large.read_text().replace("embed_tokens.weight/zeros", "")
    assert "/offsets" not in small.read_text()


@pytest.mark.parametrize("fault", ["rope", "norm"])
def test_wrong_constants_show_in_the_answers(tmp_path: Path, source: SafetensorsSource, fault: str) -> None:
    """They are no matrices, so only answers tell."""
    model = _write(tmp_path / "model.xml", source)
    if fault == "rope":
        source.inverse_frequencies = source.inverse_frequencies / 8
    else:
        right = source.vector

        def doubled(name: str) -> Array:
            return right(name) * (2 if name.endswith("0.input_layernorm.weight") else 1)

        source.vector = doubled  # type: ignore[method-assign]
    with pytest.raises(
        VerificationError, match=r"answers otherwise than its source: mean KL .* int8 should stay below"
    ):
        check_answers(model, source, "int8", _PROMPT)


def test_arithmetic_is_near_fp32_and_tells_what_is_not_finite(tmp_path: Path, source: SafetensorsSource) -> None:
    model = _write(tmp_path / "model.xml", source)
    accuracy = measure_arithmetic(model, _PROMPT)
    assert accuracy.top1_agreement > 0.9
    assert 0 <= accuracy.mean_kl < 0.02
    right = source.vector
    source.vector = lambda name: right(name) * np.float32(np.nan)  # type: ignore[method-assign]
    with pytest.raises(VerificationError, match="logits that are not finite"):
        measure_arithmetic(_write(tmp_path / "nan.xml", source), _PROMPT)
