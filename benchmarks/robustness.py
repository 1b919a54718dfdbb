"""A server under attack: `make bench-robustness`, or `python -m benchmarks.robustness --help`.

Sends 100,000 odd requests with good ones among them, lets callers leave in each way, stops each process, and weighs
what a thousand streams leave behind. Takes some seven minutes, prints a table and writes
benchmarks/results/robustness.json. The requests are those of tests/robustness.
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.contenders import simulated_package
from benchmarks.parts import Aims, add_options, measure
from tests.integration.conftest import Server, serving
from tests.robustness.conftest import PACKAGE
from tests.robustness.fuzzing import Findings, Fuzz
from tests.robustness.good_requests import GoodRequests
from tests.robustness.leaving import MODELS, WAYS, freed_s
from tests.robustness.observing import log_of, nothing_left, processes, usage, wait_until_restarted
from tests.waiting import wait_until

RESULTS = Path(__file__).parent / "results" / "robustness.json"
_AIMS: Aims = {
    "fuzz_requests": {"": ("≥", 100_000)},
    "fuzz_crashes": {"": ("≤", 0)},
    "fuzz_hangs": {"": ("≤", 0)},
    "fuzz_tracebacks": {"": ("≤", 0)},
    "fuzz_problems": {"": ("≤", 0)},
    "good_during_attack": {"": ("≥", 1)},
}
_PATIENT = ("--token-ms", "20", "--max-batch-size", "128", "--max-waiting", "32")
_CALLERS = 100
_DEADLINE_MS = 3000  # of callers whose leaving nobody notices
_HANG_S = 120.0
_STREAMS = 4000
_WARM_UP = 1000
_console = Console(stderr=True)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.robustness", description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000, help="odd requests, default: %(default)s")
    parser.add_argument("--seed", type=int, default=None, help="of the odd requests, default: another one each time")
    add_options(parser, _PARTS, RESULTS)
    options = parser.parse_args()
    options.seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    measure(options, {name: partial(part, options) for name, part in _PARTS.items()}, _AIMS)


def measure_fuzz(options: argparse.Namespace) -> dict[str, Any]:
    """Odd requests until there are enough; after a crash they go on with a server that has come back."""
    runs: list[Findings] = []
    with simulated_server(*PACKAGE) as server:
        while (left := options.requests - sum(run.requests for run in runs)) > 0:
            run = Fuzz(server, options.seed, first=10_000_000 * len(runs)).run(3600, left)
            runs.append(run)
            for problem in run.problems.values():
                _console.print(f"  {problem[:1000]}", markup=False)
            if run.died:
                _console.print(f"  {run.died} died; seed {options.seed}, the last were {run.last[-50:]}", markup=False)
                wait_until_restarted(server, len([one for one in runs if one.died]))
        tracebacks = log_of(server).count("Traceback")
    good = sum(run.good for run in runs)
    return {
        "fuzz_seed": options.seed,
        "fuzz_requests": sum(run.requests for run in runs),
        "fuzz_requests_per_s": sum(run.requests for run in runs) / sum(run.seconds for run in runs),
        "fuzz_crashes": sum(bool(run.died) for run in runs),
        "fuzz_hangs": sum(run.sent["hung"] for run in runs),
        "fuzz_tracebacks": tracebacks,
        "fuzz_problems": sum(len(run.problems) for run in runs),
        "good_requests": good,
        "good_during_attack": sum(run.good_right for run in runs) / good,
    }


def measure_storms(_: argparse.Namespace) -> dict[str, Any]:
    """A hundred callers leave at once: until no request is in flight, as the metrics say it four times a second.

    Where nobody notices that they have left, the deadline of their requests ends them, 3 s after their start.
    """
    freed: dict[str, dict[str, float]] = {}
    with simulated_server(*_PATIENT) as server:
        for model in MODELS:
            freed[model] = {
                way: 1000 * freed_s(server, way, model, _CALLERS, 60_000 if _noticed(model, way) else _DEADLINE_MS, 90)
                for way in WAYS
            }
            _console.print(f"  {model}: {', '.join(f'{way} {ms:.0f} ms' for way, ms in freed[model].items())}")
    return {"storm_freed_ms_max": freed}


def measure_hangs(_: argparse.Namespace) -> dict[str, Any]:
    """SIGSTOP of each process, with the options as they are: until the ready file is gone."""
    noticed: dict[str, float] = {}
    with simulated_server() as server:
        for restarts, name in enumerate(("tritonserver", *server.info["model_pids"]), 1):
            processes(server)[name].suspend()
            began = time.monotonic()
            wait_until(lambda: not server.ready_file.exists(), _HANG_S)
            noticed[name] = time.monotonic() - began
            _console.print(f"  {name}: {noticed[name]:.1f} s")
            wait_until_restarted(server, restarts)
    return {"hang_noticed_s": noticed}


def measure_growth(_: argparse.Namespace) -> dict[str, Any]:
    """What the processes hold more after thousands of streams through the ensemble."""
    with simulated_server(*PACKAGE) as server, contextlib.closing(GoodRequests(server)) as good:
        _ask(good, _WARM_UP)
        before = usage(server)
        _ask(good, _STREAMS)
        wait_until(lambda: nothing_left(server))
        after = usage(server)
    return {
        "rss_growth_per_1000_streams_kib": {
            name: (after[name].rss_kib - old.rss_kib) * 1000 / _STREAMS for name, old in before.items()
        }
    }


_PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "fuzz": measure_fuzz,
    "storms": measure_storms,
    "hangs": measure_hangs,
    "growth": measure_growth,
}


@contextlib.contextmanager
def simulated_server(*options: str) -> Iterator[Server]:
    """A simulated package with these options of `nemotron-build simulated`, served on free ports."""
    with tempfile.TemporaryDirectory() as directory:
        package = simulated_package(Path(directory) / "package", *options)
        with serving(package, Path(directory)) as server:
            yield server


def _noticed(model: str, way: str) -> bool:
    return model != "unary" or way.startswith("grpc")


def _ask(good: GoodRequests, count: int) -> None:
    for _ in range(count):
        good.stream()


if __name__ == "__main__":
    main()
