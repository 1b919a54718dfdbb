"""As much of torch as the TensorRT-LLM adapter uses: a vector of zeros, and a GPU's name."""

from __future__ import annotations

from . import cuda as cuda

float32 = "float32"


class Tensor(list[float]):
    """A vector."""

    dtype = float32


def zeros(size: int, *, dtype: str) -> Tensor:
    assert dtype == float32
    return Tensor([0.0] * size)
