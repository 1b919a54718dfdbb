"""BFCL's calls, checked by the AST checker of NVIDIA's wheel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_NO_CALL, _ANY_CALL = "irrelevance", "relevance"
_MODEL = "nemotron"  # of none of the checker's lists of models that write names in another way


def right(
    category: str,
    functions: Sequence[Mapping[str, Any]],
    gold: Sequence[Mapping[str, Any]] | None,
    calls: Sequence[tuple[str, dict[str, Any]]],
) -> tuple[bool, str]:
    """Whether the calls of an answer are those that the category asks for, and what is wrong with them.

    Args:
        category: One of `data.BFCL_CATEGORIES`.
        functions: That there are.
        gold: The calls with the values that each argument may have; None for the categories that ask whether there is a
            call at all.
        calls: Of the answer.
    """
    if category == _NO_CALL:
        return not calls, f"{len(calls)} calls where none helps" if calls else ""
    if category == _ANY_CALL:
        return bool(calls), "" if calls else "no call"
    if not calls:
        return False, "no call"
    from bfcl.eval_checker.ast_eval.ast_checker import ast_checker

    output = [{name: arguments} for name, arguments in calls]
    verdict = ast_checker(list(functions), output, list(gold or []), "Python", f"live_{category}", _MODEL)
    return bool(verdict["valid"]), "" if verdict["valid"] else str(verdict.get("error", ["wrong"]))[:500]
