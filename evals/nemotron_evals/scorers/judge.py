"""MT-Bench's rating of an answer by another model, with the benchmark's own prompts."""

from __future__ import annotations

from collections.abc import Sequence

from nemotron_evals.data import judge_prompts

REFERENCED = frozenset({"math", "reasoning", "coding"})
"""Categories that are rated beside a reference answer, where there is one."""


def judged(turns: Sequence[str], answers: Sequence[str], reference: Sequence[str] | None) -> tuple[str, str]:
    """What the judge is asked: the system's text and the user's.

    Args:
        turns: The user's, one or two; the last is rated.
        answers: The model's, as many.
        reference: A good model's answers; None without.
    """
    name = ("single-math-v1" if reference else "single-v1") + ("-multi-turn" if len(turns) == 2 else "")
    system, template = judge_prompts()[name]
    if len(turns) == 1:
        values = {"question": turns[0], "answer": answers[0]}
    else:
        values = {"question_1": turns[0], "question_2": turns[1], "answer_1": answers[0], "answer_2": answers[1]}
    if reference:
        values |= {f"ref_answer_{number}": text for number, text in enumerate(reference[: len(turns)], 1)}
    return system, template.format(**values)
