"""The stage `convert` or `quantize`: from a Hugging Face checkpoint to what TensorRT-LLM reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

import nemotron_serving
from nemotron_build.machine import Machine
from nemotron_build.pipeline.request import Request
from nemotron_build.pipeline.stage import READ_BYTES_PER_S, SMALL_BYTES, Cost, texts_hash
from nemotron_build.pipeline.tools import Tools
from nemotron_build.profiles import Profile

# Reading the texts with the model in BF16, on a GPU.
_CALIBRATION_S = 120


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
