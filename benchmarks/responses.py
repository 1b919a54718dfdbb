"""What responses cost in all processes together, beside NVIDIA's stock models, when they come, and what a kill leaves.

`python -m benchmarks.responses ADDRESS PID WAY` is the process that reads; PID is that of the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import tritonclient.grpc as grpcclient
from rich.console import Console
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from benchmarks.contenders import Server, family, server, simulated_package
from benchmarks.lockstep import lockstep_repository
from benchmarks.streams import Input, tensor
from nemotron_client import AsyncClient

_STREAMS = (1, 16, 64, 256)
_RESPONSES = {"ensemble": 4000, "stock": 4000, "session": 64_000}  # of a run, of all its streams together
# Of a stream: at least so many that the first ones still go on when the last have begun.
_LEAST_TOKENS, _MOST_TOKENS = 40, 4000
_METHOD = "/inference.GRPCInferenceService/ModelStreamInfer"
_Runs = dict[str, list[dict[str, float]]]  # by the number of streams
_console = Console(stderr=True)


def measure_responses(rounds: int, stock: Path | None) -> dict[str, Any]:
    """CPU time a response, at full speed, each with one token of one stream.

    Of the ensemble, and of NVIDIA's, all the server's processes are counted, of sessions AsyncClient's as well.

    Args:
        rounds: Runs of each side at each number of streams.
        stock: A model repository with NVIDIA's ensemble, to be measured as well.
    """
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        package = simulated_package(Path(directory) / "package", "--max-batch-size", "256", "--max-waiting", "64")
        ours = stack.enter_context(_served(package, lockstep_repository(Path(directory) / "models")))
        servers = {"ensemble": ours, "session": ours}
        if stock is not None:
            servers["stock"] = stack.enter_context(_served(package, stock))
        readers = {name: stack.enter_context(reader(served, name)) for name, served in servers.items()}
        runs: dict[str, _Runs] = {name: {str(streams): [] for streams in _STREAMS} for name in readers}
        for round_number, streams in itertools.product(range(rounds + 1), _STREAMS):
            # Forwards and backwards by turns, so that a drifting machine favours nobody.
            for name in readers if round_number % 2 else reversed(readers):
                tokens = min(_MOST_TOKENS, max(_LEAST_TOKENS, _RESPONSES[name] // streams))
                run = readers[name].run(streams, tokens)
                if round_number:  # the first warms up
                    runs[name][str(streams)].append(run)
                    _console.print(f"  {streams:>3} streams: {name} {run['cpu_ms']:.3f} ms, {run['per_s']:.0f}/s")
    result = {
        "response_cpu_ms": {name: _medians(runs[name], "cpu_ms") for name in ("ensemble", "session")},
        "events_per_s": {"session": _medians(runs["session"], "per_s")},
        "responses_per_s": {"ensemble": _medians(runs["ensemble"], "per_s")},
    }
    return result | (_beside(runs["stock"], runs["ensemble"]) if stock is not None else {})


def measure_gaps(_: Path, rounds: int) -> dict[str, Any]:
    """Between the tokens of a stream, of 64 with a token every 50 ms each, as their reader gets them."""
    streams, tokens = 64, 100
    gaps: dict[str, list[float]] = {"ensemble": [], "session": []}
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        package = simulated_package(Path(directory) / "package", "--token-ms", "50")
        served = stack.enter_context(server(package, "--stream-interval-ms", "0"))
        readers = {way: stack.enter_context(reader(served, way)) for way in gaps}
        for _number, way in itertools.product(range(rounds), gaps):
            gaps[way].append(readers[way].run(streams, tokens)["gap_ms_p99"])
    return {"gap_ms_p99": {way: {str(streams): statistics.median(found)} for way, found in gaps.items()}}


def measure_abandoned(_: Path, rounds: int) -> dict[str, Any]:
    """From the kill of a client with 50 streams to the next request that is taken, where there are 50 places."""
    places = 50
    limits = ("--max-batch-size", str(places), "--max-waiting", "0")
    times = []
    with tempfile.TemporaryDirectory() as directory:
        package = simulated_package(Path(directory) / "package", "--token-ms", "20", *limits)
        with server(package) as served, grpcclient.InferenceServerClient(served.address) as client:

            def full() -> bool:
                try:
                    client.infer("unary", [tensor("text_input", "Hi"), tensor("max_tokens", 1)])
                except InferenceServerException as error:
                    if "requests in flight" not in str(error):
                        raise
                    return True
                return False

            for _number in range(rounds):
                with reader(served, "session") as abandoned:
                    abandoned.begin(places, 10_000)
                    while not full():
                        time.sleep(0.1)
                    time.sleep(1)
                    begin = time.perf_counter()
                    abandoned.kill()
                    while full():
                        time.sleep(0.005)
                    times.append(1000 * (time.perf_counter() - begin))
    return {"abandoned_slot_ms": statistics.median(times)}


def _served(package: Path, repository: Path) -> contextlib.AbstractContextManager[Server]:
    options = ("--model-repository", str(repository), "--stream-interval-ms", "0", "--hang-seconds", "0")
    return server(package, *options)


def _beside(stock: _Runs, ours: _Runs) -> dict[str, Any]:
    return {
        "stock_response_cpu_ms": _medians(stock, "cpu_ms"),
        "stock_responses_per_s": _medians(stock, "per_s"),
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
        """Read so many streams at once.

        Returns:
            From when all have begun: `responses`, or AsyncClient's events, how many came `per_s`, CPU time of each,
            `cpu_ms`, and `gap_ms_p99` between those of a stream.
        """
        self.begin(streams, tokens)
        assert self._process.stdout is not None
        found: dict[str, float] = json.loads(self._process.stdout.readline())
        return found

    def begin(self, streams: int, tokens: int) -> None:
        """Begin to read so many streams at once."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"streams": streams, "tokens": tokens}) + "\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """Kill the process, which reads."""
        self._process.kill()


