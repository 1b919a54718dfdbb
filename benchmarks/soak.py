"""A server attacked for an hour: `make soak`, or `python -m benchmarks.soak --help`.

Odd requests, callers that leave and good requests go on all the time. Writes a page with the memory, threads and open
files of each process and the times of the good requests, and says whether they stay as they are. The exit status is 0
if so. The client's own soak is `benchmarks.client_soak`.
"""

from __future__ import annotations

import argparse
import json
import secrets
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from benchmarks.robustness import simulated_server
from nemotron_loadtest.report.page import render
from nemotron_loadtest.report.plots import BROAD, NARROW, Figure, Key, Panel, axis_between, axis_from_zero, draw_line
from tests.integration.conftest import Server
from tests.robustness.conftest import PACKAGE
from tests.robustness.fuzzing import Findings, Fuzz
from tests.robustness.good_requests import GoodRequests
from tests.robustness.observing import log_of, shared_memory, usage, wait_until_restarted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOOK_S = 5.0
_MIB = 1024
_WARM_UP = 0.25  # a share of the looks: pools and caches fill
_MOST_GROWTH = 0.05
_KEPT_MIB = 16  # an allocator keeps some, and gives it back when it likes
_COLOURS = ("a", "b", "c", "d", "on", "off", "muted")
_PAGE = """\
{% extends "base.html" %}
{% from "parts.html" import figure %}
{% block body %}
<header><h1>{{ title }}</h1><p class="muted">{{ head }}</p></header>
<main><ul>{% for line in faults %}<li><pre>{{ line }}</pre></li>{% endfor %}</ul>{{ figure(shown) }}</main>
{% endblock %}
"""
_console = Console(stderr=True)


@dataclass
class Look:
    """What was seen at a moment.

    Attributes:
        at_s: Since the start.
        rss_mib: By process.
        threads: By process.
        files: Open ones, by process.
        shared_mib: What the server has in shared memory.
        latency_ms: Of good requests since the look before: the median, and the slowest.
    """

    at_s: float
    rss_mib: dict[str, float]
    threads: dict[str, float]
    files: dict[str, float]
    shared_mib: float
    latency_ms: tuple[float, float]


