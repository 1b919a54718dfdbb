"""A tiny checkpoint, read-only and shared, and a trtllm-build on PATH."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fakes import trtllm_build
from tests.unit.build.tiny import tiny_checkpoint


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("source") / "Tiny-Nemotron")


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = trtllm_build.install(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
