"""A GGUF file's weights as the conversion reads them: by Hugging Face's names and in its order of query and key rows.

Blocks that OpenVINO's groups can express are taken over without rounding the weights again. The layouts are those of
ggml: a block is an FP16 scale, for some an FP16 minimum, and the codes of 32 weights, with weight i in the low and
weight i + 16 in the high four bits of byte i. A Q4_K block is eight such groups whose scales and minima are themselves
in six bits.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import Q4_K, dequantize

from nemotron_build.checkpoint.tensors import EMBEDDING, FINAL_NORM, OUTPUT, expected_tensors
from nemotron_build.cpu.gguf_file import (
    FREQUENCY_FACTORS,
    OUTPUT_LAYER,
    TOKEN_EMBEDDING,
    GgufFile,
    read_frequencies,
    read_gguf_shape,
)
from nemotron_build.cpu.packed import GROUP, MAX_ZERO, Array, Element, Packed, join_nibbles, quantize_u4
from nemotron_build.errors import CheckpointError

FOUR_BITS = (GGMLQuantizationType.Q4_0, GGMLQuantizationType.Q4_1, GGMLQuantizationType.Q4_K)

_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)\.weight")
_TOP = {EMBEDDING: TOKEN_EMBEDDING, FINAL_NORM: "output_norm.weight", OUTPUT: OUTPUT_LAYER}
_IN_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}

_HALF = 2  # bytes of an FP16
_Q4_K_SCALES, _Q4_K_GROUPS = 12, 8


class GgufSource:
    """A GGUF file's weights; see `WeightSource`.

    What its fields say is read in gguf_file.py. llama.cpp turns neighbouring values of a head by one angle, Hugging
    Face those half a head apart, so the rows of queries and keys are in another order in the file.
    """

    def __init__(self, file: GgufFile) -> None:
        """Check that the file holds a Llama-shaped model, and all of it.

        Raises:
            CheckpointError: another architecture, a field that cannot be applied, or a tensor that is missing, unknown,
                of another shape, or of a type that cannot be read.
        """
        self._file = file
        self.shape = read_gguf_shape(file)
        self._check_tensors()
        self.inverse_frequencies = read_frequencies(file, self.shape)
        kinds = Counter(tensor.tensor_type.name for tensor in file.tensors.values() if len(tensor.shape) > 1)
        self.description = " and ".join(name for name, _ in kinds.most_common())

    def vector(self, name: str) -> Array:
        """See `WeightSource.vector`."""
        tensor = self._tensor(name)
        return np.asarray(dequantize(tensor.data, tensor.tensor_type), np.float32)

    def rows(self, name: str, rows: Array) -> Array:
        """See `WeightSource.rows`."""
        tensor = self._tensor(name)
        stored = tensor.data[self._order(name)[rows]]
        return np.asarray(dequantize(stored, tensor.tensor_type), np.float32)

    def stores_four_bits(self, name: str) -> bool:
        """See `WeightSource.stores_four_bits`."""
        return self._tensor(name).tensor_type in FOUR_BITS

    def as_stored(self, name: str, element: Element) -> Packed | None:
        """See `WeightSource.as_stored`."""
        tensor = self._tensor(name)
        if tensor.data.dtype != np.uint8:
            return None
        return take_over(tensor.data[self._order(name)], tensor.tensor_type, element)

    def _tensor(self, name: str) -> Any:
        return self._file.tensors[_name_in_file(name)]

    def _order(self, name: str) -> Array:
        """Rows of the file in Hugging Face's order."""
        rows = np.arange(int(self._tensor(name).shape[1]))
        if not name.endswith(("q_proj.weight", "k_proj.weight")):
            return rows
        return rows.reshape(-1, self.shape.head_dim // 2, 2).swapaxes(1, 2).reshape(-1)

    def _check_tensors(self) -> None:
        file = self._file
        expected = {_name_in_file(name): size for name, size in expected_tensors(self.shape).items()}
        expected[FREQUENCY_FACTORS] = (self.shape.head_dim // 2,)
        for name in sorted(file.tensors.keys() - expected.keys()):
            raise CheckpointError(f"{file.path.name} has the tensor {name}, which no plain Llama has.")
        for name, size in expected.items():
            tensor = file.tensors.get(name)
            if tensor is None and name == FREQUENCY_FACTORS:
                continue
            if tensor is None:
                raise CheckpointError(f"{file.path.name} has no tensor {name}. Download it again.")
            found = tuple(int(length) for length in reversed(tensor.shape))
            if found != size:
                raise CheckpointError(f"{file.path.name}: {name} has the shape {found}, expected {size}.")
            _check_readable(tensor, file.path.name)


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


def _check_readable(tensor: Any, file: str) -> None:
    try:
        dequantize(tensor.data.reshape(-1, tensor.data.shape[-1])[:1], tensor.tensor_type)
    except (NotImplementedError, KeyError):
        known = ", ".join(kind.name for kind in (*FOUR_BITS, GGMLQuantizationType.Q8_0))
        raise CheckpointError(
            f"{file}: {tensor.name} is of type {tensor.tensor_type.name}, which cannot be read. "
            f"Use a file of F16, BF16, {known}, Q5_K or Q6_K."
        ) from None


def _name_in_file(name: str) -> str:
    in_layer = _LAYER.fullmatch(name)
    return f"blk.{in_layer[1]}.{_IN_LAYER[in_layer[2]]}.weight" if in_layer else _TOP[name]


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
