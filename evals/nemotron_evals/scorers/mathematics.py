"""Whether two answers to a question of mathematics are the same, by math-verify."""

from __future__ import annotations


def same(gold: str, answer: str) -> bool:
    r"""Whether a boxed answer is the gold one.

    Both are what stands in a box, such as `\frac{1}{2}` and `0.5`. To be called in the main thread, for math-verify
    limits its time by a signal.
    """
    if gold.strip() == answer.strip():
        return True
    from math_verify import parse, verify

    return bool(verify(parse(_boxed(gold)), parse(_boxed(answer))))


def _boxed(text: str) -> str:
    return f"\\boxed{{{text}}}"
