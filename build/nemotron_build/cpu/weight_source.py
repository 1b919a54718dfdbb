"""What the conversion needs to know of a model, wherever its weights lie, and a Hugging Face checkpoint as such."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np

from nemotron_build.checkpoint.shape import ModelShape, inverse_frequencies
from nemotron_build.checkpoint.tensors import TensorRecord, load_tensor
from nemotron_build.checkpoint.weights import dtypes
from nemotron_build.cpu.packed import Array, Element, Packed

# Rows are read and packed in blocks of this many weights: 32 MiB as FP32.
BLOCK_WEIGHTS = 1 << 23


class WeightSource(Protocol):
    """A Llama-shaped model. Tensors go by their Hugging Face names and have Hugging Face's order of rows."""

    @property
    def shape(self) -> ModelShape:
        """Its sizes."""

    @property
    def inverse_frequencies(self) -> Array:
        """Radians by which a position turns each pair of a head, FP32 (head_dim / 2,)."""

    @property
    def description(self) -> str:
        """What the weights are, such as `BF16`."""

    def vector(self, name: str) -> Array:
        """FP32 weights of a norm."""

    def rows(self, name: str, rows: Array) -> Array:
        """Some rows of a matrix as FP32, (n, columns)."""

    def stores_four_bits(self, name: str) -> bool:
        """Whether a matrix has no more than four bits to a weight here."""

    def as_stored(self, name: str, element: Element) -> Packed | None:
        """A matrix whose stored form already is that of `element`, taken over without rounding again."""


class SafetensorsSource:
    """A Hugging Face checkpoint's weights; see `WeightSource`."""

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


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Rows of a matrix in blocks of bounded size."""
    step = max(1, BLOCK_WEIGHTS // columns)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
