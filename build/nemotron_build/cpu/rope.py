"""Rotary frequencies, with Llama 3.1's scaling."""

from __future__ import annotations

import math

import numpy as np

from nemotron_build.checkpoint.shape import ModelShape
from nemotron_build.cpu.packed import Array


def inverse_frequencies(shape: ModelShape) -> Array:
    """Radians by which a position turns each pair of a head, FP32 (head_dim / 2,).

    The scaling is that of Llama 3.1 (`rope_type` `llama3`): frequencies whose wave fits `high_freq_factor` times into
    the original context stay, those that fit less than `low_freq_factor` times are slowed down by `factor`, and the
    ones between are blended by how often they fit.
    """
    plain = shape.rope_theta ** -(np.arange(0, shape.head_dim, 2, dtype=np.float64) / shape.head_dim)
    scaling = shape.rope_scaling
    if scaling is None:
        return np.asarray(plain, np.float32)
    waves = scaling.original_max_position_embeddings * plain / (2 * math.pi)
    share = (waves - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    kept = np.clip(share, 0, 1)
    return np.asarray(plain * (kept + (1 - kept) / scaling.factor), np.float32)
