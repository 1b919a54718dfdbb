"""How the roofline's constants were found; run it with `python -m nemotron_build.plan.fit`."""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt

from nemotron_build.plan.constants import FITTED, Constants
from nemotron_build.plan.validation import Comparison, compare_latency, compare_throughput

Vector = npt.NDArray[np.float64]

_START = Constants(dict.fromkeys(FITTED.compute, 0.5), attention=0.5, memory=0.8, step_s=2e-3)
_ROUNDS = 40
_CLOSE = 1e-6  # a move by less than this share of every constant ends it
_STEP = 1e-5  # of the numerical derivative, relative


def fit(start: Constants = _START) -> Constants:
    """Minimize the squared logarithms of predicted over published, over the rows that are for fitting.

    Levenberg-Marquardt over the constants' logarithms, which keeps them positive.
    """
    point = _to_vector(start)
    errors = _errors(point)
    damping = 1e-2
    for _ in range(_ROUNDS):
        slopes = np.column_stack([(_errors(point + move) - errors) / _STEP for move in _STEP * np.eye(len(point))])
        normal = slopes.T @ slopes
        move = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), slopes.T @ errors)
        if np.abs(move).max() < _CLOSE:
            break
        better = point - move
        better_errors = _errors(better)
        if better_errors @ better_errors < errors @ errors:
            point, errors, damping = better, better_errors, damping / 5
        else:
            damping *= 5
    return _to_constants(point)


def main() -> None:
    """Fit and print the constants as they are written in constants.py."""
    found = fit()
    for key, value in found.compute.items():
        sys.stdout.write(f"compute {key}: {value:.4g}\n")
    for name in ("attention", "memory", "step_s"):
        sys.stdout.write(f"{name}: {getattr(found, name):.4g}\n")


def _errors(point: Vector) -> Vector:
    constants = _to_constants(point)
    rows: list[Comparison] = compare_throughput(constants) + compare_latency(constants)
    return np.log([row.predicted / row.published for row in rows if row.fitted])


def _to_vector(constants: Constants) -> Vector:
    rest = (constants.attention, constants.memory, constants.step_s)
    return np.log([*constants.compute.values(), *rest])


def _to_constants(point: Vector) -> Constants:
    *compute, attention, memory, step_s = np.exp(point).tolist()
    return Constants(dict(zip(FITTED.compute, compute, strict=True)), attention, memory, step_s)


if __name__ == "__main__":
    main()
