"""The stage `verify`: what was converted is the source, and FP8 is accurate enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

import nemotron_serving
from nemotron_build.json_file import write_json
from nemotron_build.pipeline.request import Request
from nemotron_build.pipeline.stage import READ_BYTES_PER_S, SMALL_BYTES, Cost, texts_hash
from nemotron_build.pipeline.tools import Tools
from nemotron_build.profiles import Profile
from nemotron_build.steps import Steps

ACCURACY = "accuracy.json"

# Both models reading the held-out texts, on a GPU.
_MEASURING_S = 60


@dataclass(frozen=True)
class VerifyStage:
    """Holds what was converted against its source, and measures how accurate FP8 is."""

    request: Request
    converted: Path
    name = "verify"
    title = "Verifying the converted checkpoint"

    def inputs(self) -> Mapping[str, str]:
        """Thresholds and texts."""
        return {
            "accuracy": msgspec.json.encode(self.request.profile.accuracy).decode(),
            "texts": texts_hash(self.request.held_out),
            "version": nemotron_serving.__version__,
        }

    def cost(self) -> Cost:
        """It reads both checkpoints; for FP8 both models read the texts."""
        reads = 2 * self.request.source.bytes / READ_BYTES_PER_S
        return Cost(SMALL_BYTES, reads + (_MEASURING_S if self.request.profile.quantizes else 0))

    def commands(self, output: Path) -> list[list[str]]:
        """`nemotron-build verify` with the source beside it."""
        request = self.request
        command = ["nemotron-build", "verify", str(self.converted), "--source", str(request.source.path)]
        texts = ["--held-out", str(request.held_out)] if request.held_out else []
        figures = ["--accuracy", str(output / ACCURACY)]
        return [[*command, "--profile", request.profile_argument, *texts, *figures]]

    def run(self, output: Path, tools: Tools) -> None:
        """Verify, and write the figures."""
        from nemotron_build.convert.calibration import held_out_texts
        from nemotron_build.verify.converted import verify_converted

        checkpoint, profile = self.request.checkpoint, self.request.profile
        texts = held_out_texts(checkpoint, self.request.held_out)
        figures = verify_converted(self.converted, checkpoint, profile, held_out=texts, report=tools.report)
        write_json(output / ACCURACY, figures.as_dict() if figures else {})


def verify_alone(
    converted: Path, checkpoint: Path, profile: Profile, *, held_out: Path | None, accuracy: Path | None, steps: Steps
) -> None:
    """Verify a checkpoint that was converted before, and show the figures.

    Args:
        converted: What `convert` or `quantize` made.
        checkpoint: What it was made from.
        profile: What it was made for.
        held_out: File of texts that accuracy is measured with; None for the texts that ship.
        accuracy: File that the figures are written to, if one is named.
        steps: Where progress is shown.

    Raises:
        CheckpointError: the source cannot be used.
        VerificationError: what was converted is not the source, or too inaccurate.
    """
    from nemotron_build.checkpoint.check import check_checkpoint
    from nemotron_build.convert.calibration import held_out_texts
    from nemotron_build.verify.converted import verify_converted

    source = check_checkpoint(checkpoint)
    texts = held_out_texts(source, held_out)
    with steps.progress(VerifyStage.title) as report:
        figures = verify_converted(converted, source, profile, held_out=texts, report=report)
    found = figures.as_dict() if figures else {}
    for name, value in found.items():
        steps.say(f"  {name}: {value:.6g}")
    if accuracy:
        accuracy.parent.mkdir(parents=True, exist_ok=True)
        write_json(accuracy, found)
    steps.done(f"{converted} is {checkpoint}, for profile {profile.name}.")
