"""A console that keeps what was said, and one thread for all that computes."""

from __future__ import annotations

import io
import os

import pytest
from rich.console import Console

# Tiny models gain nothing from several threads, and threads that spin for each other hold up all else that runs. torch
# reads this when it is imported, here and in child processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from nemotron_build.steps import Steps


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def steps(said: io.StringIO) -> Steps:
    return Steps(Console(file=said))
