"""The engine alone and the server around it: started, asked the same questions, weighed, stopped.

`python -m benchmarks.contenders PACKAGE` is the process of the engine alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from nemotron_serving.package import Package
    from nemotron_serving.stages.preprocess import Preprocessor

OUTPUT_TOKENS = 96
_TOPICS = ("rain", "bread", "rivers", "clocks", "gardens", "ships", "maps", "bridges", "music", "glass")
BIN = Path(sys.executable).parent
_START_S = 120


def question(number: int) -> str:
    """A prompt that differs from every other number's early on, so that no prefix cache helps either side."""
    return f"Number {number}: tell me about {_TOPICS[number % len(_TOPICS)]} and about the number {number * 7919}."


def long_text(characters: int) -> str:
    """Text of the standard library's sources: varied words, code and numbers."""
    parts: list[str] = []
    size = 0
    for path in sorted(Path(os.__file__).parent.glob("*.py")):
        parts.append(path.read_text(encoding="utf-8", errors="replace"))
        size += len(parts[-1])
        if size >= characters:
            break
    return "".join(parts)[:characters]


class RawEngine:
    """OpenVINO's pipeline alone, in a process of its own: the base of the ratios."""

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
    """Start OpenVINO's pipeline in a process of its own; it runs `main` of this module."""
    command = [sys.executable, "-m", "benchmarks.contenders", str(package)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise SystemExit("The raw engine did not start; its error stands above.")
            yield RawEngine(process)
        finally:
            process.terminate()


class Server:
    """A running nemotron-serve.

    Attributes:
        urls: Where it listens, by the names that its ready file has.
        address: Of gRPC.
    """

    def __init__(self, process: subprocess.Popen[bytes], info: dict[str, Any], ready_seconds: float) -> None:
        self._process = process
        self.urls = {name: str(url) for name, url in info.items() if name.endswith("_url")}
        self.address = self.urls["grpc_url"].removeprefix("grpc://")
        self.ready_seconds = ready_seconds

    @property
    def pid(self) -> int:
        """Process id of nemotron-serve."""
        return self._process.pid

    def memory_mib(self) -> dict[str, float]:
        """Memory of nemotron-serve, tritonserver and its Python processes together."""
        return _memory_mib(family(self.pid))


@contextlib.contextmanager
def server(package: Path, *options: str) -> Iterator[Server]:
    """A package served on free ports."""
    with tempfile.TemporaryDirectory() as directory:
        ready = Path(directory) / "ready.json"
        ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
        command = [str(BIN / "nemotron-serve"), str(package), *ports, "--ready-file", str(ready), *options]
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


@contextlib.contextmanager
def front(served: Server, *options: str) -> Iterator[tuple[str, int]]:
    """nemotron-front beside a server on a free port: its URL, and its process's id."""
    with tempfile.TemporaryDirectory() as directory:
        ready, log = Path(directory) / "ready.json", Path(directory) / "log"
        command = [str(BIN / "nemotron-front"), f"grpc://{served.address}", "--port", "0", "--ready-file", str(ready)]
        begin = time.perf_counter()
        with log.open("wb") as output, subprocess.Popen([*command, *options], stderr=output) as process:
            try:
                while not ready.exists():
                    if process.poll() is not None or time.perf_counter() - begin > _START_S:
                        process.kill()
                        raise SystemExit(f"nemotron-front did not start: {log.read_text()}")
                    time.sleep(0.02)
                yield json.loads(ready.read_text())["front_url"], process.pid
            finally:
                process.kill()  # what still runs is nobody's any more


@contextlib.contextmanager
def edge(served: Server) -> Iterator[tuple[str, str]]:
    """The Envoy of deploy/envoy before a server with a front, with its keys: where gRPC goes, and OpenAI's API."""
    from tests.balancer.envoy import KEYS, PROGRAM, balancing

    if not PROGRAM.exists():
        raise SystemExit("Envoy is missing: run 'make setup-envoy' first.")
    with (
        tempfile.TemporaryDirectory() as directory,
        balancing([served.urls], Path(directory), keys=KEYS.read_text()) as balancer,
    ):
        yield balancer.url, f"{balancer.http_url}/v1"


def simulated_package(path: Path, *options: str) -> Path:
    """Write a simulated package, with these options of `nemotron-build simulated`."""
    subprocess.run(
        [str(BIN / "nemotron-build"), "simulated", "-o", str(path), *options], check=True, capture_output=True
    )
    return path


def main() -> None:
    """Generate with the engine alone, until standard input ends.

    A line of it is a job, as JSON ({"numbers": [...], "max_tokens": n}), and is answered with a line.
    """
    # Not at the top: what the engine's process holds is compared with what the server holds.
    from nemotron_serving.engine.openvino.library import open_pipeline
    from nemotron_serving.package import Package
    from nemotron_serving.stages.preprocess import Preprocessor

    package = Package.load(Path(sys.argv[1]))
    pipeline = open_pipeline(package, kv_cache_gib=4, threads=None)
    preprocessor = Preprocessor(package)
    _generate(package, preprocessor, pipeline, [0], 4)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        job = json.loads(line)
        result = _generate(package, preprocessor, pipeline, job["numbers"], job["max_tokens"])
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


def _generate(
    package: Package, preprocessor: Preprocessor, pipeline: Any, numbers: list[int], max_tokens: int
) -> dict[str, float]:
    """Generate for all prompts at once; tokens/s of all and time to the first token of the first one."""
    from nemotron_serving.engine import EngineRequest, Sampling
    from nemotron_serving.engine.openvino.library import add_request

    sampling = Sampling(min_tokens=max_tokens)
    prompts = [preprocessor.prepare({"text_input": question(number)})[0] for number in numbers]
    begin = time.perf_counter()
    handles = []
    for number, ids in zip(numbers, prompts, strict=True):
        request = EngineRequest(number, ids.tolist(), max_tokens, sampling, frozenset(package.serving.stop_token_ids))
        handles.append(add_request(pipeline, request))
    tokens, first = 0, 0.0
    while pipeline.has_non_finished_requests():
        pipeline.step()
        for handle in handles:
            if handle.can_read():
                tokens += sum(len(output.generated_ids) for output in handle.read().values())
        first = first or time.perf_counter() - begin
    seconds = time.perf_counter() - begin
    return {"tokens": tokens, "seconds": seconds, "tokens_per_s": tokens / seconds, "ttft_ms": 1000 * first}


def family(pid: int) -> list[psutil.Process]:
    """A process and all that came of it."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _memory_mib(processes: list[psutil.Process]) -> dict[str, float]:
    """Resident and proportional set size in MiB; the latter counts what processes share once."""
    full = [process.memory_full_info() for process in processes]
    return {kind: sum(getattr(info, kind) for info in full) / 2**20 for kind in ("rss", "pss")}


if __name__ == "__main__":
    main()
