"""Converting without TensorRT-LLM: ModelOpt measures FP8's scales.

The work is done by a child process (`convert.worker`): the libraries print what they like into a log file, and the
memory of a whole model is free again when it ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nemotron_build.checkpoint.shape import check_tp_size
from nemotron_build.convert.worker import Job, run_worker
from nemotron_build.errors import BuildError
from nemotron_build.machine import require_libraries
from nemotron_build.plan.memory import gpu_weight_bytes
from nemotron_build.steps import Report

if TYPE_CHECKING:
    from nemotron_build.checkpoint.check import Checkpoint
    from nemotron_build.checkpoint.shape import ModelShape
    from nemotron_build.profiles import Profile

_LIBRARIES = ("torch", "transformers", "modelopt")


def convert(
    checkpoint: Checkpoint, profile: Profile, output: Path, *, calibration: Sequence[str], log: Path, report: Report
) -> None:
    """Write a TensorRT-LLM checkpoint (flow `engine`) or a unified Hugging Face one (flow `pytorch`).

    The same inputs give the same files.

    Args:
        checkpoint: The source.
        profile: Says precision, KV cache, flow and tensor parallelism.
        output: An empty directory.
        calibration: Texts for FP8's scales, as the model is to read them (`calibration_texts`); unused for BF16.
        log: The file for what the libraries say.
        report: Hears what is going on.

    Raises:
        UnsupportedError: tp_size does not divide the model, a library is missing, or the memory is too small.
        CheckpointError: the source is damaged.
        BuildError: there are no calibration texts, or a library failed.
    """
    check_tp_size(checkpoint.shape, profile.tp_size)
    if profile.quantizes and not calibration:
        raise BuildError(f"Profile {profile.name} quantizes to FP8, which needs at least one calibration text.")
    require_libraries(_LIBRARIES, "Converting")
    job = Job(
        checkpoint=str(checkpoint.path.absolute()),
        profile=profile,
        calibration=list(calibration) if profile.quantizes else [],
        output=str(output.absolute()),
    )
    run_worker(job, log, report)


def converted_bytes(shape: ModelShape, profile: Profile) -> int:
    """Bytes of the converted checkpoint without its headers.

    A TensorRT-LLM checkpoint has what each GPU holds, and a tied output layer written out.
    """
    if profile.flow == "pytorch":
        return gpu_weight_bytes(shape, profile.precision, profile.kv_cache)
    written_out = replace(shape, tie_word_embeddings=False)
    return profile.tp_size * gpu_weight_bytes(written_out, profile.precision, profile.kv_cache, profile.tp_size)
