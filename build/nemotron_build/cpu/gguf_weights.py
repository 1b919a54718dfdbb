"""A GGUF file as the conversion reads it: Hugging Face's names, and Hugging Face's order of query and key rows."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import dequantize

from nemotron_build.checkpoint.tensors import EMBEDDING, FINAL_NORM, OUTPUT, expected_tensors
from nemotron_build.cpu import gguf_shape
from nemotron_build.cpu.gguf_blocks import FOUR_BITS, take_over
from nemotron_build.cpu.gguf_file import GgufFile
from nemotron_build.cpu.gguf_shape import FREQUENCY_FACTORS, read_frequencies, read_gguf_shape
from nemotron_build.cpu.packed import Array, Element, Packed
from nemotron_build.errors import CheckpointError

_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)\.weight")
_TOP = {EMBEDDING: gguf_shape.EMBEDDING, FINAL_NORM: "output_norm.weight", OUTPUT: gguf_shape.OUTPUT}
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


class GgufSource:
    """See `WeightSource`.

    What its fields say is read in gguf_shape.py. llama.cpp turns neighbouring values of a head by one angle, Hugging
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
