"""What the commands' options have in common."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path


def number(least: float) -> Callable[[str], float]:
    """A parser of finite numbers that are not below `least`."""

    def parse(text: str) -> float:
        value = float(text)
        if not least <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is out of range, expected at least {least:g}")
        return value

    parse.__name__ = "number"
    return parse


def integer(least: int) -> Callable[[str], int]:
    """A parser of whole numbers that are not below `least`."""

    def parse(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} is out of range, expected at least {least}")
        return value

    parse.__name__ = "whole number"
    return parse


def add_output(parser: argparse.ArgumentParser, default: Path) -> None:
    """Add `-o DIR` and `--force`, for commands that write a package."""
    parser.add_argument(
        "-o", "--output", dest="package", type=Path, default=default, metavar="DIR", help=f"where to write ({default})"
    )
    parser.add_argument("--force", action="store_true", help="replace the package that is there")