@dataclass
class Soak:
    """All that was found."""

    seed: int
    looks: list[Look] = field(default_factory=list)
    runs: list[Findings] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def main() -> None:
    """Attack, watch and report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=None, help="of the odd requests, default: another one each time")
    parser.add_argument("-o", "--output", type=Path, default=Path("results/soak"), help="default: %(default)s")
    options = parser.parse_args()
    soak = Soak(secrets.randbelow(2**32) if options.seed is None else options.seed)
    with simulated_server(*PACKAGE) as server:
        _attack(server, soak, options.seconds)
        tracebacks = log_of(server).count("Traceback")
    faults = list(_faults(soak, tracebacks))
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "soak.json").write_text(json.dumps([asdict(look) for look in soak.looks], indent=1) + "\n")
    (options.output / "soak.html").write_text(_page(soak, faults))
    for line in faults or ["Nothing has changed that should not."]:
        _console.print(line, markup=False)
    _console.print(f"Written to {options.output / 'soak.html'}")
    sys.exit(bool(faults))


def _attack(server: Server, soak: Soak, seconds: float) -> None:
    """Send and watch until the time is over; after a crash both go on with the server that has come back."""
    ended, began = threading.Event(), time.monotonic()
    watcher = threading.Thread(target=_watch, args=(server, soak, ended), name="watch")
    watcher.start()
    try:
        while (left := seconds - (time.monotonic() - began)) > 0:
            run = Fuzz(server, soak.seed, first=10_000_000 * len(soak.runs)).run(left)
            soak.runs.append(run)
            if run.died:
                wait_until_restarted(server, len([one for one in soak.runs if one.died]))
    finally:
        ended.set()
        watcher.join()


def _watch(server: Server, soak: Soak, ended: threading.Event) -> None:
    began = time.monotonic()
    while not ended.is_set():
        try:
            _look_again_and_again(server, soak, ended, began)
        except Exception as error:  # the server is gone: it comes back, or the run ends
            soak.wrong.append(f"{time.monotonic() - began:.0f} s: {type(error).__name__}: {error}")
            ended.wait(1)


def _look_again_and_again(server: Server, soak: Soak, ended: threading.Event, began: float) -> None:
    good = GoodRequests(server)
    try:
        while not ended.is_set():
            times_ms = []
            until = time.monotonic() + _LOOK_S
            while time.monotonic() < until and not ended.is_set():
                asked = time.monotonic()
                good.stream()
                times_ms.append(1000 * (time.monotonic() - asked))
                ended.wait(0.1)
            held = usage(server)
            soak.looks.append(
                Look(
                    at_s=time.monotonic() - began,
                    rss_mib={name: one.rss_kib / _MIB for name, one in held.items()},
                    threads={name: float(one.threads) for name, one in held.items()},
                    files={name: float(one.files) for name, one in held.items()},
                    shared_mib=sum(shared_memory(server).values()) / 2**20,
                    latency_ms=(statistics.median(times_ms), max(times_ms)),
                )
            )
    finally:
        good.close()


def _faults(soak: Soak, tracebacks: int) -> list[str]:
    """Sentences; none if all is as it should be."""
    dead = [run for run in soak.runs if run.died]
    found = [f"{run.died} died. The seed was {soak.seed}; the last requests: {run.last[-20:]}" for run in dead]
    found += [problem for run in soak.runs for problem in run.problems.values()]
    if not found:  # else they may come of what stands there already
        found += soak.wrong
    if tracebacks:
        found.append(f"{tracebacks} tracebacks in the log")
    late = soak.looks[int(len(soak.looks) * _WARM_UP) :]
    if len(late) < 4:
        return [*found, "The run was too short to tell whether anything grows."]
    half = len(late) // 2
    for name in late[0].rss_mib:
        first, last = (
            statistics.median(look.rss_mib.get(name, 0.0) for look in looks) for looks in (late[:half], late[half:])
        )
        if last > first * (1 + _MOST_GROWTH) + _KEPT_MIB:
            found.append(f"{name}: memory grew from {first:.0f} to {last:.0f} MiB after the warm-up")
        threads = [look.threads.get(name, 0.0) for look in late]
        if threads[-1] > threads[0] + 20:
            found.append(f"{name}: threads grew from {threads[0]:.0f} to {threads[-1]:.0f} after the warm-up")
    return found


def _page(soak: Soak, faults: Sequence[str]) -> str:
    sent, good = sum(run.requests for run in soak.runs), sum(run.good for run in soak.runs)
    right = sum(run.good_right for run in soak.runs)
    verdict = "FAIL" if faults else "PASS"
    names = sorted({name for look in soak.looks for name in look.rss_mib})

    def by_process(heading: str, of: Callable[[Look], dict[str, float]]) -> _Row:
        return heading, [
            (Key(colour, name), [(look.at_s, of(look).get(name)) for look in soak.looks])
            for colour, name in zip(_COLOURS, names, strict=False)
        ]

    rows: list[_Row] = [
        by_process("Memory, MiB", lambda look: look.rss_mib),
        by_process("Threads", lambda look: look.threads),
        by_process("Open files", lambda look: look.files),
        ("Shared memory, MiB", [(Key("a", "of the server"), [(look.at_s, look.shared_mib) for look in soak.looks])]),
        (
            "Good requests, ms",
            [
                (Key("a", "median"), [(look.at_s, look.latency_ms[0]) for look in soak.looks]),
                (Key("c", "slowest"), [(look.at_s, look.latency_ms[1]) for look in soak.looks]),
            ],
        ),
    ]
    figure = Figure(
        identity="soak",
        title="The server over time",
        description=f"{len(soak.looks)} looks at a server that got {sent:,} odd requests.",
        caption="Seconds since the start.",
        panels=[_panel(soak, row, last=row is rows[-1]) for row in rows],
        widths=(BROAD, NARROW),
    )
    head = f"{sent:,} odd requests (seed {soak.seed}); {right:,} of {good:,} good ones were answered right."
    return render(_PAGE, title=f"{verdict}: soak", head=head, faults=faults, shown=figure)


_Row = tuple[str, list[tuple[Key, list[tuple[float, float | None]]]]]


def _panel(soak: Soak, row: _Row, *, last: bool) -> Panel:
    heading, series = row

    def draw(axes: Axes, _width: float) -> None:
        axis_between(axes, "x", 0.0, max((look.at_s for look in soak.looks), default=1.0))
        axis_from_zero(axes, "y", [value for _, points in series for _, value in points], ticks=3)
        for key, points in series:
            draw_line(axes, points, key.colour)

    return Panel(heading, 104.0, draw, [key for key, _ in series], x_title="s" if last else "", x_numbers=last)


if __name__ == "__main__":
    main()
