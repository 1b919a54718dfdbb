"""The roofline against NVIDIA's published figures for Llama 3.1 8B, and the fit of its constants to some of them.

Throughput is that of trtllm-bench under maximum load: as many requests run as the KV cache holds, each keeping the room
for its whole output (the scheduler evicts nothing), and one follows another. Latency is that of a Triton server at a
fixed rate of requests.

The rows are divided by request size, the same for every GPU, precision and version: on some sizes the constants were
fitted, on the others the result is judged. `python -m nemotron_build.plan.validation` fits them again.
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass
from functools import cache
from importlib import resources

import msgspec
import numpy as np
import numpy.typing as npt

from nemotron_build.checkpoint.shape import LLAMA_31_8B
from nemotron_build.plan.gpus import GPUS
from nemotron_build.plan.memory import footprint
from nemotron_build.plan.roofline import FITTED, Constants, Roofline, Workload

FITTED_THROUGHPUT = ((128, 128), (128, 4096), (1000, 1000), (2048, 2048), (20000, 2000))
"""Prompt and output length of the throughput rows that the constants were fitted on."""

FITTED_LATENCY = ((467, 256),)
"""The same of the latency rows."""

# As trtllm-bench sets them.
_KV_SHARE = 0.95
_MAX_BATCH_SIZE = 2048
_MAX_NUM_TOKENS = 8192
_FIXED_POINT_ROUNDS = 60


Vector = npt.NDArray[np.float64]

_START = Constants(dict.fromkeys(FITTED.compute, 0.5), attention=0.5, memory=0.8, step_s=2e-3)
_FIT_ROUNDS = 40
_FIT_CLOSE = 1e-6  # a move by less than this share of every constant ends it
_FIT_STEP = 1e-5  # of the numerical derivative, relative


class ThroughputRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One published throughput."""

    version: str
    gpu: str
    precision: str
    input_tokens: int
    output_tokens: int
    output_tokens_per_s: float


class LatencyRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One published latency; BF16."""

    gpu: str
    input_tokens: int
    output_tokens: int
    requests_per_s: int
    output_tokens_per_s: float
    ttft_ms: float
    itl_ms: float


class Published(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of published.json."""

    about: dict[str, str | dict[str, str]]
    throughput: tuple[ThroughputRow, ...]
    latency: tuple[LatencyRow, ...]


@dataclass(frozen=True)
class Comparison:
    """One figure, predicted and published.

    Attributes:
        version: Release of TensorRT-LLM.
        gpu: Name in the GPU table.
        precision: How weights and KV cache are stored.
        workload: The requests.
        requests_per_s: For latency rows, the rate; None under maximum load.
        published: Output tokens/s, or the inter-token latency in ms.
        predicted: What the roofline says of it.
        fitted: Whether the constants were fitted on this row.
    """

    version: str
    gpu: str
    precision: str
    workload: Workload
    requests_per_s: int | None
    published: float
    predicted: float
    fitted: bool

    @property
    def error(self) -> float:
        """Relative and signed: 0.1 is predicted 10 % too high."""
        return self.predicted / self.published - 1


@dataclass(frozen=True)
class ErrorSummary:
    """Absolute relative errors of some rows."""

    rows: int
    median: float
    worst: float

    @classmethod
    def of(cls, comparisons: list[Comparison]) -> ErrorSummary:
        """Summarize."""
        errors = [abs(row.error) for row in comparisons]
        return cls(len(errors), statistics.median(errors), max(errors))


def compare_throughput(constants: Constants = FITTED) -> list[Comparison]:
    """Every published throughput beside what the roofline says."""
    return [
        Comparison(
            row.version, row.gpu, row.precision, workload := Workload(row.input_tokens, row.output_tokens), None,
            published=row.output_tokens_per_s,
            predicted=_roofline(row.gpu, row.precision, constants).output_tokens_per_s(
                bench_batch(row.gpu, row.precision, workload.tokens), workload
            ),
            fitted=(row.input_tokens, row.output_tokens) in FITTED_THROUGHPUT,
        )
        for row in read_published().throughput
    ]  # fmt: skip


def compare_latency(constants: Constants = FITTED) -> list[Comparison]:
    """Every published inter-token latency, in ms, beside what the roofline says at the same rate of tokens."""
    return [
        Comparison(
            "0.14.0", row.gpu, "bf16", workload := Workload(row.input_tokens, row.output_tokens), row.requests_per_s,
            published=row.itl_ms,
            predicted=1000 * _itl_at_rate(_roofline(row.gpu, "bf16", constants), workload, row.output_tokens_per_s),
            fitted=(row.input_tokens, row.output_tokens) in FITTED_LATENCY,
        )
        for row in read_published().latency
    ]  # fmt: skip


@cache
def read_published() -> Published:
    """Read the published figures."""
    content = resources.files(__package__).joinpath("published.json").read_bytes()
    return msgspec.json.decode(content, type=Published)


@cache
def bench_batch(gpu: str, precision: str, tokens: int) -> int:
    """How many requests of so many tokens run at once in trtllm-bench."""
    batch = 1
    for _ in range(2):  # what the batch's logits take is taken from the KV cache
        memory = footprint(
            LLAMA_31_8B,
            memory_bytes=GPUS[gpu].memory_bytes,
            precision=precision,
            kv_cache=precision,
            max_batch_size=batch,
            max_num_tokens=_MAX_NUM_TOKENS,
            kv_share=_KV_SHARE,
        )
        batch = min(_MAX_BATCH_SIZE, memory.sequences(tokens))
    return batch


def fit(start: Constants = _START) -> Constants:
    """Minimize the squared logarithms of predicted over published, over the rows that are for fitting.

    Levenberg-Marquardt over the constants' logarithms, which keeps them positive.
    """
    point = _to_vector(start)
    errors = _errors(point)
    damping = 1e-2
    for _ in range(_FIT_ROUNDS):
        slopes = np.column_stack(
            [(_errors(point + move) - errors) / _FIT_STEP for move in _FIT_STEP * np.eye(len(point))]
        )
        normal = slopes.T @ slopes
        move = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), slopes.T @ errors)
        if np.abs(move).max() < _FIT_CLOSE:
            break
        better = point - move
        better_errors = _errors(better)
        if better_errors @ better_errors < errors @ errors:
            point, errors, damping = better, better_errors, damping / 5
        else:
            damping *= 5
    return _to_constants(point)


def main() -> None:
    """Fit and print the constants as they are written in roofline.py."""
    found = fit()
    for key, value in found.compute.items():
        sys.stdout.write(f"compute {key}: {value:.4g}\n")
    for name in ("attention", "memory", "step_s"):
        sys.stdout.write(f"{name}: {getattr(found, name):.4g}\n")


def _roofline(gpu: str, precision: str, constants: Constants) -> Roofline:
    return Roofline(LLAMA_31_8B, GPUS[gpu], precision, kv_cache=precision, constants=constants)


def _itl_at_rate(roofline: Roofline, workload: Workload, tokens_per_s: float) -> float:
    """The latency at which so many sequences run as give this rate; at least one, as it is seen only while one runs."""
    itl_s = roofline.itl_s(1, workload)
    for _ in range(_FIXED_POINT_ROUNDS):
        itl_s = (itl_s + roofline.itl_s(max(1.0, tokens_per_s * itl_s), workload)) / 2
    return itl_s


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
