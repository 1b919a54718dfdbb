"""The stage `convert` of a CPU build: from a checkpoint or a GGUF file to what OpenVINO reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

import nemotron_serving
from nemotron_build.errors import BuildError
from nemotron_build.json_file import write_json
from nemotron_build.machine import Machine
from nemotron_build.pipeline.request import Request
from nemotron_build.pipeline.stage import READ_BYTES_PER_S, Cost
from nemotron_build.pipeline.tools import Tools

CONVERSION = "conversion.json"
# Quantizing in NumPy and checking the result are slower than reading.
_SLOWNESS = 10


class Conversion(msgspec.Struct, frozen=True):
    """The content of conversion.json: what converting found out that the package needs.

    Attributes:
        precision: Of the weights, for people.
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
