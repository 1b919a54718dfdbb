"""The report as one HTML file: no scripts, nothing from elsewhere, everything escaped.

What every page of this project's reports has, its style and its tables, are the load tests' templates;
templates/card.html is what this one shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from nemotron_evals.card import Mode, benchmark
from nemotron_evals.logs import Sample
from nemotron_evals.report import NO_VALUE, Report, span
from nemotron_evals.results import Results
from nemotron_evals.verdicts import Figure, Range

TONES = {"reproduced": "good", "lower": "fail", "higher": "warn", "undecided": "warn", "not comparable": "plain"}
SIGNS = {"reproduced": "✓", "lower": "▼", "higher": "▲", "undecided": "?", "not comparable": NO_VALUE}

_BROAD, _NARROW = 880.0, 343.0  # as wide as the page, and as a phone
_TEXT = 4000  # characters of a text that are shown


@dataclass(frozen=True)
class Table:
    """As the template for tables takes it; the first cell of a row is its heading."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Row:
    """A figure in a drawing, x from the left and y from the top.

    Attributes:
        label: Its name, with the mode.
        value: Its number, at the right.
        mode: Whose colour it has.
        label_y: Baseline of the label.
        y: Middle of the marks.
        dot: Ours.
        mark: The card's.
        thin: Both ends of the wider interval.
        thick: Both ends of the narrower one; None without one.
        band: Both ends of what counts as the same; None without one.
    """

    label: str
    value: str
    mode: Mode
    label_y: float
    y: float
    dot: float
    mark: float
    thin: tuple[float, float]
    thick: tuple[float, float] | None
    band: tuple[float, float] | None


@dataclass(frozen=True)
class Drawing:
    """One plot at one width.

    Attributes:
        kind: `broad`, or `narrow` for phones.
        width: Of the view box.
        height: The same.
        left: Where the axis begins.
        right: Where it ends.
        ticks: Places on the axis with their numbers.
        rows: From the top.
    """

    kind: str
    width: float
    height: float
    left: float
    right: float
    ticks: list[tuple[float, str]]
    rows: list[Row]


def page_html(
    report: Report, run: Results, to_read: Mapping[tuple[str, Mode], Sequence[Sample]], without: str = ""
) -> str:
    """The page.

    Args:
        report: What it shows.
        run: For settings, data and versions.
        to_read: Samples with their texts, by benchmark and mode.
        without: Why there are none, where some are missing.
    """
    return (
        _environment()
        .get_template("card.html")
        .render(
            title=f"{report.model} beside its model card",
            report=report,
            scores=list(score_drawings(report.figures)),
            differences=list(difference_drawings([figure for figure in report.figures if figure.p is not None])),
            figures=report.figures,
            tones=TONES,
            signs=SIGNS,
            span=span,
            beside=_beside_table(report),
            categories=_category_table(report),
            costs=_cost_table(report),
            settings=_settings_table(run),
            versions=Table(("Distribution", "Version"), sorted(run.versions.items())),
            to_read=[(benchmark(name).title, mode, some) for (name, mode), some in to_read.items() if some],
            without=without,
            shortened=shortened,
        )
    )


def score_drawings(figures: Sequence[Figure]) -> Iterator[Drawing]:
    """Scores with both intervals and the card's figures, in percent; a rating of 10 is 100."""
    ticks = [(float(at), f"{at}") for at in range(0, 101, 20)]
    for kind in ("broad", "narrow"):
        yield _drawing(
            kind,
            ticks,
            [
                (
                    figure,
                    f"{figure.score:.1f}",
                    [
                        value * _percent(figure)
                        for value in (
                            figure.score,
                            figure.card,
                            *_ends(figure.generalisation),
                            *(_ends(figure.same_questions) if figure.same_questions else ()),
                        )
                    ],
                    None,
                )
                for figure in figures
            ],
        )


def difference_drawings(figures: Sequence[Figure]) -> Iterator[Drawing]:
    """Differences to the card with their intervals, in percent points, within what counts as the same."""
    if not figures:
        return
    reach = max(max(abs(one.difference) + one.half_width, one.margin) * _percent(one) for one in figures)
    step = next(step for step in (1, 2, 5, 10, 20, 50) if reach <= 3 * step or step == 50)
    ticks = [(float(at), f"{at:+d}" if at else "0") for at in range(-3 * step, 3 * step + 1, step)]
    for kind in ("broad", "narrow"):
        yield _drawing(
            kind,
            ticks,
            [
                (
                    figure,
                    f"{figure.difference:+.1f}",
                    [
                        value * _percent(figure)
                        for value in (
                            figure.difference,
                            0.0,
                            figure.difference - figure.half_width,
                            figure.difference + figure.half_width,
                        )
                    ],
                    figure.margin * _percent(figure),
                )
                for figure in figures
            ],
        )


