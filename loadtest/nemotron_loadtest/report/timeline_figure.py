"""The run over time: what was asked, what came back, and the server's own figures, on one axis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nemotron_loadtest.numbers import number
from nemotron_loadtest.report.axes import between, fitting, linear
from nemotron_loadtest.report.document import Report
from nemotron_loadtest.report.figures import BROAD, Figure, Table
from nemotron_loadtest.report.svg import Key, Panel

_HEIGHT, _LAST = 112.0, 16.0
_FAILED = "Failed requests"
_GB = 1e9
_Series = tuple[Key, list[tuple[float, float | None]]]


def timeline_figure(report: Report) -> Figure:
    """All panels, the warm-up and the drain shaded."""
    rows = list(_panels(report))
    slices = report.summary.timeline
    peak = max(slices, key=lambda slice_: slice_.in_flight)
    return Figure(
        identity="timeline",
        title="The run over time",
        description=(
            f"{len(slices)} slices from {number(slices[0].start_s)} to {number(slices[-1].end_s)} s. Most in flight: "
            f"{number(peak.in_flight)} at {number(peak.start_s)} s."
        ),
        caption="Shaded: warm-up before the measured window, drain after it. Seconds since the start of the run.",
        panels=lambda width: _drawn(report, rows, width),
        table=_table(report),
        width=BROAD,
    )


def _drawn(report: Report, rows: Sequence[tuple[str, list[_Series]]], width: float) -> list[Panel]:
    slices, window = report.summary.timeline, report.summary.window
    start_s, end_s = slices[0].start_s, slices[-1].end_s
    x = between(start_s, end_s, target=5 if width < BROAD else 10)
    drawn = []
    for place, (heading, series) in enumerate(rows):
        last = place == len(rows) - 1
        values = [value for _, points in series for _, value in points]
        y = fitting(values) if heading.startswith("TTFT") else linear(values, target=3)
        keys = [key for key, _ in series]
        height = _HEIGHT + (_LAST if last else 0)
        panel = Panel(width, height, x, y, heading, keys, x_labels=last, x_title="s" if last else "")
        first = place == 0
        panel.shade(start_s, window.start_s, "warm-up" if first else "")
        panel.shade(window.end_s, end_s, "drain" if first else "")
        for key, points in series:
            if heading == _FAILED:
                edges = [slices[0].start_s, *(one.end_s for one in slices)]
                panel.steps(edges, [value or 0.0 for _, value in points], key.colour, filled=True)
            else:
                panel.line(points, key.colour, dashed=key.dashed)
        drawn.append(panel)
    return drawn


def _panels(report: Report) -> Iterator[tuple[str, list[_Series]]]:
    """Heading and series of each; those that nothing is known of are left out."""
    slices, server = report.summary.timeline, report.server
    middles = [(slice_.start_s + slice_.end_s) / 2 for slice_ in slices]

    def seen(values: Sequence[float | None]) -> list[tuple[float, float | None]]:
        return list(zip(middles, values, strict=True))

    def scraped(name: str, scale: float = 1.0) -> list[tuple[float, float | None]]:
        found = [(point.at_s, getattr(point, name)) for point in server]
        return [(at_s, None if value is None else value * scale) for at_s, value in found]

    groups: list[tuple[str, list[_Series]]] = [
        (
            "Requests/s",
            [
                (Key("muted", "asked", dashed=True), seen([one.requested_per_s for one in slices])),
                (Key("a", "answered"), seen([one.requests_per_s for one in slices])),
            ],
        ),
        (
            "In flight",
            [
                (Key("a", "sent"), seen([one.in_flight for one in slices])),
                (Key("b", "running"), scraped("running")),
                (Key("c", "waiting"), scraped("waiting")),
            ],
        ),
        ("Output tokens/s", [(Key("a", "received"), seen([one.output_tokens_per_s for one in slices]))]),
        (
            "TTFT, ms",
            [
                (Key("a", "p50"), seen([one.ttft_ms.p50 for one in slices])),
                (Key("c", "p90"), seen([one.ttft_ms.p90 for one in slices])),
            ],
        ),
        (_FAILED, [(Key("bad", "by start"), seen([one.errors or None for one in slices]))]),
        ("Server CPU, cores", [(Key("b", "of its processes"), scraped("cpu_cores"))]),
        (
            "Server, %",
            [
                (Key("b", "KV cache"), scraped("kv_cache_used", 100)),
                (Key("c", "GPU busy"), scraped("gpu_busy", 100)),
                (Key("d", "GPU memory"), scraped("gpu_memory_used", 100)),
            ],
        ),
        ("Server memory, GB", [(Key("b", "of its processes"), scraped("memory_bytes", 1 / _GB))]),
        ("Triton's queues, ms", [(Key("b", "mean wait"), scraped("queue_ms"))]),
    ]
    for heading, series in groups:
        known = [(key, points) for key, points in series if any(value is not None for _, value in points)]
        if known:
            yield heading, known


def _table(report: Report) -> Table:
    rows = [
        [
            f"{number(one.start_s)} to {number(one.end_s)}",
            number(one.requested_per_s),
            number(one.requests_per_s),
            number(one.in_flight),
            number(one.output_tokens_per_s),
            number(one.ttft_ms.p50),
            number(one.ttft_ms.p90),
            str(one.errors),
        ]
        for one in report.summary.timeline
    ]
    headings = ("s", "asked/s", "answered/s", "in flight", "tokens/s", "TTFT p50 ms", "TTFT p90 ms", "failed")
    return Table(headings, rows)
