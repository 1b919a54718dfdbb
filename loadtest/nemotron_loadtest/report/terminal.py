"""In a terminal: a run while it goes on, `LiveView`, and the replicas for a traffic, `capacity_table`."""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import NamedTuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from nemotron_loadtest.analysis import Distribution, describe
from nemotron_loadtest.capacity import CapacityPlan
from nemotron_loadtest.metrics import ITL, TTFT, Thinking
from nemotron_loadtest.numbers import number
from nemotron_loadtest.report.sections import capacity_rows
from nemotron_loadtest.samples import Sample

LOOK_BACK_S = 10.0
_REDRAW_S = 1.0
_LINE_S = 10.0


class LiveView:
    """Shows a run from entry to exit: a table that is redrawn in a terminal, else a line every ten seconds.

    Figures are of the requests that ended in the last ten seconds, so those of long answers come late.

    Nothing runs by itself: the run calls `add` for each request that ended and `update` several times a second.

    Args:
        title: The run's title.
        duration_s: How long requests are to be sent.
        console: Where to; standard error if none is given.
    """

    def __init__(self, title: str, duration_s: float, console: Console | None = None) -> None:
        self._title = title
        self._duration_s = duration_s
        self._console = console or Console(file=sys.stderr)
        self._recent: deque[_Ended] = deque()
        self._errors: Counter[str] = Counter()
        self._requests = 0
        self._next_s = 0.0
        self._live: Live | None = None

    def __enter__(self) -> LiveView:
        if self._console.is_terminal:
            # Without its thread, and without taking standard output over: the run may write there.
            self._live = Live(
                console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False, transient=True
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def add(self, sample: Sample) -> None:
        """A request has ended."""
        self._recent.append(_Ended.of(sample))
        self._requests += 1
        if sample.outcome == "error":
            self._errors[sample.error_type] += 1

    def warn(self, sentence: str) -> None:
        """Say something that stays on the screen."""
        self._console.print(f"nemotron-bench: {sentence}", soft_wrap=True, highlight=False, markup=False)

    def update(self, now_s: float, *, in_flight: int | None = None, asked_per_s: float | None = None) -> None:
        """Show the moment, if it is time to.

        Args:
            now_s: Seconds since the start of the run.
            in_flight: Requests under way; None where nobody knows.
            asked_per_s: Rate of the schedule at this moment; None in a closed loop.
        """
        if now_s < self._next_s:
            return
        self._next_s = now_s + (_REDRAW_S if self._live else _LINE_S)
        while self._recent and self._recent[0].ended_s < now_s - LOOK_BACK_S:
            self._recent.popleft()
        moment = _Moment(list(self._recent), min(LOOK_BACK_S, now_s), in_flight, asked_per_s)
        if self._live:
            self._live.update(self._table(now_s, moment), refresh=True)
        elif now_s > 0:
            self._console.print(self._line(now_s, moment), soft_wrap=True, highlight=False, markup=False)

    def _line(self, now_s: float, moment: _Moment) -> str:
        rest = [
            f"{name} {mode} p50/p90 {number(found.p50)}/{number(found.p90)} ms"
            for mode, ttft, itl in moment.latencies()
            for name, found in (("TTFT", ttft), ("ITL", itl))
        ]
        return ", ".join([f"{now_s:.0f} of {self._duration_s:.0f} s", *moment.rates(), *self._failed(), *rest])

    def _table(self, now_s: float, moment: _Moment) -> RenderableType:
        table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
        for place, heading in enumerate(("thinking", "TTFT p50", "p90 ms", "ITL p50", "p90 ms")):
            table.add_column(heading, justify="right" if place else "left")
        for mode, ttft, itl in moment.latencies():
            table.add_row(mode, number(ttft.p50), number(ttft.p90), number(itl.p50), number(itl.p90))
        failed = self._failed()
        return Group(
            Text.assemble((self._title, "bold"), f"  {now_s:.0f} of {self._duration_s:.0f} s"),
            Text(", ".join([*moment.rates(), f"{self._requests:,} ended"])),
            table,
            Text(", ".join(failed), "red") if failed else Text("no errors", "dim"),
        )

    def _failed(self) -> list[str]:
        return [f"{count:,} {kind}" for kind, count in self._errors.most_common(3)]


def capacity_table(plan: CapacityPlan) -> RenderableType:
    """The arithmetic, what it comes to, and what limits, for 80 columns."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(justify="right", style="bold")
    for name, value in capacity_rows(plan):
        table.add_row(name, value)
    return Group(
        *(Text(line) for line in plan.arithmetic),
        Text(),
        table,
        Text(),
        Text(plan.limit),
        *(Text(f"Warning: {warning}", "yellow") for warning in plan.warnings),
    )


class _Ended(NamedTuple):
    """What is shown of a request: worked out when it ends, so that a redraw takes no time from the run."""

    ended_s: float
    thinking: bool
    whole: bool
    output_tokens: int
    ttft_ms: float | None
    itl_ms: float | None

    @classmethod
    def of(cls, sample: Sample) -> _Ended:
        return cls(
            ended_s=sample.ended_s,
            thinking=sample.thinking,
            whole=sample.outcome == "ok",
            output_tokens=sample.output_tokens,
            ttft_ms=TTFT.of(sample, "intended"),
            itl_ms=ITL.of(sample),
        )


class _Moment:
    """The last seconds."""

    def __init__(self, ended: list[_Ended], length_s: float, in_flight: int | None, asked_per_s: float | None) -> None:
        self._ended = ended
        self._length_s = max(length_s, 1.0)
        self._in_flight = in_flight
        self._asked_per_s = asked_per_s

    def rates(self) -> list[str]:
        """Requests and tokens."""
        whole = sum(request.whole for request in self._ended)
        tokens = sum(request.output_tokens for request in self._ended)
        asked = "" if self._asked_per_s is None else f" of {number(self._asked_per_s)}"
        parts = [f"{number(whole / self._length_s)}{asked} requests/s", f"{number(tokens / self._length_s)} tokens/s"]
        return parts if self._in_flight is None else [*parts, f"{self._in_flight:,} in flight"]

    def latencies(self) -> Iterator[tuple[Thinking, Distribution, Distribution]]:
        """TTFT from the intended start and ITL, for each way of thinking that there is."""
        modes: tuple[Thinking, ...] = ("on", "off")
        for mode in modes:
            about = [request for request in self._ended if request.thinking == (mode == "on")]
            if about:
                yield mode, _described(one.ttft_ms for one in about), _described(one.itl_ms for one in about)


def _described(values: Iterable[float | None]) -> Distribution:
    return describe([value for value in values if value is not None])