def shortened(text: str) -> str:
    """A text, or the beginning and the end of one that is long."""
    if len(text) <= _TEXT:
        return text
    half = _TEXT // 2
    return f"{text[:half]}\n\n[… {len(text) - 2 * half:,} characters …]\n\n{text[-half:]}"


def _drawing(
    kind: str, ticks: list[tuple[float, str]], rows: Sequence[tuple[Figure, str, list[float], float | None]]
) -> Drawing:
    broad = kind == "broad"
    width, left, right = (_BROAD, 220.0, _BROAD - 60) if broad else (_NARROW, 8.0, _NARROW - 8)
    pitch, first = (26.0, 14.0) if broad else (42.0, 28.0)
    low, high = ticks[0][0], ticks[-1][0]

    def x(value: float) -> float:
        return round(left + (right - left) * (min(max(value, low), high) - low) / (high - low), 1)

    return Drawing(
        kind=kind,
        width=width,
        height=first + pitch * (len(rows) - 1) + 14,
        left=left,
        right=right,
        ticks=[(x(at), number) for at, number in ticks],
        rows=[
            Row(
                label=f"{figure.name}, {figure.thinking}",
                value=value,
                mode=figure.thinking,
                label_y=first + pitch * at + (4 if broad else -14),
                y=first + pitch * at,
                dot=x(of[0]),
                mark=x(of[1]),
                thin=(x(of[2]), x(of[3])),
                thick=(x(of[4]), x(of[5])) if len(of) > 4 else None,
                band=None if margin is None else (x(-margin), x(margin)),
            )
            for at, (figure, value, of, margin) in enumerate(rows)
        ],
    )


def _percent(figure: Figure) -> float:
    """Percent of one of its units."""
    return 1.0 if figure.unit == "%" else 10.0


def _ends(interval: Range) -> tuple[float, float]:
    return interval.low, interval.high


def _beside_table(report: Report) -> Table:
    rows = [
        (
            f"{figure.name}, {figure.thinking}",
            f"{figure.questions:,} \u00d7 {figure.repeats}",
            f"{100 * figure.overlong:.1f} %",
            f"{figure.mean_tokens:,.0f}",
            f"{figure.failed:,}",
            NO_VALUE if figure.p is None else f"{figure.p:.2g}",
            NO_VALUE if figure.adjusted_p is None else f"{figure.adjusted_p:.2g}",
        )
        for figure in report.figures
    ]
    return Table(
        ("Benchmark, thinking", "Questions \u00d7 repeats", "Overlong", "Mean tokens", "Failed", "p", "p (Holm)"), rows
    )


def _category_table(report: Report) -> Table:
    return Table(
        ("Category", "Thinking", "Questions", "Score", "95 %, such questions"),
        [
            (one.name, one.thinking, f"{one.questions:,}", f"{one.score:.1f} %", span(one.interval))
            for one in report.categories
        ],
    )


def _cost_table(report: Report) -> Table:
    rows = [
        (
            f"{one.title}, {one.thinking}",
            f"{one.samples:,}",
            f"{one.output_tokens:,}",
            f"{one.mean_tokens:,.0f}",
            f"{one.longest:,}",
            f"{one.overlong:,}",
        )
        for one in report.costs
    ]
    total = sum(one.samples for one in report.costs)
    rows.append(("Together", f"{total:,}", f"{report.output_tokens:,}", "", "", ""))
    return Table(("Benchmark, thinking", "Samples", "Output tokens", "Mean", "Longest", "Overlong"), rows)


def _settings_table(run: Results) -> Table:
    return Table(
        ("Benchmark, thinking", "Temperature", "top_p", "max_tokens", "Data", "Revision", "SHA-256"),
        [
            (
                f"{benchmark(one.benchmark).title}, {one.thinking}",
                f"{one.settings.temperature:g}",
                f"{one.settings.top_p:g}",
                f"{one.settings.max_tokens:,}",
                f"{one.data.source}, {one.data.rows:,} rows",
                one.data.revision[:12] or NO_VALUE,
                one.data.sha256[:12] or NO_VALUE,
            )
            for one in run.measured
        ],
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=ChoiceLoader([PackageLoader("nemotron_evals"), PackageLoader("nemotron_loadtest", "report/templates")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
