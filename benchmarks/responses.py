"""What a response costs in all processes together: ours, and beside them NVIDIA's stock models, in turn.

`python -m benchmarks.responses ADDRESS PID` is the process that reads; PID is that of the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
from rich.console import Console
from tritonclient.grpc import service_pb2

from benchmarks.contenders import Server, family, server, simulated_package
from benchmarks.lockstep import lockstep_repository
from benchmarks.streams import Input, tensor

_TOKENS = {1: 1000, 16: 200, 64: 80, 256: 40}  # of each stream, by how many there are
_METHOD = "/inference.GRPCInferenceService/ModelStreamInfer"
_Runs = dict[str, list[dict[str, float]]]  # by the number of streams
_console = Console(stderr=True)


def measure_responses(rounds: int, stock: Path | None) -> dict[str, Any]:
    """CPU time a response of all the server's processes, at full speed, each with one token of one stream.

    Args:
        rounds: Runs of each side at each number of streams.
        stock: A model repository with NVIDIA's ensemble, to be measured as well.
    """
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        package = simulated_package(Path(directory) / "package", "--max-batch-size", "256", "--max-waiting", "64")
        repositories = {"ensemble": lockstep_repository(Path(directory) / "models")}
        if stock is not None:
            repositories["stock"] = stock
        readers: dict[str, Reader] = {}
        for name, repository in repositories.items():
            options = ("--model-repository", str(repository), "--stream-interval-ms", "0", "--hang-seconds", "0")
            readers[name] = stack.enter_context(reader(stack.enter_context(server(package, *options))))
        runs: dict[str, _Runs] = {name: {str(streams): [] for streams in _TOKENS} for name in readers}
        for round_number in range(rounds + 1):
            for streams, tokens in _TOKENS.items():
                # Forwards and backwards by turns, so that a drifting machine favours nobody.
                for name in readers if round_number % 2 else reversed(readers):
                    run = readers[name].run(streams, tokens)
                    _console.print(f"  {streams:>3} streams: {name} {run['cpu_ms']:.3f} ms")
                    if round_number:  # the first warms up
                        runs[name][str(streams)].append(run)
    result = {
        "response_cpu_ms": {"ensemble": _medians(runs["ensemble"], "cpu_ms")},
        "responses_per_s": {"ensemble": _medians(runs["ensemble"], "responses_per_s")},
    }
    return result | (_beside(runs["stock"], runs["ensemble"]) if stock is not None else {})


def _beside(stock: _Runs, ours: _Runs) -> dict[str, Any]:
    return {
        "stock_response_cpu_ms": _medians(stock, "cpu_ms"),
        "stock_responses_per_s": _medians(stock, "responses_per_s"),
        "response_cpu_ratio_to_stock": {
            streams: statistics.median(
                one["cpu_ms"] / other["cpu_ms"] for one, other in zip(found, stock[streams], strict=True)
            )
            for streams, found in ours.items()
        },
    }


def _medians(runs: _Runs, figure: str) -> dict[str, float]:
    return {streams: statistics.median(run[figure] for run in found) for streams, found in runs.items()}


class Reader:
    """A process that reads what a server sends, and does nothing else with it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, streams: int, tokens: int) -> dict[str, float]:
        """Read so many streams at once, each on a gRPC stream of its own, all on one connection.

        Returns:
            From when all have begun: responses, responses/s, and CPU time a response of all the server's processes.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"streams": streams, "tokens": tokens}) + "\n")
        self._process.stdin.flush()
        found: dict[str, float] = json.loads(self._process.stdout.readline())
        return found


@contextlib.contextmanager
def reader(served: Server) -> Iterator[Reader]:
    """Start a reader; it runs `main` of this module."""
    command = [sys.executable, "-m", "benchmarks.responses", served.address, str(served.pid)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Reader(process)
        finally:
            process.terminate()


def main() -> None:
    """Read from the server at an address, until standard input ends.

    A line of it is a job, as JSON ({"streams": n, "tokens": n}), and is answered with a line.
    """
    asyncio.run(_serve(sys.argv[1], family(int(sys.argv[2]))))


async def _serve(address: str, processes: list[psutil.Process]) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        while line := await asyncio.to_thread(sys.stdin.readline):
            job = json.loads(line)
            sys.stdout.write(json.dumps(await _read(channel, job["streams"], job["tokens"], processes)) + "\n")
            sys.stdout.flush()


async def _read(
    channel: grpc.aio.Channel, streams: int, tokens: int, processes: list[psutil.Process]
) -> dict[str, float]:
    # Messages stay bytes: to decode them would cost more than all else that reading does.
    infer = channel.stream_stream(_METHOD)
    request = _request(text_input="Hello", max_tokens=tokens, stream=True).SerializeToString()
    begun, responses = 0, 0
    began_at, cpu_before = 0.0, 0.0

    async def one() -> bytes:
        nonlocal begun, responses, began_at, cpu_before
        stream = infer()
        await stream.write(request)
        await stream.done_writing()
        last: bytes = await stream.read()
        begun += 1
        if begun == streams:
            responses, began_at, cpu_before = 0, time.perf_counter(), _cpu_s(processes)
        while (message := await stream.read()) is not grpc.aio.EOF:
            responses += 1
            last = message
        return last

    lasts = await asyncio.gather(*(one() for _ in range(streams)))
    seconds, cpu_s = time.perf_counter() - began_at, _cpu_s(processes) - cpu_before
    for last in lasts:
        if error := service_pb2.ModelStreamInferResponse.FromString(last).error_message:
            raise SystemExit(f"A stream failed: {error}")
    return {"responses": responses, "responses_per_s": responses / seconds, "cpu_ms": 1000 * cpu_s / responses}


def _cpu_s(processes: list[psutil.Process]) -> float:
    """CPU time that they have taken so far, in user and in system mode."""
    times = [process.cpu_times() for process in processes]
    return sum(one.user + one.system for one in times)


def _request(**inputs: Input) -> service_pb2.ModelInferRequest:
    tensors = [tensor(name, value) for name, value in inputs.items()]
    # Nothing public of tritonclient makes a message of tensors.
    return service_pb2.ModelInferRequest(
        model_name="ensemble",
        inputs=[one._get_tensor() for one in tensors],
        raw_input_contents=[one._get_content() for one in tensors],
    )


if __name__ == "__main__":
    main()
