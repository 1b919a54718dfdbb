"""Rounding to groups, and GGUF's blocks taken over without rounding."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize, quantize

from nemotron_build.cpu.gguf_weights import take_over
from nemotron_build.cpu.packed import MAX_ZERO, Array, Element, Packed, join, pack
from tests.unit.build.cpu.gguf_models import random_blocks


def _values(rows: int = 6, columns: int = 128) -> Array:
    return np.random.default_rng(0).standard_normal((rows, columns)).astype(np.float32)


def _packed(values: Array, element: Element, block: int = 4) -> Packed:
    parts = [values[start : start + block] for start in range(0, len(values), block)]
    rows, columns = values.shape
    return pack(parts, rows, columns, element)


def _floats(packed: Packed) -> Array:
    return packed.rows_as_float(np.arange(packed.rows))


def _by_group(values: Array) -> Array:
    return values.reshape(len(values), -1, 32)


def test_bf16_is_rounded_as_such() -> None:
    values = _values()
    assert np.array_equal(_floats(_packed(values, "bf16")), values.astype(ml_dtypes.bfloat16).astype(np.float32))


def test_i8_is_off_by_half_a_step() -> None:
    values = _values()
    steps = np.abs(_by_group(values)).max(-1, keepdims=True) / 127
    assert np.all(np.abs(_by_group(_floats(_packed(values, "i8")) - values)) < 0.57 * steps)


def test_u4_is_off_by_half_a_step_of_the_range() -> None:
    values = _values() + 1.0  # few below 0: a zero outside of the codes
    groups = _by_group(values)
    steps = (groups.max(-1, keepdims=True) - groups.min(-1, keepdims=True)) / 15
    assert np.all(np.abs(_by_group(_floats(_packed(values, "u4")) - values)) < 0.52 * steps)


@pytest.mark.parametrize("element", ["i8", "u4"])
def test_rows_of_zeros_stay(element: Element) -> None:
    assert not _floats(_packed(np.zeros((3, 64), np.float32), element)).any()


def test_nearly_equal_weights_far_from_zero() -> None:
    """Their zero would be beyond FP16, so the range begins at 0."""
    values = (1 + 1e-4 * _values()).astype(np.float32)
    packed = _packed(values, "u4")
    assert packed.zeros is not None
    assert np.abs(packed.zeros).max() <= MAX_ZERO
    assert np.abs(_floats(packed) - values).max() < 1e-3


def test_offsets_stand_for_zeros() -> None:
    packed = _packed(_values() + 1.0, "u4")
    other = packed.with_offsets()
    assert (other.element, other.zeros) == ("i4", None)
    assert packed.scales is not None
    steps = packed.scales.astype(np.float32)
    assert np.all(np.abs(_by_group(_floats(other) - _floats(packed))) < 0.03 * steps)


def test_weights_without_zeros_or_beyond_fp16_stay_as_they_are() -> None:
    for packed in (_packed(_values(), "i8"), _packed(_values(), "bf16"), _packed(2e5 + 2e5 * _values(), "u4")):
        assert packed.with_offsets() is packed


@pytest.mark.parametrize("element", ["bf16", "i8", "u4"])
def test_matrices_are_joined(element: Element) -> None:
    above, below = _packed(_values(6), element), _packed(-_values(3), element)
    joined = join([above, below])
    assert joined is not None
    assert (joined.element, joined.rows, joined.columns) == (element, 9, 128)
    assert np.array_equal(_floats(joined), np.concatenate([_floats(above), _floats(below)]))


def test_what_is_packed_otherwise_is_not_joined() -> None:
    assert join([_packed(_values(), "i8"), _packed(_values(), "u4")]) is None


@pytest.mark.parametrize("element", ["bf16", "i8", "u4"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_seen(element: Element, bad: float) -> None:
    values = _values()
    assert _packed(values, element).is_finite()
    values[2, 40] = bad
    assert not _packed(values, element).is_finite()


def _blocks(kind: Type) -> tuple[Array, Array]:
    """Blocks of a type, and the weights that they stand for."""
    values = _values(5, 512)
    values[1] = 0
    data = random_blocks(5, 512, kind) if kind == Type.Q4_K else quantize(values, kind)
    return data, dequantize(data, kind).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "element", "made"), [(Type.Q8_0, "i8", "i8"), (Type.Q4_0, "u4", "i4"), (Type.Q4_1, "u4", "u4")]
)
def test_blocks_are_taken_over(kind: Type, element: Element, made: Element) -> None:
    data, expected = _blocks(kind)
    packed = take_over(data, kind, element)
    assert packed is not None
    assert packed.element == made
    assert np.abs(_floats(packed) - expected).max() < 0.005


def test_q4_k_is_taken_over_but_for_far_minima() -> None:
    data, expected = _blocks(Type.Q4_K)
    packed = take_over(data, Type.Q4_K, "u4")
    assert packed is not None and packed.scales is not None
    errors = np.abs(_by_group(_floats(packed) - expected)) / np.abs(packed.scales.astype(np.float32))
    assert np.quantile(errors, 0.9) < 0.03  # of a step
    assert errors.max() < 0.55


def test_a_block_of_equal_weights() -> None:
    """Q4_1 writes it with a scale of 0, and the weight as minimum."""
    data = quantize(np.full((1, 32), 0.37, np.float32), Type.Q4_1)
    packed = take_over(data, Type.Q4_1, "u4")
    assert packed is not None
    assert np.abs(_floats(packed) - 0.37).max() < 1e-3


@pytest.mark.parametrize(("kind", "element"), [(Type.Q8_0, "u4"), (Type.Q4_1, "i8"), (Type.Q8_0, "bf16")])
def test_other_types_are_not_taken_over(kind: Type, element: Element) -> None:
    assert take_over(_blocks(kind)[0], kind, element) is None