@contextlib.contextmanager
def reader(served: Server, way: str) -> Iterator[Reader]:
    """Start a reader; it runs `main` of this module."""
    command = [sys.executable, "-m", "benchmarks.responses", served.address, str(served.pid), way]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Reader(process)
        finally:
            process.terminate()


def main() -> None:
    """Read from the server at an address, until standard input ends.

    A line of it is a job, as JSON ({"streams": n, "tokens": n}), and is answered with a line.
    """
    address, pid, way = sys.argv[1:]
    asyncio.run(_serve(address, family(int(pid)), _session_streams if way == "session" else _ensemble_streams))


class _Count:
    """Counts what comes from when all streams have begun, and the CPU time of these processes meanwhile."""

    def __init__(self, streams: int, processes: list[psutil.Process]) -> None:
        self._waits_for = streams
        self._processes = processes
        self._begin = 0.0, 0.0
        self._gaps: list[float] = []

    def begun(self) -> float:
        """A stream has begun. Returns when."""
        self._waits_for -= 1
        if self._waits_for == 0:
            self._gaps, self._begin = [], self._now()
        return time.perf_counter()

    def came(self, before: float) -> float:
        """A response has come, or an event; the one before it in the stream came then. Returns when."""
        now = time.perf_counter()
        self._gaps.append(now - before)
        return now

    def result(self) -> dict[str, float]:
        """What `Reader.run` gives."""
        seconds, cpu_s = (end - begin for begin, end in zip(self._begin, self._now(), strict=True))
        came, gaps = len(self._gaps), sorted(self._gaps)
        return {
            "responses": came,
            "per_s": came / seconds,
            "cpu_ms": 1000 * cpu_s / came,
            "gap_ms_p99": 1000 * gaps[int(0.99 * came)],
        }

    def _now(self) -> tuple[float, float]:
        times = [process.cpu_times() for process in self._processes]
        return time.perf_counter(), sum(one.user + one.system for one in times)


_Streams = Callable[[str], contextlib.AbstractAsyncContextManager[Callable[[int, _Count], Awaitable[None]]]]


async def _serve(address: str, processes: list[psutil.Process], ways: _Streams) -> None:
    if ways is _session_streams:
        processes = [*processes, psutil.Process()]
    async with ways(address) as read:
        while line := await asyncio.to_thread(sys.stdin.readline):
            job = json.loads(line)
            count = _Count(job["streams"], processes)
            await asyncio.gather(*(read(job["tokens"], count) for _ in range(job["streams"])))
            sys.stdout.write(json.dumps(count.result()) + "\n")
            sys.stdout.flush()


@contextlib.asynccontextmanager
async def _ensemble_streams(address: str) -> AsyncIterator[Callable[[int, _Count], Awaitable[None]]]:
    """Each on a gRPC stream of its own, all on one connection."""
    async with grpc.aio.insecure_channel(address) as channel:
        # Messages stay bytes: to decode them would cost more than all else that reading does.
        infer = channel.stream_stream(_METHOD)

        async def read(tokens: int, count: _Count) -> None:
            stream = infer()
            await stream.write(_request(text_input="Hello", max_tokens=tokens, stream=True).SerializeToString())
            await stream.done_writing()
            last = await stream.read()
            at = count.begun()
            while (message := await stream.read()) is not grpc.aio.EOF:
                at = count.came(at)
                last = message
            if error := service_pb2.ModelStreamInferResponse.FromString(last).error_message:
                raise SystemExit(f"A stream failed: {error}")

        yield read


@contextlib.asynccontextmanager
async def _session_streams(address: str) -> AsyncIterator[Callable[[int, _Count], Awaitable[None]]]:
    """Of AsyncClient, as its caller gets them."""
    async with AsyncClient(f"grpc://{address}") as client:

        async def read(tokens: int, count: _Count) -> None:
            async with client.stream_chat([{"role": "user", "content": "Hello"}], max_tokens=tokens) as stream:
                await anext(stream)
                at = count.begun()
                async for _ in stream:
                    at = count.came(at)

        yield read


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
