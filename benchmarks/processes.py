"""The processes a benchmark measures: started, asked, weighed, stopped."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

_BIN = Path(sys.executable).parent
_START_S = 120


class RawEngine:
    """The worker of benchmarks/raw_engine.py."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, numbers: list[int], max_tokens: int) -> dict[str, float]:
        """Generate for these prompts at once."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"numbers": numbers, "max_tokens": max_tokens}) + "\n")
        self._process.stdin.flush()
        result: dict[str, float] = json.loads(self._process.stdout.readline())
        return result

    def memory_mib(self) -> dict[str, float]:
        """Memory of the worker."""
        return _memory_mib([psutil.Process(self._process.pid)])


@contextlib.contextmanager
def raw_engine(package: Path) -> Iterator[RawEngine]:
    """OpenVINO's pipeline in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.raw_engine", str(package)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise SystemExit("The raw engine did not start; its error stands above.")
            yield RawEngine(process)
        finally:
            process.terminate()


class Server:
    """A running nemotron-serve."""

    def __init__(self, process: subprocess.Popen[bytes], info: dict[str, Any], ready_seconds: float) -> None:
        self._process = process
        self.address = str(info["grpc_url"]).removeprefix("grpc://")
        self.ready_seconds = ready_seconds

    def memory_mib(self) -> dict[str, float]:
        """Memory of nemotron-serve, tritonserver and its Python processes together."""
        launcher = psutil.Process(self._process.pid)
        return _memory_mib([launcher, *launcher.children(recursive=True)])


@contextlib.contextmanager
def server(package: Path, *options: str) -> Iterator[Server]:
    """A package served on free ports."""
    with tempfile.TemporaryDirectory() as directory:
        ready = Path(directory) / "ready.json"
        ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
        command = [str(_BIN / "nemotron-serve"), str(package), *ports, "--ready-file", str(ready), *options]
        begin = time.perf_counter()
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            try:
                while not ready.exists():
                    if process.poll() is not None or time.perf_counter() - begin > _START_S:
                        process.kill()
                        assert process.stderr is not None
                        raise SystemExit(f"nemotron-serve did not start: {process.stderr.read().decode()}")
                    time.sleep(0.02)
                yield Server(process, json.loads(ready.read_text()), time.perf_counter() - begin)
            finally:
                process.send_signal(signal.SIGTERM)


def _memory_mib(processes: list[psutil.Process]) -> dict[str, float]:
    """Resident and proportional set size in MiB; the latter counts what processes share once."""
    full = [process.memory_full_info() for process in processes]
    return {kind: sum(getattr(info, kind) for info in full) / 2**20 for kind in ("rss", "pss")}
