"""Checkpoints converted for real, once a run, and copies of them to plant faults in."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nemotron_build.checkpoint.check import Checkpoint, check_checkpoint
from nemotron_build.profiles import Accuracy, Profile, load_profile
from nemotron_build.verify.accuracy import AccuracyFigures
from nemotron_build.verify.converted import verify_converted
from tests.unit.build.tiny import tiny_checkpoint

FP8 = load_profile("h100-fp8")
PROFILES = {
    "trt": msgspec.structs.replace(FP8, tp_size=2),
    "trt-kv": msgspec.structs.replace(FP8, kv_cache="fp8"),
    "trt-bf16": msgspec.structs.replace(FP8, precision="bf16"),
    "hf": msgspec.structs.replace(FP8, flow="pytorch"),
    "hf-kv": msgspec.structs.replace(FP8, flow="pytorch", kv_cache="fp8"),
}
CALIBRATION = [
    "What is the capital of France? What is the weather in Bangkok today?",
    "When the river rises the boats are tied to the trees, and the children are told to stay away from the water.",
    "<think> The user wants to know the answer. I should think about it first. </think> The answer is here.",
]
HELD_OUT = [
    "There are more things in the world than anyone can count, and most of them have no name that people agree on.",
    "How many letters are there in this word? You answer in one sentence, and you think about it first.",
    "The children count the boats. The river has no name, and the water rises to the trees of Bangkok.",
]


@dataclass
class Planted:
    """A converted checkpoint that a test may change.

    Attributes:
        directory: Where it lies.
        source: What it was made from.
        profile: What it was made for.
    """

    directory: Path
    source: Checkpoint
    profile: Profile

    def verify(self, *, held_out: list[str] | None = None, accuracy: Accuracy | None = None) -> AccuracyFigures | None:
        profile = msgspec.structs.replace(self.profile, accuracy=accuracy or self.profile.accuracy)
        return verify_converted(
            self.directory, self.source, profile, held_out=held_out, report=lambda _what, _done, _total: None
        )

    def edit_json(self, change: Callable[[dict[str, Any]], object], name: str = "config.json") -> None:
        path = self.directory / name
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    def edit_tensors(self, change: Callable[[dict[str, Any]], object], rank: int = 0) -> None:
        from safetensors.torch import load_file, save_file

        path = self.directory / ("model.safetensors" if self.profile.flow == "pytorch" else f"rank{rank}.safetensors")
        tensors = load_file(path)
        change(tensors)
        # Not over the file itself: what was loaded may still be a view of it.
        save_file(tensors, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return check_checkpoint(tiny_checkpoint(tmp_path_factory.mktemp("source")))


@pytest.fixture(scope="session")
def tied_source(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return check_checkpoint(tiny_checkpoint(tmp_path_factory.mktemp("tied"), tie=True, rope_scaling=False, layers=1))


@pytest.fixture(scope="session")
def convert_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Checkpoint, Profile], Path]:
    """Converts in this process, each checkpoint and profile once."""
    made: dict[tuple[Path, str], Path] = {}

    def convert(source: Checkpoint, profile: Profile) -> Path:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what ModelOpt and what it imports say
            from nemotron_build.convert.conversion import Job, do

            key = source.path, repr(profile)
            if key not in made:
                directory = tmp_path_factory.mktemp("converted")
                texts = CALIBRATION if profile.quantizes else []
                do(Job(str(source.path), profile, texts, str(directory)), lambda _what, _done, _total: None)
                made[key] = directory
        return made[key]

    return convert


@pytest.fixture
def plant(
    source: Checkpoint, convert_once: Callable[[Checkpoint, Profile], Path], tmp_path: Path
) -> Callable[..., Planted]:
    """Gives a copy of a converted checkpoint by the name of its profile."""

    def plant(name: str, of: Checkpoint = source) -> Planted:
        directory = tmp_path / "converted"
        shutil.copytree(convert_once(of, PROFILES[name]), directory)
        return Planted(directory, of, PROFILES[name])

    return plant
