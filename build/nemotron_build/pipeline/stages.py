"""Which stages a request takes, and where each finds what the ones before it left.

`check`, which all begin with, and `convert` for a CPU are here; those for a GPU are in gpu_stages.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

import nemotron_serving
from nemotron_build.errors import BuildError
from nemotron_build.json_file import write_json
from nemotron_build.machine import Machine
from nemotron_build.pipeline.gpu_stages import ACCURACY, CompileStage, ConvertStage, VerifyStage, convert_name
from nemotron_build.pipeline.request import Request
from nemotron_build.pipeline.stage import READ_BYTES_PER_S, SMALL_BYTES, Cost, Stage, Tools

Files = Callable[[str], Path]
"""Where the files of a finished stage are, by its name."""

CHECKED = "checkpoint.json"
CONVERSION = "conversion.json"
# Quantizing in NumPy and checking the result are slower than reading.
_SLOWNESS = 10


class Checked(msgspec.Struct, frozen=True):
    """The content of checkpoint.json, what `check` leaves.

    Attributes:
        sha256: Over all files that a build reads.
    """

    sha256: str


@dataclass(frozen=True)
class CheckStage:
    """Reads the whole checkpoint once, which shows whether it is the one that was built from before."""

    request: Request
    name = "check"
    title = "Checking the checkpoint"

    def inputs(self) -> Mapping[str, str]:
        """Names, sizes and times: a file that was touched is read again, and compared by its content."""
        files = self.request.source.files
        seen = {str(file): f"{file.stat().st_size} {file.stat().st_mtime_ns}" for file in files}
        return {**seen, "scan_values": str(self.request.scan_values), "version": nemotron_serving.__version__}

    def cost(self) -> Cost:
        """It reads everything, twice where values are scanned."""
        reads = 2 if self.request.scan_values else 1
        return Cost(SMALL_BYTES, reads * self.request.source.bytes / READ_BYTES_PER_S)

    def commands(self, output: Path) -> list[list[str]]:  # noqa: ARG002
        """`nemotron-build check`."""
        scan = ["--scan-values"] if self.request.scan_values else []
        return [["nemotron-build", "check", str(self.request.source.path), *scan]]

    def run(self, output: Path, tools: Tools) -> None:
        """Scan the values, if that was asked for, and hash the files."""
        from nemotron_build.checkpoint.weights import scan_tensors

        source = self.request.source
        if self.request.scan_values:
            scan_tensors(self.request.checkpoint.tensors, tools.report)
        write_json(output / CHECKED, Checked(source.fingerprint(tools.report)))


class Conversion(msgspec.Struct, frozen=True):
    """The content of conversion.json: what converting found out that the package needs.

    Attributes:
        precision: How the weights are stored, for people.
        stop_token_ids: Tokens that end an output.
        chat_template: Jinja source, where the model has one.
        accuracy: Figures of the converted model against its source.
    """

    precision: str
    stop_token_ids: tuple[int, ...]
    chat_template: str | None
    accuracy: dict[str, float]


@dataclass(frozen=True)
class CpuConvertStage:
    """Makes OpenVINO's files and the tokenizer."""

    request: Request
    machine: Machine
    name = "convert"
    title = "Converting for OpenVINO"

    def inputs(self) -> Mapping[str, str]:
        """The precision, and the version of OpenVINO."""
        version = self.machine.versions.get("openvino", "")
        return {
            "precision": self.request.profile.precision,
            "openvino": version,
            "version": nemotron_serving.__version__,
        }

    def cost(self) -> Cost:
        """The weights in their new precision."""
        from nemotron_build.cpu.to_openvino import converted_bytes

        made = converted_bytes(self.request.source.shape, self.request.profile.precision)
        return Cost(made, _SLOWNESS * self.request.source.bytes / READ_BYTES_PER_S)

    def commands(self, output: Path) -> list[list[str]]:
        """`nemotron-build convert`."""
        request = self.request
        command = ["nemotron-build", self.name, str(request.source.path), *request.profile_options]
        return [[*command, "--output", str(output)]]

    def run(self, output: Path, tools: Tools) -> None:
        """Convert, and keep what the package needs to know."""
        from nemotron_build.cpu.to_openvino import convert_for_cpu

        source, precision = self.request.source, self.request.profile.precision
        made = convert_for_cpu(source.gguf or source.path, precision, output, report=tools.report)
        write_json(
            output / CONVERSION,
            Conversion(made.precision, made.stop_token_ids, made.chat_template, asdict(made.accuracy)),
        )


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


def read_conversion(directory: Path) -> Conversion:
    """Read what converting left beside the engine's files.

    Raises:
        BuildError: it is missing or not readable.
    """
    path = directory / CONVERSION
    try:
        return msgspec.json.decode(path.read_bytes(), type=Conversion)
    except (OSError, ValueError) as error:
        raise BuildError(f"{path} cannot be used: {error}. Name what 'nemotron-build convert' made.") from error


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
