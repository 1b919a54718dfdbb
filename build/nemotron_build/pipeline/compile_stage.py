"""The stage `compile`: an engine, by trtllm-build."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nemotron_build.checkpoint.shape import CONFIG
from nemotron_build.convert.trtllm_names import rank_file
from nemotron_build.errors import BuildError
from nemotron_build.machine import Machine
from nemotron_build.pipeline.engine_config import check_engine
from nemotron_build.pipeline.request import require_compiler
from nemotron_build.pipeline.stage import READ_BYTES_PER_S, SMALL_BYTES, Cost
from nemotron_build.pipeline.tools import Tools
from nemotron_build.pipeline.trtllm_build import build_command, engine_options
from nemotron_build.profiles import Profile

_COMPILE_S = 180


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
