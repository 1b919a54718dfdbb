"""Converting without TensorRT-LLM: ModelOpt measures FP8's scales, and the result appears all at once.

The work is done by a child process (`convert.worker`): the libraries print what they like into a log file, and the
memory of a whole model is free again when it ends.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nemotron_build.checkpoint.tensor_parallel import check_tp_size
from nemotron_build.convert.worker import Job, run_worker
from nemotron_build.errors import BuildError, DiskSpaceError
from nemotron_build.machine import require_libraries
from nemotron_build.steps import Report

if TYPE_CHECKING:
    from nemotron_build.checkpoint.check import Checkpoint
    from nemotron_build.checkpoint.shape import ModelShape
    from nemotron_build.profiles import Profile

_LIBRARIES = ("torch", "transformers", "modelopt")


def convert(
    checkpoint: Checkpoint, profile: Profile, output: Path, *, calibration: Sequence[str], report: Report
) -> None:
    """Write a TensorRT-LLM checkpoint (flow `engine`) or a unified Hugging Face one (flow `pytorch`).

    The same inputs give the same files. However it ends, ctrl-C included, `output` is whole or not there. What the
    libraries say is kept in `output` with `.log` appended.

    Args:
        checkpoint: The source.
        profile: Says precision, KV cache, flow and tensor parallelism.
        output: Directory to make.
        calibration: Texts for FP8's scales, as the model is to read them (`calibration_texts`); unused for BF16.
        report: Hears what is going on.

    Raises:
        UnsupportedError: tp_size does not divide the model, or a library is missing.
        DiskSpaceError: not enough room.
        CheckpointError: the source is damaged.
        BuildError: `output` exists, there are no calibration texts, or a library failed.
    """
    _check(checkpoint, profile, output, calibration)
    output = output.absolute()
    output.parent.mkdir(parents=True, exist_ok=True)
    needed, free = converted_bytes(checkpoint.shape, profile), shutil.disk_usage(output.parent).free
    if needed > free:
        raise DiskSpaceError(
            f"{output.parent} has {free / 1e9:.1f} GB free, the converted checkpoint takes {needed / 1e9:.1f} GB. "
            f"Free {(needed - free) / 1e9:.1f} GB there, or name another directory."
        )
    work = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        made = work / "converted"  # a directory of its own, as `work` is closed to other users
        made.mkdir()
        job = Job(
            checkpoint=str(checkpoint.path.absolute()),
            profile=profile,
            calibration=list(calibration) if profile.quantizes else [],
            output=str(made),
        )
        run_worker(job, log_of(output), report)
        os.rename(made, output)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def log_of(output: Path) -> Path:
    """Where the output of the libraries is kept."""
    return output.with_name(f"{output.name}.log")


def converted_bytes(shape: ModelShape, profile: Profile) -> int:
    """Bytes of the converted checkpoint, scales and headers left out: they are under a thousandth.

    In a TensorRT-LLM checkpoint every rank holds the whole embedding, and a tied output layer is written out.
    """
    linear = shape.linear_parameters * (1 if profile.precision == "fp8" else 2)
    others = (shape.parameters - shape.linear_parameters) * 2
    if profile.flow == "pytorch":
        return linear + others
    copies = profile.tp_size - 1 + shape.tie_word_embeddings
    return linear + others + copies * shape.embedding_parameters * 2


def _check(checkpoint: Checkpoint, profile: Profile, output: Path, calibration: Sequence[str]) -> None:
    if output.exists():
        raise BuildError(f"{output} exists. Remove it, or name another directory.")
    if profile.flow == "engine":
        check_tp_size(checkpoint.shape, profile.tp_size)
    if profile.quantizes and not calibration:
        raise BuildError(f"Profile {profile.name} quantizes to FP8, which needs at least one calibration text.")
    require_libraries(_LIBRARIES, "Converting")
