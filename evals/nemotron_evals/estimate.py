"""What a run of the card's table will take, and what it will be able to tell, before it is started.

Requests follow from the card's table. Tokens of an answer and the noise between repeats of a question nobody has
published: those of ASSUMED are taken, or with --like what an earlier run of any size has measured. Tokens become hours
by the planner that `nemotron-build plan` prints, for the GPU and the precision of a built-in profile. Power is the
share of runs in which a true loss of the figure's margin would get the verdict `lower` if it were the smallest p value
of the table (Holm's strictest step), so it is a lower bound.
"""

from __future__ import annotations

import argparse
import math
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from nemotron_evals import results, statistics
from nemotron_evals.card import CARD, MODES, Benchmark, Metric, Mode
from nemotron_evals.card import benchmark as find_benchmark
from nemotron_evals.errors import EvalError
from nemotron_evals.gate import MARGIN
from nemotron_evals.tables import text_table
from nemotron_evals.verdicts import ROUNDING, deciding

if TYPE_CHECKING:
    from nemotron_evals.speed import Speed

POWER = 0.9
"""The power that repeats are worked out for."""

PROFILE = "h100-bf16"
"""The profile that hours are for where none is named: the model as it is, on one H100."""


class Assumed(msgspec.Struct, frozen=True):
    """What is taken of a benchmark in one mode where nothing was measured.

    Attributes:
        prompt_tokens: Of a request.
        output_tokens: Of its answer, thinking included, on average.
        within: Share of a score's variance p·(1 - p) that lies between repeats of a question.
    """

    prompt_tokens: int
    output_tokens: int
    within: float


ASSUMED: Mapping[str, Mapping[Mode, Assumed]] = {
    "math500": {"on": Assumed(120, 4000, 0.55), "off": Assumed(120, 700, 0.07)},
    "aime25": {"on": Assumed(200, 13000, 0.50), "off": Assumed(200, 1500, 0.07)},
    "gpqa": {"on": Assumed(350, 8000, 0.60), "off": Assumed(350, 700, 0.07)},
    "ifeval": {"on": Assumed(100, 1500, 0.40), "off": Assumed(100, 400, 0.07)},
    "bfcl": {"on": Assumed(900, 700, 0.22), "off": Assumed(900, 60, 0.07)},
    "mbpp": {"on": Assumed(250, 3500, 0.58), "off": Assumed(250, 250, 0.07)},
    "mtbench": {"on": Assumed(600, 1800, 0.50), "off": Assumed(600, 500, 0.10)},
}
"""Guesses of ours by the length of comparable models' answers; nothing of them was measured with this model."""

_RATING_VARIANCE = 4.0  # of one rating over questions, in points squared
_TURNS = {"mtbench": 2}


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A benchmark in one mode.

    Attributes:
        benchmark: Its name in the card's table.
        title: As the card writes it.
        thinking: The mode.
        requests: Questions times repeats times turns.
        output_tokens: Of all of them.
        mean_tokens: Of one.
        hours: On all GPUs together.
        measured: Whether tokens and noise are of an earlier run.
    """

    benchmark: str
    title: str
    thinking: Mode
    requests: int
    output_tokens: int
    mean_tokens: float
    hours: float
    measured: bool


class Power(msgspec.Struct, frozen=True, kw_only=True):
    """What a figure will be able to tell, in the card's unit.

    Attributes:
        benchmark: Its name in the card's table.
        title: As the card writes it.
        metric: Which of its figures.
        thinking: The mode.
        repeats: Of each question.
        margin: How far from the card still counts as the same.
        half_width: Of the 95 % interval of the difference to the card.
        power: Share of runs that find a loss of the margin.
        repeats_for_90: From which that is 90 %; None where no number is enough, for the card's own noise.
    """

    benchmark: str
    title: str
    metric: str
    thinking: Mode
    repeats: int
    margin: float
    half_width: float
    power: float
    repeats_for_90: int | None


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """All of it.

    Attributes:
        profile: What it is served with.
        gpu: The GPU's name.
        gpus: How many of them, each with a server of its own.
        requests: Of the run.
        output_tokens: Of the run.
        hours: On all GPUs together.
        parts: Each benchmark in each mode.
        powers: Each figure.
        gate_half_width: From the mean of the gate to its lower bound, in points, where both engines are the same.
        gate_pass: Share of pairs of runs of such engines that pass.
        assumed: What the figures rest on, in sentences.
    """

    profile: str
    gpu: str
    gpus: int
    requests: int
    output_tokens: int
    hours: float
    parts: list[Part]
    powers: list[Power]
    gate_half_width: float
    gate_pass: float
    assumed: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `nemotron-eval estimate`."""
    add = parser.add_argument
    add("--thinking", metavar="MODES", default="on,off", help="on, off or on,off (on,off)")
    add("--tasks", metavar="NAMES", default="", help="benchmarks, such as math500,ifeval (all)")
    add("--profile", metavar="P", default=PROFILE, help=f"of nemotron-build, for a GPU ({PROFILE})")
    add("--gpus", metavar="N", type=int, default=1, help="GPUs that serve it, each with the whole model (1)")
    add("--like", metavar="RUN", type=Path, help="take tokens and noise from an earlier run, also one with --limit")
    add("--json", action="store_true", help="print JSON")


