"""Ask the card's benchmarks of an endpoint with OpenAI's API, and score the answers.

The same command goes on where an earlier one was interrupted, and asks nothing twice. Keys come from files or from the
environment: NEMOTRON_API_KEY or OPENAI_API_KEY for the endpoint, NEMOTRON_JUDGE_API_KEY for the judge.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Literal

import msgspec

from nemotron_evals import data, plan, results
from nemotron_evals.card import CARD, MODES, SETTINGS, Benchmark, Mode, Settings
from nemotron_evals.endpoint import JUDGE_KEY_VARIABLES, KEY_VARIABLES, Endpoint, connect, read_key
from nemotron_evals.errors import EvalError, UnreachableError
from nemotron_evals.plan import Asked, Plan
from nemotron_evals.report import as_text, make_report
from nemotron_serving.command_line import path, whole
from nemotron_serving.errors import did_you_mean

CONCURRENCY = 32
"""Requests at the same time, where no other number is given."""

_MEASURED_BY = ("nemotron-triton", "inspect-ai", "math-verify", "lm-eval", "nvidia-bfcl", "nvidia-mtbench-evaluator")
_NAMES = ",".join(one.name for one in CARD)


class Work(msgspec.Struct, frozen=True):
    """A benchmark in one mode, with the questions that are asked."""

    asked: Asked
    benchmark: Benchmark
    questions: tuple[data.Question, ...]

    @property
    def name(self) -> str:
        """Of the task."""
        return f"{self.asked.benchmark}-{self.asked.thinking}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `nemotron-eval run`."""
    parser.add_argument("url", metavar="URL", help="of the endpoint, such as http://gpu-1:9000/v1")
    parser.add_argument("-o", "--output", metavar="DIR", type=path, help="of the run (default: runs/MODEL)")
    parser.add_argument("--model", metavar="NAME", help="the model's name there, if it has several")
    parser.add_argument(
        "--data", metavar="DIR", help="of the benchmarks' rows, or 'hub' to read the pinned datasets there"
    )
    parser.add_argument("--tasks", metavar="NAMES", help=f"some of {_NAMES} (default: all)")
    parser.add_argument("--thinking", metavar="MODES", default="on,off", help="on, off or on,off (default: on,off)")
    parser.add_argument(
        "--repeats", metavar="N", type=whole(1, 1000), help="ask each so often (default: 2 to 16, see docs/evals.md)"
    )
    parser.add_argument(
        "--limit", metavar="N", type=whole(1), help="ask the first N only: not comparable with the card"
    )
    parser.add_argument("--max-tokens", metavar="N", type=whole(1), help="of an answer (default: 32768, the card's)")
    parser.add_argument(
        "--concurrency",
        metavar="N",
        type=whole(1, 4096),
        default=CONCURRENCY,
        help=f"requests at the same time (default: {CONCURRENCY})",
    )
    parser.add_argument("--api-key-file", metavar="FILE", type=path, help="the endpoint's key, on a line")
    parser.add_argument("--judge", metavar="URL", help="of the endpoint that rates MT-Bench")
    parser.add_argument("--judge-model", metavar="NAME", help="the judge's name there, if it has several")
    parser.add_argument("--judge-key-file", metavar="FILE", type=path, help="the judge's key, on a line")


def main(options: argparse.Namespace) -> int:
    """Run it.

    Raises:
        EvalError: Something is missing or wrong, before anything was asked; or the endpoint went away.
    """
    benchmarks, modes = _benchmarks(options.tasks), _modes(options.thinking)
    where = _where(options.data)
    work = _work(benchmarks, modes, where, options)
    _check_tools(benchmarks, options)
    endpoint = connect(options.url, options.model, read_key(options.api_key_file, KEY_VARIABLES))
    judge = None
    if options.judge:
        key = read_key(options.judge_key_file, JUDGE_KEY_VARIABLES)
        judge = connect(options.judge, options.judge_model, key, "the judge")
    directory = Path(options.output or Path("runs") / re.sub(r"[^\w.-]+", "-", endpoint.model)).absolute()
    with plan.alone(directory):
        planned = Plan(
            url=endpoint.url,
            model=endpoint.model,
            package=endpoint.package,
            judge=f"{judge.model} at {judge.url}" if judge else None,
            limit=options.limit,
            asked=[one.asked for one in work],
        )
        goes_on = plan.begin(directory, planned)
        samples = sum(one.asked.questions * one.asked.repeats for one in work)
        _say(f"{'Going on' if goes_on else 'Beginning'} in {directory}: {samples} samples of {endpoint.model}.")
        _ask(directory, work, endpoint, judge, options.concurrency)
        found = _results(directory, planned, work)
        results.write(directory, found)
    sys.stdout.write(as_text(make_report(found)))
    _say(f"Results are in {directory / results.NAME}; 'nemotron-eval report {directory}' makes a page of them.")
    return 0


