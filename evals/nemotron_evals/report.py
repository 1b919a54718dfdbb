"""What a run says of the card's table: for a terminal, as JSON, and as one HTML page that needs nothing from elsewhere.

Two intervals stand beside each score. "Same questions" is what these very questions would give if they were asked
again; the comparison with the card, whose figure is of the same questions, is made of it. "Such questions" is how good
the model is on questions of this kind. The page is written beside the run's results, with some of the worst answers to
read; neither the table nor the JSON has any text of questions or answers.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from nemotron_evals import results, statistics
from nemotron_evals.card import CARD, Benchmark, Mode, benchmark
from nemotron_evals.errors import EvalError, ResultsError
from nemotron_evals.logs import Sample, samples
from nemotron_evals.results import Measured, Results
from nemotron_evals.tables import text_table
from nemotron_evals.verdicts import Figure, Range, Verdict, judge

PAGE = "report.html"
"""The page's name in the run's directory, where no other is given."""

NO_VALUE = "\u2013"

_VERDICTS: tuple[Verdict, ...] = ("reproduced", "lower", "higher", "undecided", "not comparable")
_SAMPLES = 3  # to read, of each benchmark in each mode


_COUNTED = {"boxes_differ": "answers with several boxes that differ, of which the last counts: {:,}"}
"""What the counts of `Measured.notes` are."""


class Category(msgspec.Struct, frozen=True):
    """A category of BFCL's, as information: its questions are too few for a verdict.

    Attributes:
        name: As BFCL calls it.
        thinking: The mode.
        questions: How many it has.
        score: In percent.
        interval: For questions such as these.
    """

    name: str
    thinking: Mode
    questions: int
    score: float
    interval: Range


class Cost(msgspec.Struct, frozen=True):
    """What a benchmark took in one mode.

    Attributes:
        benchmark: Its name in the card's table.
        title: As the card writes it.
        thinking: The mode.
        samples: Questions times repeats.
        output_tokens: Of all of them.
        mean_tokens: Of one.
        longest: Tokens of the longest.
        overlong: How many ran into the limit of tokens.
        failed: How many could not be scored.
    """

    benchmark: str
    title: str
    thinking: Mode
    samples: int
    output_tokens: int
    mean_tokens: float
    longest: int
    overlong: int
    failed: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything but the answers to read.

    Attributes:
        url: The endpoint that was asked.
        model: Its name for the model.
        package: What it says it serves; None where it says nothing.
        judge: Who rated MT-Bench; None without it.
        limit: Questions of each benchmark, where not all were asked.
        started: ISO 8601.
        finished: The same.
        hours: That it took.
        figures: The card's figures beside ours, in the card's unit.
        categories: BFCL's.
        costs: Of each benchmark in each mode.
        notes: What was counted beside the scores, as sentences.
    """

    url: str
    model: str
    package: str | None
    judge: str | None
    limit: int | None
    started: str
    finished: str
    hours: float
    figures: list[Figure]
    categories: list[Category]
    costs: list[Cost]
    notes: list[str]

    @property
    def output_tokens(self) -> int:
        """Of the whole run."""
        return sum(cost.output_tokens for cost in self.costs)

    @property
    def headline(self) -> str:
        """How many figures have which verdict."""
        counts = Counter(figure.verdict for figure in self.figures)
        return ", ".join(f"{counts[verdict]} {verdict}" for verdict in _VERDICTS if counts[verdict]) or "no figures"

    @property
    def reasons(self) -> dict[str, str]:
        """Why figures have their verdict, where the numbers do not say it: reason → which figures."""
        found: dict[str, list[str]] = {}
        for figure in self.figures:
            if figure.reason:
                found.setdefault(figure.reason, []).append(f"{figure.name} {figure.thinking}")
        return {reason: "; ".join(names) for reason, names in found.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `nemotron-eval report`."""
    parser.add_argument("run", metavar="RUN", type=Path, help="directory of a run")
    parser.add_argument("--json", action="store_true", help="print JSON, and write no page")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help=f"write the page there (RUN/{PAGE})")


def main(options: argparse.Namespace) -> int:
    """Print the report, and write the page.

    Raises:
        EvalError: The run has no results, or the page cannot be written where it should.
    """
    path: Path = options.output or options.run / PAGE
    if options.output and (path.is_dir() or not path.parent.is_dir()):
        raise EvalError(f"-o is {path}: expected a file's name in a directory that is there")
    run = results.read(options.run)
    report = make_report(run)
    if options.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(report), indent=1).decode() + "\n")
        return 0
    sys.stdout.write(as_text(report))
    from nemotron_evals.page import page_html

    to_read, without = worst(options.run, run)
    _write(path, page_html(report, run, to_read, without))
    sys.stderr.write(f"nemotron-eval: wrote {path}\n")
    return 0


def make_report(run: Results) -> Report:
    """Work a run's report out."""
    return Report(
        url=run.url,
        model=run.model,
        package=run.package,
        judge=run.judge,
        limit=run.limit,
        started=run.started,
        finished=run.finished,
        hours=run.hours,
        figures=judge(run),
        categories=[category for one in _in_order(run) for category in _categories(one)],
        costs=[_cost(benchmark(one.benchmark), one) for one in _in_order(run)],
        notes=[
            f"{benchmark(one.benchmark).title} with thinking {one.thinking}: {_COUNTED[name].format(count)}"
            for one in _in_order(run)
            for name, count in one.notes.items()
            if count
        ],
    )


def as_text(report: Report) -> str:
    """For a terminal, of about 120 columns."""
    rows = [
        (
            figure.name,
            figure.thinking,
            f"{figure.score:.1f}",
            span(figure.same_questions),
            span(figure.generalisation),
            f"{figure.card:.1f}",
            f"{figure.difference:+.1f} ±{figure.half_width:.1f}" if figure.p is not None else "",
            f"{100 * figure.overlong:.1f}",
            f"{figure.mean_tokens:,.0f}",
            figure.verdict,
        )
        for figure in report.figures
    ]
    headings = (
        *("benchmark", "thinking", "score", "same questions", "such questions", "card", "difference"),
        *("overlong %", "tokens", "verdict"),
    )
    why = [f"{names}: {reason}." for reason, names in report.reasons.items()]
    took = f"{report.output_tokens:,} output tokens in {report.hours:.2g} hours."
    lines = [text_table(headings, rows), "", f"{report.headline}. {took}", *why, *(f"{note}." for note in report.notes)]
    return "\n".join(lines) + "\n"


def span(interval: Range | None) -> str:
    """An interval in brackets; a dash where there is none."""
    return NO_VALUE if interval is None else f"[{interval.low:.1f}, {interval.high:.1f}]"


def worst(directory: Path, run: Results) -> tuple[dict[tuple[str, Mode], list[Sample]], str]:
    """Some of the worst samples of each benchmark in each mode, of different questions; none of private ones.

    Those that failed come first, then those that ran into the limit of tokens, then those of the lowest scores.

    Returns:
        The samples, and why there are none of some.
    """
    found: dict[tuple[str, Mode], list[Sample]] = {}
    without = ""
    for one in _in_order(run):
        if benchmark(one.benchmark).private:
            continue
        try:
            found[one.benchmark, one.thinking] = _worst_of(samples(directory, one.benchmark, one.thinking), one)
        except (ResultsError, ModuleNotFoundError) as error:
            without = str(error)
    return found, without


def _worst_of(every: Iterable[Sample], measured: Measured) -> list[Sample]:
    """Holds no more than it returns, for the texts of a run may be many."""
    chosen: dict[str, Sample] = {}
    for sample in every:
        known = chosen.get(sample.question)
        if _is_bad(sample, measured) and (known is None or _rank(sample) < _rank(known)):
            chosen[sample.question] = sample
            if len(chosen) > _SAMPLES:
                del chosen[max(chosen, key=lambda question: _rank(chosen[question]))]
    return sorted(chosen.values(), key=_rank)


def _rank(sample: Sample) -> tuple[bool, bool, float, str, int]:
    return not sample.failed, not sample.overlong, sum(sample.values.values()), sample.question, sample.repeat


def _is_bad(sample: Sample, measured: Measured) -> bool:
    """Whether there is anything wrong with it: the best score is the best that the run has seen."""
    best = {metric.name: max((max(row) for row in metric.scores), default=1.0) for metric in measured.metrics}
    return sample.failed or sample.overlong or any(value < best.get(name, 1.0) for name, value in sample.values.items())


def _in_order(run: Results) -> Iterator[Measured]:
    """What the card has, in its order, thinking on before off."""
    for of in CARD:
        yield from sorted(
            (one for one in run.measured if one.benchmark == of.name), key=lambda one: one.thinking != "on"
        )


def _categories(measured: Measured) -> Iterator[Category]:
    if measured.categories is None or not measured.metrics:
        return
    rows: dict[str, list[Sequence[float]]] = {}
    for name, row in zip(measured.categories, measured.metrics[0].scores, strict=True):
        rows.setdefault(name, []).append(row)
    for name, scores in rows.items():
        interval = statistics.generalisation(scores)
        yield Category(
            name,
            measured.thinking,
            len(scores),
            100 * statistics.score(scores),
            Range(100 * interval.low, 100 * interval.high, interval.exact),
        )


def _cost(of: Benchmark, measured: Measured) -> Cost:
    tokens = [count for row in measured.output_tokens for count in row]
    return Cost(
        benchmark=of.name,
        title=of.title,
        thinking=measured.thinking,
        samples=measured.expected,
        output_tokens=sum(tokens),
        mean_tokens=sum(tokens) / max(1, len(tokens)),
        longest=max(tokens, default=0),
        overlong=sum(map(sum, measured.overlong)),
        failed=measured.failed,
    )


def _write(path: Path, page: str) -> None:
    """The whole page or none."""
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=f".{path.name}.", delete=False, encoding="utf-8"
    ) as file:
        temporary = Path(file.name)
        try:
            file.write(page)
            file.close()
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
