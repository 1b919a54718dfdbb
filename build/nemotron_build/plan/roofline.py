"""The time of one step of in-flight batching, from the work in it and the GPU's peaks.

A step runs the linear layers once over all its tokens, one new token for each decoding sequence and any prompt tokens
that are due, and attention for each sequence over what it holds. Nothing overlaps, so its time is the sum of

    weights / (bandwidth * memory) + KV cache read / (bandwidth * memory)
    + 2 * parameters * tokens / (peak * compute) + attention of the prompts / (BF16 peak * attention)
    + overhead of a step + all-reduce over several GPUs

Forms with the larger of reading and computing instead of their sum came no closer to published figures (docs/plan.md).

The efficiencies and the overhead, `FITTED`, were fitted to published figures; this is their only home. How:
`python -m nemotron_build.plan.validation` minimizes the squared logarithms of predicted over published, by
Levenberg-Marquardt, over the rows of `published.json` that are marked there as fitted: the throughput at five of the
eleven request sizes, and the inter-token latency at one of three. It prints what is written here, and a test runs it
again and compares. Nothing is adjusted by version of TensorRT-LLM or by GPU model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from nemotron_build.checkpoint.shape import ModelShape
from nemotron_build.plan.gpus import Gpu
from nemotron_build.plan.memory import KV_VALUE_BYTES

Bound = Literal["memory", "compute", "overhead"]

_BF16_BYTES = 2
# Of one small all-reduce over NVLink; not fitted, there are no published figures of the 8B model on several GPUs.
_ALL_REDUCE_S = 10e-6


@dataclass(frozen=True)
class Constants:
    """What a GPU and its software make of the peaks in the data sheet.

    Attributes:
        compute: Share of the tensor cores' peak that the linear layers reach, by architecture and precision.
        attention: Share of the BF16 peak that attention over prompts reaches.
        memory: Share of the peak bandwidth.
        step_s: Time of a step that is there whatever the step does: launches, scheduling, sampling, the response's way.
    """

    compute: Mapping[tuple[str, str], float]
    attention: float
    memory: float
    step_s: float

    def compute_efficiency(self, architecture: str, precision: str) -> float:
        """Share for an architecture and precision; that of the nearest one where this was not fitted."""
        wanted = (architecture, precision)
        return self.compute[_NEAREST.get(wanted, wanted)]


# No figures of the 8B model were published for these.
_NEAREST = {
    ("ada", "bf16"): ("ada", "fp8"),
    ("blackwell", "bf16"): ("ada", "fp8"),
    ("blackwell", "fp8"): ("ada", "fp8"),
}

FITTED = Constants(
    compute={
        ("hopper", "fp8"): 0.5168,
        ("hopper", "bf16"): 0.5887,
        ("ampere", "bf16"): 0.7092,
        ("ada", "fp8"): 0.4298,
    },
    attention=0.6182,
    memory=0.9409,
    step_s=2.663e-3,
)

FITTED_GPUS = ("h100", "h200", "a100", "l40s")
"""The GPUs whose figures were published; for others the estimates are extrapolated."""


@dataclass(frozen=True)
class StepTime:
    """What one step takes, in seconds."""

    weights: float
    kv_cache: float
    compute: float
    overhead: float

    @property
    def total(self) -> float:
        """The step's time."""
        return self.weights + self.kv_cache + self.compute + self.overhead

    @property
    def bound(self) -> Bound:
        """What most of the time goes to."""
        parts: dict[Bound, float] = {
            "memory": self.weights + self.kv_cache,
            "compute": self.compute,
            "overhead": self.overhead,
        }
        return max(parts, key=lambda part: parts[part])


