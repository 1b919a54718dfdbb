"""The stage between converting and compiling: a converted checkpoint is compared with its source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nemotron_build.checkpoint.shape import CONFIG
from nemotron_build.machine import require_libraries
from nemotron_build.profiles import Profile
from nemotron_build.verify.accuracy import AccuracyFigures, check_accuracy, measure
from nemotron_build.verify.expected import check_claims, read_object
from nemotron_build.verify.hugging_face import HuggingFaceConfig
from nemotron_build.verify.tensorrt_llm import TensorRtLlmConfig
from nemotron_build.verify.tensors_and_scales import check_scales, check_tensors, check_weights

if TYPE_CHECKING:
    from nemotron_build.checkpoint.check import Checkpoint
    from nemotron_build.steps import Report

_LIBRARIES = ("torch", "transformers")


def verify_converted(
    converted: Path, source: Checkpoint, profile: Profile, *, held_out: Sequence[str] | None, report: Report
) -> AccuracyFigures | None:
    """Check a converted checkpoint: config, tensors, scales, weights, and the accuracy of FP8.

    Args:
        converted: Directory of a TensorRT-LLM checkpoint or of a unified Hugging Face checkpoint.
        source: What it was made from.
        profile: What it was made for. Its `accuracy` has the thresholds.
        held_out: Texts to measure the accuracy with, other than those it was calibrated with; None to leave it out.
        report: Called with what is going on, how much of it is done, and of how much.

    Returns:
        The accuracy of FP8 weights or an FP8 KV cache; None where all is BF16, as in the source, or without texts.

    Raises:
        VerificationError: the first thing that is not as it has to be.
        UnsupportedError: the accuracy cannot be measured here.
    """
    measures = held_out is not None and profile.quantizes
    if measures:
        require_libraries(_LIBRARIES, "Measuring FP8's accuracy")
    config = _read_config(converted)
    check_claims(config.claims(source.shape, profile))
    found = config.converted(source.shape, profile)
    check_tensors(found)
    check_scales(found)
    check_weights(found, source, report)
    if held_out is None or not measures:
        return None
    figures = measure(found, source, held_out, report)
    check_accuracy(figures, profile.accuracy)
    return figures


def _read_config(directory: Path) -> TensorRtLlmConfig | HuggingFaceConfig:
    # TensorRT-LLM's own config names one architecture, Hugging Face's a list of them.
    is_tensorrt_llm = "architecture" in read_object(directory / CONFIG)
    return TensorRtLlmConfig(directory) if is_tensorrt_llm else HuggingFaceConfig(directory)
