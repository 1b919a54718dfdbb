"""What the images are made of has the versions that the tests run with."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from nemotron_build.docker import wheels_command

ROOT = Path(__file__).parents[2]
IMAGE = ROOT / "deploy" / "image"


def pins(lock: Path) -> set[tuple[str, str]]:
    """Names and versions; some are there twice, for other Pythons."""
    return set(re.findall(r"^([\w.-]+)==([^\s;]+)", lock.read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", ["front", "gpu", "requirements"])
def test_versions_are_those_of_the_lock(name: str) -> None:
    ours = pins(IMAGE / f"{name}.lock")
    assert ours
    assert ours <= pins(ROOT / "requirements.lock")


def test_the_wheel_is_built_by_what_pyproject_names() -> None:
    (wanted,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert tuple(wanted.split("==")) in pins(IMAGE / "build.lock")


def test_the_gpu_image_gets_what_a_container_of_it_is_given() -> None:
    directory = Path("wheels")
    command = wheels_command(directory)
    assert {name for name, _ in pins(IMAGE / "gpu.lock")} == set(command[command.index(str(directory)) + 1 :])
