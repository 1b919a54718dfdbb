"""What Inspect's logs of a run hold: scores of all samples, and their texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from nemotron_evals.card import Benchmark, Mode, benchmark
from nemotron_evals.data import Question
from nemotron_evals.errors import ResultsError
from nemotron_evals.plan import LOGS, Asked
from nemotron_evals.results import Measured, ScoredMetric

SampleScore = dict[str, Any]
"""Of a sample: `values` by metric, and what `tasks.score` puts beside them."""


class Sample(msgspec.Struct, frozen=True):
    """A question that was asked, with its texts.

    Attributes:
        question: Its id.
        repeat: From 0 on.
        values: Scores by metric.
        failed: Whether it counts as wrong for an error.
        overlong: See `results.Measured`.
        output_tokens: Of all its answers.
        prompt: What was asked, all turns.
        reasoning: The thinking, where the endpoint kept it apart.
        answer: The model's last text.
        explanation: Why it is wrong, where that is known.
    """

    question: str
    repeat: int
    values: dict[str, float]
    failed: bool
    overlong: bool
    output_tokens: int
    prompt: str
    reasoning: str
    answer: str
    explanation: str


def samples(directory: Path, name: str, thinking: Mode) -> Iterator[Sample]:
    """The samples of a benchmark in one mode with their texts; none of a benchmark whose texts are private.

    Raises:
        ResultsError: The run's logs are not there.
    """
    if benchmark(name).private:
        return
    from inspect_ai.log import read_eval_log_samples

    path = latest(directory, f"{name}-{thinking}")
    if path is None:
        raise ResultsError(f"{directory / LOGS} has no log of {name} with thinking {thinking}")
    for one in read_eval_log_samples(path, all_samples_required=False, exclude_fields={"events", "store"}):
        score = _score(one)
        if score is None:
            continue
        yield Sample(
            question=str(one.id),
            repeat=one.epoch - 1,
            values=score["values"],
            failed=score["failed"],
            overlong=score["overlong"],
            output_tokens=score["output_tokens"],
            prompt="\n\n".join(message.text for message in one.messages if message.role == "user"),
            reasoning=_reasoning(one),
            answer=one.output.completion,
            explanation=score["explanation"],
        )


def scored(directory: Path, task: str) -> dict[tuple[str, int], SampleScore]:
    """The scores of a task's samples, by question and repeat (from 0 on)."""
    from inspect_ai.log import read_eval_log_sample_summaries

    path = latest(directory, task)
    if path is None:
        return {}
    found = {}
    for one in read_eval_log_sample_summaries(path):
        if not one.error and (score := _score(one)) is not None:
            found[str(one.id), one.epoch - 1] = score
    return found


def latest(directory: Path, task: str) -> str | None:
    """The newest log of a task; None without one."""
    from inspect_ai.log import list_eval_logs

    logs = [one for one in list_eval_logs(str(directory / LOGS)) if one.task == task]
    return max(logs, key=lambda one: Path(one.name).name).name if logs else None


def measured(asked: Asked, questions: Sequence[Question], found: dict[tuple[str, int], SampleScore]) -> Measured:
    """A benchmark's results. A sample without a score is a failure, and has the lowest."""
    of = benchmark(asked.benchmark)
    lost = _lost(of)
    table = [[found.get((one.id, repeat), lost) for repeat in range(asked.repeats)] for one in questions]
    notes: dict[str, int] = {}
    for one in (one for row in table for one in row):
        for name, count in one["notes"].items():
            notes[name] = notes.get(name, 0) + count
    return Measured(
        benchmark=asked.benchmark,
        thinking=asked.thinking,
        questions=[one.id for one in questions],
        repeats=asked.repeats,
        expected=len(questions) * asked.repeats,
        failed=sum(one["failed"] for row in table for one in row),
        metrics=[
            ScoredMetric(
                metric.name,
                [[float(one["values"][metric.name]) for one in row] for row in table],
                [float(len(one.fields["instructions"])) for one in questions] if metric.name == "instruction" else None,
            )
            for metric in of.metrics
        ],
        overlong=[[bool(one["overlong"]) for one in row] for row in table],
        output_tokens=[[int(one["output_tokens"]) for one in row] for row in table],
        settings=asked.settings,
        data=asked.data,
        categories=[str(one.fields["category"]) for one in questions] if asked.benchmark == "bfcl" else None,
        notes=notes,
    )


def lowest(of: Benchmark) -> dict[str, float]:
    """The scores of a failure."""
    return {metric.name: 0.0 if metric.scale == "fraction" else 1.0 for metric in of.metrics}


def _lost(of: Benchmark) -> SampleScore:
    return {"values": lowest(of), "failed": True, "overlong": False, "output_tokens": 0, "notes": {}, "explanation": ""}


def _score(sample: Any) -> SampleScore | None:
    score = (sample.scores or {}).get("score")
    if score is None or not isinstance(score.value, dict):
        return None
    return {**score.metadata, "values": score.value, "explanation": score.explanation or ""}


def _reasoning(sample: Any) -> str:
    content = sample.output.message.content if sample.output.choices else ""
    parts = [] if isinstance(content, str) else content
    return "\n".join(part.reasoning for part in parts if part.type == "reasoning")
