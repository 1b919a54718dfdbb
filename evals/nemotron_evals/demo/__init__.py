"""Rows of our own in the shapes of the card's benchmarks, and what the simulated engine answers to them.

`rows/` is a directory for `nemotron-eval run --data`. `answers.toml` has the answers, each with the score that it has
to get. `python -m nemotron_evals.demo` writes them as scripts for `nemotron-build simulated --script`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from nemotron_evals.card import MODES, Mode, benchmark
from nemotron_evals.data import load

ROWS = Path(__file__).parent / "rows"
"""The directory with the rows."""

_ANSWERS = Path(__file__).parent / "answers.toml"
_LETTERS = "ABCD"


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An answer to a question, and what it has to get.

    Attributes:
        question: Benchmark and id, such as `math500/half`.
        why: What it is there for.
        scores: By metric of the benchmark, in the card's order.
        thinking: The mode; None is for both.
        repeats: Counted from 1; empty is for all that no other answer names.
        thought: The thinking before it, in that mode.
        answer: The text; of the first turn, where there are two.
        second: Of the second turn.
        as_is: Whether the text is all that the model writes, tags included.
        times: How often the text is repeated.
        overlong: Whether it runs into the limit of tokens.
        failed: Whether it cannot be scored.
    """

    question: str
    why: str
    scores: tuple[float, ...]
    thinking: Mode | None = None
    repeats: tuple[int, ...] = ()
    thought: str = ""
    answer: str
    second: str = ""
    as_is: bool = False
    times: int = 1
    overlong: bool = False
    failed: bool = False

    def is_for(self, question: str, mode: Mode, repeat: int) -> bool:
        """Whether it is given to that question then, unless one before it is."""
        return (
            self.question == question and self.thinking in (None, mode) and (not self.repeats or repeat in self.repeats)
        )


class Judged(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the judge says where it reads a text, unless it has read one before it."""

    reads: str
    reply: str


class Played(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that the simulated engine says."""

    answers: tuple[Answer, ...]
    judge: tuple[Judged, ...]


def played() -> Played:
    """What answers.toml says."""
    return msgspec.toml.decode(_ANSWERS.read_bytes(), type=Played)


def expected(played: Played, name: str, mode: Mode, repeats: int) -> list[list[Answer]]:
    """What a benchmark's questions are answered with, by question and repeat.

    Args:
        played: All answers.
        name: Of the benchmark.
        mode: Thinking on or off.
        repeats: How often each question is asked.
    """
    return [
        [
            next(one for one in played.answers if one.is_for(f"{name}/{question.id}", mode, repeat))
            for repeat in range(1, repeats + 1)
        ]
        for question in load(benchmark(name), ROWS).questions
    ]


def scripts(played: Played) -> list[dict[str, Any]]:
    """Scripts of the simulated engine, in the order in which it tries them."""
    judge = [
        {"match": f"(?s)impartial judge.*{re.escape(one.reads)}", "answer": one.reply, "as_is": True}
        for one in played.judge
    ]
    return [*judge, *(script for one in played.answers for script in _of_answer(one))]


def _of_answer(one: Answer) -> Iterator[dict[str, Any]]:
    from nemotron_evals.tasks import seed  # late, for it imports Inspect

    name, _, wanted = one.question.partition("/")
    question = next(found for found in load(benchmark(name), ROWS).questions if found.id == wanted)
    seeds = [seed(name, question.id, repeat) for repeat in one.repeats]
    for mode in MODES if one.thinking is None else (one.thinking,):
        for match, thought, text in _texts(name, question.fields, one):
            yield {
                "match": f"(?s)detailed thinking {mode}.*{match}",
                "thinking": thought,
                "answer": text * one.times,
                "seeds": seeds,
                "as_is": one.as_is,
            }


def _texts(name: str, fields: dict[str, Any], one: Answer) -> Iterator[tuple[str, str, str]]:
    """What a prompt is known by, the thinking and the answer."""
    match name:
        case "mtbench":
            # A later turn's prompt holds the earlier ones.
            yield re.escape(fields["turns"][1]), one.thought, one.second
            yield re.escape(fields["turns"][0]), one.thought, one.answer
        case "gpqa":
            for right, wrong in zip(_LETTERS, _LETTERS[1:] + _LETTERS[:1], strict=True):
                match = rf"{re.escape(fields['question'])}.*\n{right}\. {re.escape(fields['right'])}\n"
                thought, text = (
                    said.replace("RIGHT", right).replace("WRONG", wrong) for said in (one.thought, one.answer)
                )
                yield match, thought, text
        case "bfcl":
            yield re.escape(fields["messages"][-1]["content"]), one.thought, one.answer
        case _:
            text = next(fields[field] for field in ("question", "prompt", "text") if field in fields)
            yield re.escape(text), one.thought, one.answer
