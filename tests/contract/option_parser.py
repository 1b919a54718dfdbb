"""A parser that takes what trtllm-build takes, made from the recorded list of its options."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

_RECORDED = Path(__file__).parent / "trtllm_build_options.json"
_TYPES = {"str": str, "enum": str, "int": int}


def parse_options(arguments: Sequence[str]) -> Namespace:
    """Parse a command line, without the program, as trtllm-build would.

    Raises:
        ValueError: an option that it does not know, or a bad value.
    """
    parser = _Parser("trtllm-build", allow_abbrev=False, add_help=False)
    for option in recorded_options():
        if option["type"] == "flag":
            parser.add_argument(*option["flags"], action="store_true")
            continue
        more = {name: option[name] for name in ("choices", "nargs") if name in option}
        # argparse would convert a default that is text, and some stand for a name.
        parser.add_argument(*option["flags"], type=_TYPES[option["type"]], **more)
    return parser.parse_args(arguments)


def recorded_options() -> list[dict[str, Any]]:
    """The list as it was recorded."""
    options: list[dict[str, Any]] = json.loads(_RECORDED.read_text())["options"]
    return options


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{self.prog}: {message}")
