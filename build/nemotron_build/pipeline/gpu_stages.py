"""The stages of a build for a GPU after `check`: convert or quantize, verify, compile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

import nemotron_serving
from nemotron_build.checkpoint.shape import CONFIG
from nemotron_build.convert.trtllm_checkpoint import rank_file
from nemotron_build.errors import BuildError
from nemotron_build.json_file import write_json
from nemotron_build.machine import Machine
from nemotron_build.pipeline.request import Request, require_compiler
from nemotron_build.pipeline.stage import READ_BYTES_PER_S, SMALL_BYTES, Cost, Tools, texts_hash
from nemotron_build.pipeline.trtllm_build import build_command, check_engine, engine_options
from nemotron_build.profiles import Profile
from nemotron_build.steps import Steps

ACCURACY = "accuracy.json"

# Seconds on a GPU: the model in BF16 reading the calibration texts, both models the held-out texts, trtllm-build.
_CALIBRATION_S, _MEASURING_S, _COMPILE_S = 120, 60, 180


@dataclass(frozen=True)
class ConvertStage:
    """Converts to what TensorRT-LLM reads: `convert` for BF16, `quantize` where something becomes FP8."""

    request: Request
    machine: Machine

    @property
    def name(self) -> str:
        """The command that runs it: `convert` or `quantize`."""
        return convert_name(self.request.profile)

    @property
    def title(self) -> str:
        """What is going on."""
        return "Quantizing to FP8" if self.name == "quantize" else "Converting to BF16"

    def inputs(self) -> Mapping[str, str]:
        """What of the profile decides it, the texts, and the versions of what converts."""
        profile = self.request.profile
        decides = {
            "precision": profile.precision,
            "kv_cache": profile.kv_cache,
            "flow": profile.flow,
            "tp_size": str(profile.tp_size),
            "calibration": msgspec.json.encode(profile.calibration).decode(),
            "texts": texts_hash(self.request.calibration),
            "version": nemotron_serving.__version__,
        }
        names = ("torch", "transformers", "modelopt")
        return {**decides, **{name: self.machine.versions.get(name, "") for name in names}}

    def cost(self) -> Cost:
        """The converted checkpoint, and for FP8 the calibration."""
        from nemotron_build.convert.conversion import converted_bytes

        made = converted_bytes(self.request.source.shape, self.request.profile)
        moved = self.request.source.bytes + made
        return Cost(made + SMALL_BYTES, moved / READ_BYTES_PER_S + (_CALIBRATION_S if self.name == "quantize" else 0))

    def commands(self, output: Path) -> list[list[str]]:
        """`nemotron-build convert` or `quantize`."""
        request = self.request
        command = ["nemotron-build", self.name, str(request.source.path), *request.profile_options]
        texts = ["--calibration", str(request.calibration)] if request.calibration else []
        return [[*command, *texts, "--output", str(output)]]

    def run(self, output: Path, tools: Tools) -> None:
        """Convert in one way, in the serving image as everywhere else; ModelOpt measures FP8's scales."""
        from nemotron_build.convert.conversion import convert

        checkpoint, profile = self.request.checkpoint, self.request.profile
        texts = self._texts() if profile.quantizes else []
        tools.logs.mkdir(parents=True, exist_ok=True)
        convert(checkpoint, profile, output, calibration=texts, log=tools.log(self.name), report=tools.report)

    def _texts(self) -> list[str]:
        from nemotron_build.convert.calibration import calibration_texts

        samples = self.request.profile.calibration.samples
        return calibration_texts(self.request.checkpoint, self.request.calibration, samples)


def convert_name(profile: Profile) -> str:
    """Which of the two commands converts for this profile."""
    return "quantize" if profile.quantizes else "convert"


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


@dataclass(frozen=True)
class CompileStage:
    """Compiles an engine with trtllm-build, and compares it with the profile."""

    profile: Profile
    converted: Path
    converted_bytes: int
    machine: Machine
    name = "compile"
    title = "Compiling the engine with trtllm-build"

    def inputs(self) -> Mapping[str, str]:
        """All options, the GPU, and the versions of what compiles."""
        versions = self.machine.versions
        return {
            **engine_options(self.profile),
            "gpu": self.machine.gpus[0].name if self.machine.gpus else "",
            "tensorrt_llm": versions.get("tensorrt_llm", ""),
            "tensorrt": versions.get("tensorrt", ""),
        }

    def cost(self) -> Cost:
        """An engine holds the weights once more."""
        return Cost(self.converted_bytes + 100 * SMALL_BYTES, _COMPILE_S + 4 * self.converted_bytes / READ_BYTES_PER_S)

    def commands(self, output: Path) -> list[list[str]]:
        """trtllm-build with all its options."""
        return [build_command(self.profile, self.converted, output)]

    def run(self, output: Path, tools: Tools) -> None:
        """Compile. trtllm-build leaves its timing cache where it runs, so that is beside the files."""
        require_compiler(self.profile, self.machine)
        tools.report("trtllm-build", 0, 0)
        tools.run(build_command(self.profile, self.converted, output), log=self.name, directory=output.parent)
        check_engine(output, self.profile, tools.log(self.name))


def compile_alone(profile: Profile, converted: Path, machine: Machine) -> CompileStage:
    """The stage for a checkpoint that was converted before.

    Raises:
        BuildError: the profile compiles nothing, or `converted` is no TensorRT-LLM checkpoint.
    """
    if not profile.compiles:
        raise BuildError(f"Profile {profile.name} has no engine to compile: its checkpoint is served as it is.")
    if not (converted / CONFIG).is_file() or not (converted / rank_file(0)).is_file():
        raise BuildError(
            f"{converted} is not a TensorRT-LLM checkpoint: {CONFIG} or {rank_file(0)} is missing. "
            "Name what 'nemotron-build convert' or 'quantize' made."
        )
    weights = sum(file.stat().st_size for file in converted.glob("*.safetensors"))
    return CompileStage(profile, converted, weights, machine)
