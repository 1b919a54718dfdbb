"""GGUF's blocks as OpenVINO's groups, without rounding the weights again.

The layouts are those of ggml: a block is an FP16 scale, for some an FP16 minimum, and the codes of 32 weights, with
weight i in the low and weight i + 16 in the high four bits of byte i. A Q4_K block is eight such groups whose scales
and minima are themselves in six bits.
"""

from __future__ import annotations

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import Q4_K

from nemotron_build.cpu.packed import GROUP, MAX_ZERO, Array, Element, Packed, join_nibbles, quantize_u4

_HALF = 2  # bytes of an FP16
_Q4_K_SCALES, _Q4_K_GROUPS = 12, 8

FOUR_BITS = (GGMLQuantizationType.Q4_0, GGMLQuantizationType.Q4_1, GGMLQuantizationType.Q4_K)


def take_over(data: Array, kind: GGMLQuantizationType, element: Element) -> Packed | None:
    """Blocks of a matrix as groups of `element`.

    Args:
        data: uint8 (rows, bytes of a row).
        kind: Their type.
        element: `bf16` takes BF16, `i8` Q8_0, `u4` Q4_0 (it becomes `i4`), Q4_1 and Q4_K.

    Returns:
        None where the blocks have no such form.
    """
    convert = {
        (GGMLQuantizationType.BF16, "bf16"): _bf16,
        (GGMLQuantizationType.Q8_0, "i8"): _q8_0,
        (GGMLQuantizationType.Q4_0, "u4"): _q4_0,
        (GGMLQuantizationType.Q4_1, "u4"): _q4_1,
        (GGMLQuantizationType.Q4_K, "u4"): _q4_k,
    }.get((kind, element))
    return convert(data) if convert else None


def _bf16(data: Array) -> Packed:
    values = data.view(np.uint16)
    return Packed("bf16", len(values), values.shape[1], values)


def _q8_0(data: Array) -> Packed:
    groups = data.reshape(len(data), -1, _HALF + GROUP)
    return Packed("i8", len(data), groups.shape[1] * GROUP, _tail(groups, _HALF).view(np.int8), _half(groups, 0))


def _q4_0(data: Array) -> Packed:
    groups = data.reshape(len(data), -1, _HALF + GROUP // 2)
    codes = join_nibbles(_nibbles(groups[..., _HALF:]))
    # Codes 0 to 15 stand for -8 to 7; in two's complement that is the topmost bit the other way round.
    return Packed("i4", len(data), groups.shape[1] * GROUP, codes ^ 0x88, _half(groups, 0))


def _q4_1(data: Array) -> Packed:
    groups = data.reshape(len(data), -1, 2 * _HALF + GROUP // 2)
    codes = _nibbles(groups[..., 2 * _HALF :])
    return _with_minimum(codes, _half(groups, 0).astype(np.float32), _half(groups, _HALF).astype(np.float32))


def _q4_k(data: Array) -> Packed:
    start = 2 * _HALF + _Q4_K_SCALES
    blocks = data.reshape(len(data), -1, start + _Q4_K_GROUPS * GROUP // 2)
    shape = (len(data), blocks.shape[1] * _Q4_K_GROUPS, 1)
    small_scales, small_minima = Q4_K.get_scale_min(blocks[..., 2 * _HALF : start].reshape(-1, _Q4_K_SCALES))
    scales = _half(blocks, 0).astype(np.float32) * small_scales.reshape(*blocks.shape[:2], _Q4_K_GROUPS)
    minima = _half(blocks, _HALF).astype(np.float32) * small_minima.reshape(*blocks.shape[:2], _Q4_K_GROUPS)
    # 32 bytes hold two groups: one in the low, one in the high four bits.
    pairs = blocks[..., start:].reshape(len(data), -1, 1, GROUP)
    codes = np.concatenate([pairs & 15, pairs >> 4], axis=2).reshape(*shape[:2], GROUP)
    return _with_minimum(codes, scales.reshape(shape), -minima.reshape(shape))


def _with_minimum(codes: Array, scales: Array, minima: Array) -> Packed:
    """Groups of `code * scale + minimum`, codes (rows, groups, 32).

    Those whose minimum is too far from 0 for a zero, in steps of their scale, are rounded again.
    """
    far = (np.abs(minima) > MAX_ZERO * np.abs(scales))[..., 0]
    steps = np.where(far[..., None] | (scales == 0), 1, scales)
    packed, rounded, zeros = join_nibbles(codes), scales.astype(np.float16), (-minima / steps).astype(np.float16)
    if far.any():
        packed[far], rounded[far], zeros[far] = quantize_u4(codes[far] * scales[far] + minima[far])
    rows, groups = codes.shape[:2]
    return Packed("u4", rows, groups * GROUP, packed, rounded, zeros)


def _nibbles(data: Array) -> Array:
    return np.concatenate([data & 15, data >> 4], axis=-1)


def _half(blocks: Array, offset: int) -> Array:
    """The FP16 at a place of each block, (rows, blocks, 1)."""
    return np.ascontiguousarray(blocks[..., offset : offset + _HALF]).view(np.float16)


def _tail(blocks: Array, offset: int) -> Array:
    return np.ascontiguousarray(blocks[..., offset:])
