"""Which stages a request takes, and where each finds what the ones before it left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from nemotron_build.errors import BuildError
from nemotron_build.machine import Machine
from nemotron_build.pipeline.check_stage import CHECKED, Checked, CheckStage
from nemotron_build.pipeline.cpu_stage import CpuConvertStage
from nemotron_build.pipeline.gpu_stages import ACCURACY, CompileStage, ConvertStage, VerifyStage, convert_name
from nemotron_build.pipeline.request import Request
from nemotron_build.pipeline.stage import Stage

Files = Callable[[str], Path]
"""Where the files of a finished stage are, by its name."""


@dataclass(frozen=True)
class Results:
    """What the stages left for the package.

    Attributes:
        engine: Directory of the engine's files.
        checked: The file with the source's hash.
        accuracy: The file with the figures; None where nothing was measured.
    """

    engine: Path
    checked: Path
    accuracy: Path | None

    def read_sha256(self) -> str:
        """SHA-256 over the source."""
        return msgspec.json.decode(self.checked.read_bytes(), type=Checked).sha256

    def read_accuracy(self) -> dict[str, float]:
        """Figures of the quantized model, none for one that was not quantized."""
        return read_accuracy(self.accuracy) if self.accuracy else {}


def read_accuracy(path: Path) -> dict[str, float]:
    """Read figures that `verify` wrote.

    Raises:
        BuildError: it is missing, or holds something else.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, float])
    except (OSError, ValueError) as error:
        raise BuildError(
            f"{path} cannot be used: {error}. Name what 'nemotron-build verify --accuracy' wrote."
        ) from error


def convert_stage(request: Request, machine: Machine) -> ConvertStage | CpuConvertStage:
    """The stage that converts for a request."""
    if request.profile.target == "openvino":
        return CpuConvertStage(request, machine)
    return ConvertStage(request, machine)


def make_stages(request: Request, files: Files, machine: Machine) -> list[Stage]:
    """The stages before the package, in order."""
    convert = convert_stage(request, machine)
    stages: list[Stage] = [CheckStage(request), convert]
    if request.profile.target == "openvino":
        return stages
    converted = files(convert.name)
    stages.append(VerifyStage(request, converted))
    if request.profile.compiles:
        stages.append(CompileStage(request.profile, converted, convert.cost().disk_bytes, machine))
    return stages


def results(request: Request, files: Files) -> Results:
    """Where the stages leave what the package is made of."""
    profile = request.profile
    if profile.target == "openvino":
        return Results(files("convert"), files("check") / CHECKED, None)
    engine = files("compile") if profile.compiles else files(convert_name(profile))
    return Results(engine, files("check") / CHECKED, files("verify") / ACCURACY)
