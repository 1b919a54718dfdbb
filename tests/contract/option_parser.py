"""A parser that takes what one of TensorRT-LLM's tools takes, made from the recorded list of its options."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

_HERE = Path(__file__).parent
_TYPES = {"str": str, "enum": str, "int": int, "float": float}


def parse_options(tool: str, arguments: Sequence[str]) -> Namespace:
    """Parse a command line as the tool would; an option that it does not know, or a bad value, is a ValueError.

    Args:
        tool: The list's name: `trtllm_build`.
        arguments: The command line without the program.
    """
    return option_parser(tool).parse_args(arguments)


def option_parser(tool: str) -> ArgumentParser:
    """The parser itself."""
    parser = _Parser(tool, allow_abbrev=False, add_help=False)
    for option in recorded_options(tool)["options"]:
        if option["type"] == "flag":
            parser.add_argument(*option["flags"], action=option.get("action", "store_true"))
            continue
        more = {name: option[name] for name in ("choices", "nargs", "const") if name in option}
        # argparse would convert a default that is text, and some stand for a name.
        parser.add_argument(*option["flags"], type=_TYPES[option["type"]], **more)
    return parser


def recorded_options(tool: str) -> dict[str, Any]:
    """The list as it was recorded, with its notes."""
    content: dict[str, Any] = json.loads((_HERE / f"{tool}_options.json").read_text())
    return content


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{self.prog}: {message}")
