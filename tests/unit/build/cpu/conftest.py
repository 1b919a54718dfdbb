"""Tiny checkpoints of Llama 3.1's kind, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nemotron_build.cpu.to_openvino import CpuResult, convert_for_cpu
from nemotron_build.profiles import Precision
from tests.unit.build.tiny import tiny_checkpoint

Convert = Callable[[Path, Precision], tuple[CpuResult, Path]]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grouped KV heads, llama3 rope scaling, an output layer of its own."""
    return tiny_checkpoint(tmp_path_factory.mktemp("cpu") / "tiny", hidden=256, layers=2)


@pytest.fixture
def convert(tmp_path: Path) -> Convert:
    def run(source: Path, precision: Precision) -> tuple[CpuResult, Path]:
        output = tmp_path / "converted"
        return convert_for_cpu(source, precision, output, report=lambda *_: None), output

    return run