@dataclass(frozen=True)
class Workload:
    """Requests of one size.

    Attributes:
        input_tokens: Length of the prompt.
        output_tokens: Generated, thinking included.
    """

    input_tokens: int
    output_tokens: int

    @property
    def tokens(self) -> int:
        """What a request holds at its end."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True)
class Roofline:
    """A model on a GPU, or on several of them."""

    shape: ModelShape
    gpu: Gpu
    precision: str
    kv_cache: str
    tp_size: int = 1
    constants: Constants = FITTED

    def step(self, decoding: float, held: float, prompt_tokens: float = 0, attended: float = 0) -> StepTime:
        """Time of one step.

        Args:
            decoding: Sequences that get a token.
            held: Tokens that each of them has in the KV cache, on average.
            prompt_tokens: Tokens of prompts that are processed in the same step.
            attended: Tokens that each of these attends to, on average.
        """
        shape, gpu, constants = self.shape, self.gpu, self.constants
        bandwidth = gpu.bandwidth * constants.memory * self.tp_size
        efficiency = constants.compute_efficiency(gpu.architecture, self.precision) * self.tp_size
        linear_bytes = shape.linear_parameters * (1 if self.precision == "fp8" else _BF16_BYTES)
        output_bytes = shape.embedding_parameters * _BF16_BYTES
        kv_bytes = shape.kv_bytes_per_token(KV_VALUE_BYTES[self.kv_cache])

        tokens = decoding + prompt_tokens
        linear = 2 * shape.linear_parameters * tokens / (gpu.flops(self.precision) * efficiency)
        output = 2 * shape.embedding_parameters * decoding / (gpu.bf16_flops * efficiency)
        # Two products of queries with keys and of probabilities with values, two operations for each pair.
        attention_flops = 4 * shape.num_layers * shape.query_size * attended * prompt_tokens
        attention = attention_flops / (gpu.bf16_flops * constants.attention * self.tp_size)
        return StepTime(
            weights=(linear_bytes + output_bytes) / bandwidth,
            kv_cache=decoding * held * kv_bytes / bandwidth,
            compute=linear + output + attention,
            overhead=constants.step_s + self._all_reduce(tokens),
        )

    def steady(self, batch: float, workload: Workload) -> StepTime:
        """The mean step while `batch` sequences run and each that ends is followed by another.

        Every sequence is on average half done, and a step processes the share of the prompts that came with it.
        """
        prompt_tokens = batch * workload.input_tokens / workload.output_tokens
        held = workload.input_tokens + workload.output_tokens / 2
        return self.step(batch, held, prompt_tokens, workload.input_tokens / 2)

    def output_tokens_per_s(self, batch: float, workload: Workload) -> float:
        """Tokens generated per second by `batch` sequences together."""
        return batch / self.steady(batch, workload).total

    def itl_s(self, batch: float, workload: Workload) -> float:
        """Inter-token latency of one of `batch` sequences: a step with the prompts of the others, not its own."""
        prompt_tokens = (batch - 1) * workload.input_tokens / workload.output_tokens
        held = workload.input_tokens + workload.output_tokens / 2
        return self.step(batch, held, prompt_tokens, workload.input_tokens / 2).total

    def ttft_s(self, batch: float, workload: Workload, max_num_tokens: int) -> float:
        """Time to the first token of a request that joins `batch - 1` others, without queueing for a place.

        Half a step until the running one ends, then its prompt in chunks that leave room for the others' tokens.
        """
        others = batch - 1
        held = workload.input_tokens + workload.output_tokens / 2
        waiting = self.step(others, held).total / 2 if others else 0.0
        chunks = math.ceil(workload.input_tokens / max(1, max_num_tokens - others))
        chunk = workload.input_tokens / chunks
        return waiting + chunks * self.step(others + 1, held, chunk, workload.input_tokens / 2).total

    def prefill_tokens_per_s(self, prompt_tokens: int, max_num_tokens: int) -> float:
        """Prompt tokens per second in full steps that hold nothing else, for prompts of this length."""
        return max_num_tokens / self.step(0, 0, max_num_tokens, prompt_tokens / 2).total

    def _all_reduce(self, tokens: float) -> float:
        """Two sums over the GPUs per layer, of one hidden state a token, in a ring."""
        if self.tp_size == 1:
            return 0.0
        moved = 2 * (self.tp_size - 1) / self.tp_size * tokens * self.shape.hidden_size * _BF16_BYTES
        return 2 * self.shape.num_layers * (_ALL_REDUCE_S + moved / self.gpu.link_bandwidth)
