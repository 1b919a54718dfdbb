"""What the conversion needs to know of a model, wherever its weights lie."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from nemotron_build.checkpoint.shape import ModelShape
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


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Rows of a matrix in blocks of bounded size."""
    step = max(1, BLOCK_WEIGHTS // columns)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
