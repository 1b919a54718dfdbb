"""A Hugging Face checkpoint as the conversion reads it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nemotron_build.checkpoint.shape import ModelShape
from nemotron_build.checkpoint.tensors import TensorRecord, load_tensor
from nemotron_build.checkpoint.weights import dtypes
from nemotron_build.cpu.packed import Array, Element, Packed
from nemotron_build.cpu.rope import inverse_frequencies


class SafetensorsSource:
    """See `WeightSource`."""

    def __init__(self, shape: ModelShape, tensors: Mapping[str, TensorRecord]) -> None:
        """Take a checkpoint that was checked, with all of its tensors."""
        self.shape = shape
        self.inverse_frequencies = inverse_frequencies(shape)
        self._tensors = tensors
        self.description = " and ".join(dtypes(tensors))

    def vector(self, name: str) -> Array:
        """See `WeightSource.vector`."""
        return load_tensor(self._tensors[name]).astype(np.float32)

    def rows(self, name: str, rows: Array) -> Array:
        """See `WeightSource.rows`."""
        return load_tensor(self._tensors[name])[rows].astype(np.float32)

    def stores_four_bits(self, name: str) -> bool:  # noqa: ARG002
        """See `WeightSource.stores_four_bits`."""
        return False

    def as_stored(self, name: str, element: Element) -> Packed | None:
        """See `WeightSource.as_stored`: BF16 as a view of the file."""
        record = self._tensors[name]
        if (record.dtype, element) != ("BF16", "bf16"):
            return None
        rows, columns = record.shape
        return Packed(element, rows, columns, load_tensor(record).view(np.uint16))
