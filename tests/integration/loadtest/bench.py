"""Starts nemotron-bench as a program: it patches its process, and this one is to stay as it is."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from nemotron_loadtest.cli import main
from nemotron_loadtest.run.record import SAMPLES

COMMAND = [sys.executable, "-m", "nemotron_loadtest"]
_STARTED: list[subprocess.Popen[str]] = []


def bench(*arguments: object, timeout_s: float = 200) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=timeout_s)


def bench_here(capsys: pytest.CaptureFixture[str], *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run it in this process, for commands that send nothing: they patch nothing, and need not start anew."""
    capsys.readouterr()
    status = main([*map(str, arguments)])
    output, errors = capsys.readouterr()
    return subprocess.CompletedProcess([*map(str, arguments)], status, output, errors)


def start_bench(*arguments: object) -> subprocess.Popen[str]:
    """Start it. Whatever becomes of the test, it is gone after it: see `end_started`."""
    command = [*COMMAND, *map(str, arguments)]
    _STARTED.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    return _STARTED[-1]


def end_started() -> None:
    """End what tests have started and not waited for."""
    while _STARTED:
        with _STARTED.pop() as process:
            process.kill()


def wait_for(directory: Path, samples: int = 1) -> None:
    """Wait until a run has written so many."""
    until = time.monotonic() + 200
    path = directory / SAMPLES
    while not path.exists() or path.read_bytes().count(b"\n") < samples:
        for process in _STARTED:
            assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "it goes on, and writes no samples"
        time.sleep(0.02)


def scenario_file(directory: Path, url: str, text: str = "", **fields: object) -> Path:
    """A small scenario: `fields` at the top, and `text` behind them."""
    fields = {"url": url, "duration_s": 1.0, "warmup_s": 0.2, "drain_s": 5.0, **fields}
    lines = [f"{name} = {value!r}" for name, value in fields.items()]
    path = directory / "scenario.toml"
    path.write_text("\n".join([*lines, text]))
    return path


def poisson(rate: float) -> str:
    """Arrivals."""
    return f'[arrivals]\nkind = "poisson"\nrate = {rate}\n'


def closed(users: int) -> str:
    """Arrivals."""
    return f'[arrivals]\nkind = "closed"\nusers = {users}\n'
