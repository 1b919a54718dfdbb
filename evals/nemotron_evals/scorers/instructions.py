"""IFEval's instructions, checked by lm-eval's code without the harness around it."""

from __future__ import annotations

import importlib.util
import os
import sys
import types
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from nemotron_evals.errors import DataError

_SPLITTER = "tokenizers/punkt_tab/english"


def followed(prompt: str, instructions: Sequence[str], arguments: Sequence[Mapping[str, Any]], text: str) -> list[bool]:
    """Which of a prompt's instructions an answer follows, strictly.

    Raises:
        DataError: What the checkers need is not installed.
        KeyError: There is no such instruction.
    """
    checkers = _checkers()
    known = checkers.instructions_registry.INSTRUCTION_DICT
    for instruction in instructions:
        if instruction not in known:
            raise KeyError(f"there is no instruction {instruction!r}")
    example = checkers.InputExample(0, list(instructions), prompt, [dict(one) for one in arguments])
    return [bool(one) for one in checkers.test_instruction_following_strict(example, text).follow_instruction_list]


def check_installed() -> None:
    """Raise DataError if the checkers or what they need are not installed."""
    _checkers()


@cache
def _checkers() -> Any:
    """lm-eval's module of the checkers.

    Its packages are registered as bare modules, for their own code imports all of the harness. The checkers want NLTK's
    sentence splitter, and would download it; so it has to be there before they are imported.
    """
    found = importlib.util.find_spec("lm_eval")
    if found is None or not found.submodule_search_locations:
        raise DataError(
            "lm-eval, which checks IFEval, is not installed: 'make setup-evals' makes an environment with it"
        )
    _find_splitter()
    root = Path(next(iter(found.submodule_search_locations)))
    for name, path in (("lm_eval", root), ("lm_eval.tasks", root / "tasks")):
        module = types.ModuleType(name)
        module.__path__ = [str(path)]
        sys.modules.setdefault(name, module)
    from langdetect import DetectorFactory
    from lm_eval.tasks.ifeval import utils

    DetectorFactory.seed = 0  # else the language of a short text is a matter of chance
    return utils


def _find_splitter() -> None:
    """Have NLTK find its data: where it looks by itself, or in a package that ships a copy.

    Raises:
        DataError: There is none, or NLTK refuses it.
    """
    import nltk

    try:
        nltk.data.find(_SPLITTER)
    except LookupError:
        shipped = importlib.util.find_spec("llama_index")
        for location in (shipped.submodule_search_locations or []) if shipped else []:
            nltk.data.path.append(os.path.join(location, "core", "_static", "nltk_cache"))
    try:
        nltk.sent_tokenize("One. Two.")
    except LookupError:
        raise DataError(
            "NLTK's punkt_tab, which IFEval's checkers need, is not installed: 'make setup-evals' makes an environment "
            "with it; elsewhere, run 'python -m nltk.downloader punkt_tab'"
        ) from None
    except (
        Exception
    ) as error:  # of a file that is hard-linked, as uv installs files, NLTK thinks that it was smuggled in
        said = " ".join(str(error).split())[:200]
        raise DataError(
            f"NLTK refuses its own punkt_tab, which IFEval's checkers need ({said}): install it as copies, with pip or "
            "with uv's --link-mode=copy"
        ) from None
