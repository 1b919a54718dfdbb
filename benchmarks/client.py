"""The client against plain tritonclient: `make bench`, or `python -m benchmarks.client --help`.

Prints a table and writes benchmarks/results/client.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.client_soak import Soak
from benchmarks.contenders import Server, server, simulated_package
from benchmarks.parts import Aims, add_options, measure
from benchmarks.readers import READERS, Run, whole_streams

RESULTS = Path(__file__).parent / "results" / "client.json"
_AIMS: Aims = {
    "client_overhead_ratio": {"": ("≤", 1.10)},
    "import_ms": {"": ("≤", 150)},
    "streams_200_ok": {"": ("≥", 200)},
    "rss_growth_percent": {"sync": ("≤", 5), "async": ("≤", 5)},
    "more_threads": {"sync": ("≤", 2), "async": ("≤", 2)},
}
# Streams → milliseconds a token and tokens a stream. A pace that the server keeps on two cores, for what comes too
# fast shares a response.
_LOADS = {1: (2, 400), 16: (16, 100)}
_COMPARED = {
    "async": ("async", "raw_async"),
    "async_to_lean": ("async", "lean_async"),
    "sync": ("sync", "raw_sync"),
}
_ANSWER = "The river goes on. " * 100
_SCRIPTS = [
    *({"match": f"pace {pace}!", "answer": _ANSWER, "token_ms": pace} for pace, _ in _LOADS.values()),
    {"match": "random!", "token_ms": 10},
    {"match": "", "answer": "Hello."},
]
_CALLS = 10_000
_IMPORT = """
import sys, time
begin = time.perf_counter()
import nemotron_client
imported = time.perf_counter()
nemotron_client.Client(sys.argv[1])
print(1000 * (imported - begin), 1000 * (time.perf_counter() - imported))
"""
_console = Console(stderr=True)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.client", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=5, help="runs of each client at each number of streams, default: %(default)s"
    )
    parser.add_argument("--calls", type=int, default=_CALLS, help="of each soak, default: %(default)s")
    add_options(parser, _PARTS, RESULTS)
    options = parser.parse_args()
    with _simulated_server() as served:
        measure(options, {name: partial(part, served, options) for name, part in _PARTS.items()}, _AIMS)


def measure_overhead(served: Server, options: argparse.Namespace) -> dict[str, Any]:
    """Our streams and tritonclient's in turn, from the same server: processor time and time an event.

    The figure that counts is the processor time of the process that reads, at the number of streams where it is
    worse. The time that passes is the server's, which sets the pace: it is nearly the same whatever a client does.
    """
    runs: dict[int, dict[str, list[Run]]] = {streams: {name: [] for name in READERS} for streams in _LOADS}
    for round_number in range(options.rounds + 1):
        for streams, (pace, tokens) in _LOADS.items():
            # Forwards and backwards by turns, so that a drifting machine favours nobody.
            for name in READERS if round_number % 2 else reversed(READERS):
                run = READERS[name](served.address, f"pace {pace}!", streams, tokens)
                if round_number:  # the first warms up
                    runs[streams][name].append(run)
        _print_round(round_number, max(_LOADS), runs[max(_LOADS)])
    ratios = {str(streams): _pairs(by, _cpu_ratio) for streams, by in runs.items()}
    worse = max(ratios, key=lambda streams: ratios[streams]["async"])
    return {
        "client_overhead_ratio": ratios[worse]["async"],
        "client_overhead_us_per_event": _pairs(runs[int(worse)], _cpu_difference)["async"],
        "client_cpu_ratio": ratios,
        "client_wall_ratio": {str(streams): _pairs(by, _wall_ratio) for streams, by in runs.items()},
        "client_cpu_us_per_event": {str(n): _medians(by, lambda run: run.cpu_us_per_event) for n, by in runs.items()},
        "client_events_per_s": {str(n): _medians(by, lambda run: run.events / run.wall_s) for n, by in runs.items()},
    }


def measure_import(served: Server, options: argparse.Namespace) -> dict[str, Any]:
    """`import nemotron_client` in fresh interpreters, and the first client, which brings gRPC with it."""
    found = []
    for _ in range(2 * options.rounds + 1):
        command = [sys.executable, "-c", _IMPORT, f"grpc://{served.address}"]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found.append([float(value) for value in output.split()])
    imports, clients = zip(*found[1:], strict=True)  # the first may compile
    return {"import_ms": statistics.median(imports), "first_client_ms": statistics.median(clients)}


def measure_streams(served: Server, _: argparse.Namespace) -> dict[str, Any]:
    """200 streams at once: those that end whole, with the same text through both clients."""
    texts = whole_streams(f"grpc://{served.address}", "random!", 200, 40)
    alike = {seed for seed, text in texts["sync"].items() if texts["async"].get(seed) == text}
    return {
        "streams_200_ok": len(alike),
        "streams_200_whole": {kind: len(found) for kind, found in texts.items()},
    }


def measure_soak(served: Server, options: argparse.Namespace) -> dict[str, Any]:
    """Calls one after the other, each client in a process of its own, both at the same time."""
    with contextlib.ExitStack() as stack:
        processes = {}
        for kind in ("sync", "async"):
            arguments = [f"grpc://{served.address}", kind, str(options.calls)]
            command = [sys.executable, "-m", "benchmarks.client_soak", *arguments]
            processes[kind] = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            stack.callback(processes[kind].kill)
        found = {kind: Soak(**json.loads(process.communicate()[0])) for kind, process in processes.items()}
    return {
        "rss_growth_percent": {kind: 100 * soak.growth for kind, soak in found.items()},
        "rss_mib": {kind: soak.rss_mib[-1] for kind, soak in found.items()},
        "more_threads": {kind: soak.more_threads for kind, soak in found.items()},
        "sequential_calls": {kind: soak.calls for kind, soak in found.items()},
        "sequential_calls_per_s": {kind: soak.calls / soak.seconds for kind, soak in found.items()},
    }


_PARTS: dict[str, Callable[[Server, argparse.Namespace], dict[str, Any]]] = {
    "overhead": measure_overhead,
    "import": measure_import,
    "streams": measure_streams,
    "soak": measure_soak,
}


@contextlib.contextmanager
def _simulated_server() -> Iterator[Server]:
    """Sends each token as soon as it is there, so that events are many."""
    with tempfile.TemporaryDirectory() as directory:
        package, scripts = Path(directory) / "package", Path(directory) / "scripts.json"
        scripts.write_text(json.dumps(_SCRIPTS))
        # Triton keeps a thread for each request that may be in flight.
        limits = ["--max-batch-size", "256", "--max-waiting", "64"]
        simulated_package(package, "--script", str(scripts), *limits)
        with server(package, "--stream-interval-ms", "0") as served:
            yield served


def _print_round(number: int, streams: int, runs: dict[str, list[Run]]) -> None:
    shown = [f"{name} {found[-1].cpu_us_per_event:.0f}" for name, found in runs.items() if found]
    what = f"{', '.join(shown)} µs of CPU an event at {streams} streams" if shown else "warm-up"
    _console.print(f"  round {number}: {what}", soft_wrap=True)


def _pairs(runs: dict[str, list[Run]], compare: Callable[[Run, Run], float]) -> dict[str, float]:
    """What is compared, round by round, and the median over the rounds."""
    return {
        name: statistics.median(compare(one, raw) for one, raw in zip(runs[ours], runs[base], strict=True))
        for name, (ours, base) in _COMPARED.items()
    }


def _cpu_ratio(one: Run, raw: Run) -> float:
    return one.cpu_us_per_event / raw.cpu_us_per_event


def _cpu_difference(one: Run, raw: Run) -> float:
    return one.cpu_us_per_event - raw.cpu_us_per_event


def _wall_ratio(one: Run, raw: Run) -> float:
    return one.wall_s / raw.wall_s


def _medians(runs: dict[str, list[Run]], value: Callable[[Run], float]) -> dict[str, float]:
    return {name: statistics.median(map(value, found)) for name, found in runs.items()}


if __name__ == "__main__":
    main()
