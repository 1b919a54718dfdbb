"""The stage `convert` of a CPU build: from a checkpoint or a GGUF file to what OpenVINO reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import nemotron_serving
from nemotron_build.pipeline.machine import Machine
from nemotron_build.pipeline.request import Request
from nemotron_build.pipeline.stage import READ_BYTES_PER_S, SMALL_BYTES, Cost
from nemotron_build.pipeline.tools import Tools

# Bytes of a weight, with the scales of its group.
_WEIGHT_BYTES = {"bf16": 2.0, "int8": 1.1, "int4": 0.6}
# Quantizing in NumPy is slower than reading.
_SLOWNESS = 10


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
        made = self.request.source.shape.parameters * _WEIGHT_BYTES[self.request.profile.precision]
        return Cost(int(made) + SMALL_BYTES, _SLOWNESS * self.request.source.bytes / READ_BYTES_PER_S)

    def commands(self, output: Path) -> list[list[str]]:
        """`nemotron-build convert`."""
        request = self.request
        command = ["nemotron-build", self.name, str(request.source.path), "--profile", request.profile_argument]
        return [[*command, "--output", str(output)]]

    def run(self, output: Path, tools: Tools) -> None:
        """Convert."""
        from nemotron_build.cpu.build import convert_for_cpu

        convert_for_cpu(self.request.source.path, self.request.profile.precision, output, report=tools.report)
