"""How long a server takes for answers, by the planner that `nemotron-build plan` prints: no GPU is asked."""

from __future__ import annotations

from nemotron_build.checkpoint.shape import LLAMA_31_8B
from nemotron_build.errors import BuildError
from nemotron_build.plan.gpus import find_gpu
from nemotron_build.plan.plan import make_plan
from nemotron_build.plan.roofline import Workload
from nemotron_build.profiles import load_profile
from nemotron_evals.card import SETTINGS
from nemotron_evals.errors import EvalError


class Speed:
    """Of one server.

    Args:
        profile_name: What it is served with, of nemotron-build's profiles.

    Raises:
        EvalError: There is no such profile, or it is for CPUs, where no speed is planned.
    """

    def __init__(self, profile_name: str) -> None:
        try:
            self._profile = load_profile(profile_name)
        except BuildError as error:
            raise EvalError(str(error)) from error
        if self._profile.gpu is None:
            raise EvalError(f"profile {profile_name} is for CPUs: expected one for a GPU, such as h100-bf16")
        self._gpu = find_gpu(self._profile.gpu)

    @property
    def gpu(self) -> str:
        """The GPU's name."""
        return self._gpu.title

    def hours(self, prompt_tokens: float, output_tokens: float, requests: float) -> float:
        """For so many requests of mean lengths, at the throughput of the largest batch that they fill.

        The last answers to end run in a small batch: one of three times the mean length is added at its speed.
        """
        longest = self._profile.limits.max_seq_len
        given = max(1, min(round(prompt_tokens), longest // 2))
        workload = Workload(given, max(1, min(round(output_tokens), longest - given)))
        fitting = [one for one in make_plan(LLAMA_31_8B, self._gpu, self._profile, workload).estimates if one.fits]
        filled = [one for one in fitting if one.batch <= max(1.0, requests)]
        best = max(filled or fitting[:1], key=lambda one: one.batch)
        in_batches_s = requests * output_tokens / best.output_tokens_per_s
        tail_s = min(SETTINGS["on"].max_tokens, 3 * output_tokens) * fitting[0].itl_ms / 1000
        return (in_batches_s + tail_s) / 3600