def main(options: argparse.Namespace) -> int:
    """Print the estimate.

    Raises:
        EvalError: A benchmark, mode or profile is not known, or the earlier run has no results.
    """
    found = make_estimate(
        [find_benchmark(name) for name in _names(options.tasks)] or list(CARD),
        _modes(options.thinking),
        profile=options.profile,
        gpus=options.gpus,
        like=None if options.like is None else results.read(options.like),
    )
    if options.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found), indent=1).decode() + "\n")
    else:
        sys.stdout.write(as_text(found))
    return 0


def make_estimate(
    benchmarks: Sequence[Benchmark],
    modes: Sequence[Mode],
    *,
    profile: str = PROFILE,
    gpus: int = 1,
    like: results.Results | None = None,
) -> Estimate:
    """Work it out.

    Raises:
        EvalError: The profile is not known or for no GPU, or there is no GPU.
    """
    from nemotron_evals.speed import Speed

    if gpus < 1:
        raise EvalError(f"--gpus is {gpus}, expected at least 1")
    known = {(one.benchmark, one.thinking): one for one in like.measured} if like else {}
    speed = Speed(profile)
    cells = [(of, mode) for of in benchmarks for mode in modes]
    parts = [_part(of, mode, known.get((of.name, mode)), speed, gpus) for of, mode in cells]
    figures = [(of, metric, mode) for of, mode in cells for metric in of.metrics]
    noises = {
        (of.name, metric.name, mode): _noise(of, metric, mode, known.get((of.name, mode)))
        for of, metric, mode in figures
    }
    half_width = _gate_half_width(benchmarks, modes, noises)
    return Estimate(
        profile=profile,
        gpu=speed.gpu,
        gpus=gpus,
        requests=sum(part.requests for part in parts),
        output_tokens=sum(part.output_tokens for part in parts),
        hours=math.fsum(part.hours for part in parts),
        parts=parts,
        powers=[
            _power(of, metric, mode, noises[of.name, metric.name, mode], len(figures)) for of, metric, mode in figures
        ],
        gate_half_width=half_width,
        gate_pass=statistics.chance((MARGIN - half_width) * statistics.Z_ONE_SIDED / half_width),
        assumed=_assumptions(like, parts),
    )


def as_text(found: Estimate) -> str:
    """For a terminal, of about 100 columns."""
    parts: list[tuple[str, ...]] = [
        (
            one.title,
            one.thinking,
            f"{one.requests:,}",
            f"{one.mean_tokens:,.0f}{'' if one.measured else ' *'}",
            f"{one.output_tokens / 1e6:.1f}",
            f"{one.hours:.2f}",
        )
        for one in found.parts
    ]
    parts.append(("together", "", f"{found.requests:,}", "", f"{found.output_tokens / 1e6:.1f}", f"{found.hours:.1f}"))
    powers = [
        (
            one.title if one.metric not in ("prompt", "instruction") else f"{one.title}, {one.metric}",
            one.thinking,
            f"{one.repeats}",
            f"±{one.half_width:.1f}",
            f"{one.margin:g}",
            f"{100 * one.power:.0f} %",
            "none" if one.repeats_for_90 is None else f"{one.repeats_for_90}",
        )
        for one in found.powers
    ]
    where = f"{found.gpus} {found.gpu}, profile {found.profile}"
    lines = [
        text_table(("benchmark", "thinking", "requests", "tokens each", "M tokens", "hours"), parts),
        "",
        f"About {found.hours:.1f} hours on {where}.",
        "",
        text_table(("figure", "thinking", "repeats", "difference", "margin", "power", "repeats for 90 %"), powers),
        "",
        f"Gate: ±{found.gate_half_width:.1f} points one-sided; two engines of the same quality pass in "
        f"{100 * found.gate_pass:.0f} % of all pairs.",
        *(textwrap.fill(sentence, 100) for sentence in found.assumed),
    ]
    return "\n".join(lines) + "\n"


