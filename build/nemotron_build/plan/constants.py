"""The constants of the roofline that were fitted to published figures. This is their only home.

How: `python -m nemotron_build.plan.fit` minimizes the squared logarithms of predicted over published, by
Levenberg-Marquardt, over the rows of `published.json` that `validation.py` marks as fitted: the throughput at five of
the eleven request sizes, and the inter-token latency at one of three. It prints what is written here, and a test runs
it again and compares. Nothing is adjusted by version of TensorRT-LLM or by GPU model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


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
        """Of an architecture and precision; of the nearest that was fitted, where this one was not."""
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