def _ask(directory: Path, work: Sequence[Work], endpoint: Endpoint, judge: Endpoint | None, concurrency: int) -> None:
    """Have Inspect ask what was not asked yet.

    Raises:
        UnreachableError: The endpoint went away; what was answered is kept.
    """
    from nemotron_evals.asking import ask_all

    if problem := ask_all(directory, work, endpoint, judge, concurrency):
        raise UnreachableError(f"{problem}. What was answered is kept: the same command goes on")


def _results(directory: Path, planned: Plan, work: Sequence[Work]) -> results.Results:
    from nemotron_evals.logs import measured, scored

    time = plan.spent(directory)
    return results.Results(
        url=planned.url,
        model=planned.model,
        package=planned.package,
        judge=planned.judge,
        limit=planned.limit,
        started=time.started,
        finished=plan.now(),
        hours=time.seconds / 3600,
        versions=dict(_versions()),
        measured=[measured(one.asked, one.questions, scored(directory, one.name)) for one in work],
    )


def _versions() -> list[tuple[str, str]]:
    found = []
    for name in _MEASURED_BY:
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return found


def _work(
    benchmarks: Sequence[Benchmark],
    modes: Sequence[Mode],
    where: Path | Literal["hub"] | None,
    options: argparse.Namespace,
) -> list[Work]:
    rows = {one.name: data.load(one, where) for one in benchmarks}
    work = []
    for mode in modes:
        settings = SETTINGS[mode]
        if options.max_tokens:
            settings = Settings(settings.temperature, settings.top_p, options.max_tokens)
        for one in benchmarks:
            questions = rows[one.name].questions[: options.limit]
            repeats = options.repeats or one.repeats[mode]
            asked = Asked(one.name, mode, len(questions), repeats, settings, rows[one.name].used)
            work.append(Work(asked, one, questions))
    return work


def _check_tools(benchmarks: Sequence[Benchmark], options: argparse.Namespace) -> None:
    """Refuse a run before anything was asked, if some benchmark could not be scored."""
    names = [one.name for one in benchmarks]
    if "mtbench" in names and not options.judge:
        raise EvalError(
            "MT-Bench is rated by another model: name its endpoint with --judge URL, or leave MT-Bench out, with "
            f"--tasks {','.join(name for name in names if name != 'mtbench') or '…'}"
        )
    if "ifeval" in names:
        from nemotron_evals.scorers.instructions import check_installed

        check_installed()
    if "mbpp" in names:
        from nemotron_evals.sandbox import check_sandbox

        check_sandbox()


def _benchmarks(given: str | None) -> list[Benchmark]:
    if given is None:
        return list(CARD)
    known = {one.name: one for one in CARD}
    names = [name.strip() for name in given.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise EvalError(f"there is no benchmark {name!r}{did_you_mean(name, known)} There are {', '.join(known)}")
    if not names:
        raise EvalError(f"--tasks names no benchmark: there are {', '.join(known)}")
    return [one for one in CARD if one.name in names]


def _modes(given: str) -> list[Mode]:
    names = [name.strip() for name in given.split(",")]
    if not names or any(name not in MODES for name in names):
        raise EvalError(f"--thinking {given!r}: expected on, off or on,off")
    return [mode for mode in MODES if mode in names]


def _where(given: str | None) -> Path | Literal["hub"] | None:
    if given == data.HUB:
        return "hub"
    return Path(given) if given else None


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