def _part(of: Benchmark, mode: Mode, known: results.Measured | None, speed: Speed, gpus: int) -> Part:
    assumed, turns = ASSUMED[of.name][mode], _TURNS.get(of.name, 1)
    requests = of.questions * of.repeats[mode] * turns
    tokens = float(assumed.output_tokens)
    if known is not None and (counts := [count for row in known.output_tokens for count in row]):
        tokens = sum(counts) / len(counts) / turns
    return Part(
        benchmark=of.name,
        title=of.title,
        thinking=mode,
        requests=requests,
        output_tokens=round(requests * tokens),
        mean_tokens=tokens,
        hours=speed.hours(assumed.prompt_tokens, tokens, requests / gpus),
        measured=known is not None,
    )


def _noise(of: Benchmark, metric: Metric, mode: Mode, known: results.Measured | None) -> float:
    """V, in the square of the score's unit."""
    if known is not None and known.repeats > 1:
        for one in known.metrics:
            if one.name == metric.name:
                return statistics.noise(one.scores, one.weights)
    within = ASSUMED[of.name][mode].within
    if metric.scale == "points10":
        return within * _RATING_VARIANCE
    score = metric.card[mode] * metric.unit
    return max(within * score * (1 - score), statistics.unseen_share(of.questions) / 2)


def _power(of: Benchmark, metric: Metric, mode: Mode, noise: float, figures: int) -> Power:
    repeats, card_repeats, unit = of.repeats[mode], of.card_repeats[mode], metric.unit
    rounding = ROUNDING * unit
    error = math.sqrt(noise * (1 / repeats + 1 / card_repeats) / of.questions)
    loss, alpha = metric.margin * unit - rounding, statistics.ALPHA / figures
    lossy = _at_loss(noise, metric, mode)
    errors = statistics.quantile(1 - alpha / 2) + statistics.quantile(POWER)
    return Power(
        benchmark=of.name,
        title=of.title,
        metric=metric.name,
        thinking=mode,
        repeats=repeats,
        margin=metric.margin,
        half_width=(statistics.Z * error + rounding) / unit,
        power=statistics.power(loss, error * math.sqrt(lossy / noise), alpha),
        repeats_for_90=deciding(lossy, of.questions, card_repeats, loss, errors),
    )


def _at_loss(noise: float, metric: Metric, mode: Mode) -> float:
    """V where the margin is lost: in proportion to p·(1 - p), which is larger the nearer a score is to ½."""
    score, lower = (value * metric.unit for value in (metric.card[mode], metric.card[mode] - metric.margin))
    if metric.scale == "points10" or lower <= 0:
        return noise
    return noise * lower * (1 - lower) / (score * (1 - score))


def _gate_half_width(
    benchmarks: Sequence[Benchmark], modes: Sequence[Mode], noises: Mapping[tuple[str, str, Mode], float]
) -> float:
    """From the mean to its lower bound, in points, for engines whose chances of a right answer are the same.

    The variance of a question's difference is 2·V/k in each mode; a benchmark is the mean over its modes, and its
    figures count as one, as if they rose and fell together. A score of 0 is left out, as the gate does.
    """
    errors = []
    for of in benchmarks:
        variances = []
        for mode in modes:
            if all(metric.card[mode] == 0 for metric in of.metrics):
                continue
            points = [100.0 if metric.scale == "fraction" else 10.0 for metric in of.metrics]
            spreads = [
                point * math.sqrt(2 * noises[of.name, metric.name, mode] / of.repeats[mode])
                for point, metric in zip(points, of.metrics, strict=True)
            ]
            variances.append((sum(spreads) / len(spreads)) ** 2)
        if variances:
            errors.append(math.sqrt(sum(variances)) / len(variances) / math.sqrt(of.questions))
    if not errors:
        return 100.0
    return statistics.Z_ONE_SIDED * math.hypot(*errors) / len(errors)


def _assumptions(like: results.Results | None, parts: Sequence[Part]) -> list[str]:
    said = []
    if any(not part.measured for part in parts):
        said.append(
            "* Assumed: mean tokens of an answer, and the noise between repeats; nothing of it was measured with this "
            "model. --like RUN takes both from a run, also a short one."
        )
    if like is not None:
        said.append(
            f"Measured: tokens, and noise where there were two repeats, are those of {like.model} at {like.url}."
        )
    said.append(
        "Prompts are assumed to be of typical length; the speed is that of 'nemotron-build plan'; MT-Bench's judge is "
        "not counted."
    )
    said.append(
        "Power is against a loss of the margin, at the strictest step of Holm. 'none': the card's own runs are too few "
        "for 90 %, however often we repeat. The gate's share assumes that greedy answers differ no more between "
        "engines than between repeats; where rounding changes more of them, it is less."
    )
    return said


def _names(tasks: str) -> list[str]:
    return [name.strip() for name in tasks.split(",") if name.strip()]


def _modes(given: str) -> list[Mode]:
    names = _names(given)
    if not names or not set(names) <= set(MODES):
        raise EvalError(f"--thinking is {given!r}, expected on, off or on,off")
    return [mode for mode in MODES if mode in names]
