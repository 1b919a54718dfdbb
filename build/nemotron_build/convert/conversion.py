"""Converting without TensorRT-LLM: ModelOpt measures FP8's scales.

The work is done by a child process, which runs this module: a job on its stdin, lines of JSON on its stdout. The
libraries print what they like into a log file, and the memory of a whole model is free again when it ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import msgspec

from nemotron_build import errors
from nemotron_build.checkpoint.shape import ModelShape, check_tp_size, read_shape
from nemotron_build.checkpoint.tokenizer import TOKENIZER
from nemotron_build.checkpoint.weights import SourceTensors
from nemotron_build.convert.fp8 import Scales, measure_scales
from nemotron_build.convert.trtllm_checkpoint import write_trtllm_checkpoint
from nemotron_build.convert.unified_checkpoint import write_unified_checkpoint
from nemotron_build.errors import BuildError, UnsupportedError
from nemotron_build.machine import gpu_memory_too_small, require_libraries
from nemotron_build.plan.memory import gpu_weight_bytes
from nemotron_build.profiles import Profile
from nemotron_build.programs import end_group
from nemotron_build.steps import Report

if TYPE_CHECKING:
    from nemotron_build.checkpoint.check import Checkpoint

_LIBRARIES = ("torch", "transformers", "modelopt")
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    # Threads that wait for each other sleep: spinning, they take ten times as long where other programs want the cores.
    "OMP_WAIT_POLICY": "PASSIVE",
}
_FAILED = 1


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


class Job(msgspec.Struct, frozen=True):
    """What to convert.

    Attributes:
        checkpoint: Directory of the source.
        profile: What to make of it.
        calibration: Texts for FP8's scales; empty for BF16.
        output: An empty directory.
    """

    checkpoint: str
    profile: Profile
    calibration: list[str]
    output: str


class _Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the child: progress, or the error it ends with."""

    what: str = ""
    done: int = 0
    total: int = 0
    error: str = ""
    kind: str = ""


def run_worker(job: Job, log: Path, report: Report) -> None:
    """Do the job in a child process and pass on its progress. It is ended where this is interrupted.

    Args:
        job: What to do.
        log: The file that everything else goes to that the child prints.
        report: Hears what is going on.

    Raises:
        BuildError: what the child raised, of the same class; or how it ended, with its last line.
    """
    with log.open("wb") as sink, tempfile.TemporaryFile() as given:
        # A file and no pipe: a child that dies before it reads does not break it.
        given.write(msgspec.json.encode(job))
        given.seek(0)
        with subprocess.Popen(
            [sys.executable, "-m", "nemotron_build.convert.conversion"],
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=sink,
            env={**_ENVIRONMENT, **os.environ},
            start_new_session=True,
        ) as process:
            try:
                failure = _follow(process, report)
                status = process.wait()
            finally:
                end_group(process)
    if failure:
        kind = getattr(errors, failure.kind)
        raise kind(failure.error)
    if status:
        raise _died(status, log)


def main() -> int:
    """Read a job from stdin and do it."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print goes into the log

    def report(what: str, done: int, total: int) -> None:
        _send(messages, _Message(what, done, total))

    try:
        do(job, report)
    except BuildError as error:
        _send(messages, _Message(error=str(error), kind=type(error).__name__))
        return _FAILED
    return 0


def do(job: Job, report: Report) -> None:
    """Convert, in this process.

    Raises:
        BuildError: the source is damaged, or the GPU's memory ran out.
    """
    checkpoint, output = Path(job.checkpoint), Path(job.output)
    try:
        shape = read_shape(checkpoint)
        source = SourceTensors(checkpoint, shape)
        scales = _scales(job, report) if job.calibration else Scales()
        if job.profile.flow == "engine":
            tp_size = job.profile.tp_size
            write_trtllm_checkpoint(source, shape, scales, output, tp_size=tp_size, report=report)
        else:
            write_unified_checkpoint(checkpoint, source, shape, scales, output, report=report)
    except Exception as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which need not be installed to read this
            raise
        raise gpu_memory_too_small("FP8 is measured") from error


def _scales(job: Job, report: Report) -> Scales:
    from tokenizers import Tokenizer

    checkpoint, profile = Path(job.checkpoint), job.profile
    tokenizer = Tokenizer.from_file(str(checkpoint / TOKENIZER))
    tokenizer.enable_truncation(profile.calibration.max_tokens)
    prompts = [encoded.ids for encoded in tokenizer.encode_batch(job.calibration, add_special_tokens=False)]
    report("Loading the model", 0, 0)
    return measure_scales(
        checkpoint,
        read_shape(checkpoint),
        [ids for ids in prompts if ids],
        weights=profile.precision == "fp8",
        kv_cache=profile.kv_cache == "fp8",
        report=report,
    )


def _follow(process: subprocess.Popen[bytes], report: Report) -> _Message | None:
    """Report until the child closes its stdout; the error that it names, if any."""
    assert process.stdout is not None  # noqa: S101 - it is PIPE
    failure = None
    for line in process.stdout:
        message = msgspec.json.decode(line, type=_Message)
        if message.error:
            failure = message
        else:
            report(message.what, message.done, message.total)
    return failure


def _died(status: int, log: Path) -> BuildError:
    if status == -signal.SIGKILL:
        return UnsupportedError(
            "Converting was killed, most likely for want of memory: it takes the model in BF16 and a rank beside it. "
            "Use a machine with more, or a higher tp_size."
        )
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    last = lines[-1].strip() if lines else "it printed nothing"
    return BuildError(f"Converting failed with status {status}: {last} The log is {log}.")


def _send(messages: TextIO, message: _Message) -> None:
    messages.write(msgspec.json.encode(message).decode() + "\n")
    messages.flush()


if __name__ == "__main__":
    sys.exit(main())
