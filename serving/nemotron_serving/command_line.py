"""What nemotron-serve and nemotron-build's command lines have in common: one line for a mistake, and what was meant."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from nemotron_serving.errors import did_you_mean

USAGE_STATUS = 2
"""The exit status of a wrong command line."""

_ELSEWHERE = {
    "--host": "--bind",
    **dict.fromkeys(("--api-key", "--api-key-file", "--served-model-name", "--workers"), "--openai-options"),
}
"""What other servers, and the front, call options that are meant here, or belong into them."""

_CHOICE = re.compile(r"invalid choice: '(?P<given>.*?)' \(choose from (?P<known>.*)\)")


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, with the nearest that there is; the usage is a --help away."""

    def parse_known_args(  # type: ignore[override]  # typeshed has overloads for namespaces of other classes
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse, and refuse what is not known here, where the options are that may have been meant."""
        parsed, rest = super().parse_known_args(args, namespace)
        if rest:
            self.error(self._unknown(rest))
        return parsed, rest

    def error(self, message: str) -> NoReturn:
        """Write the line and exit with status 2."""
        if choice := _CHOICE.search(message):
            message += did_you_mean(choice["given"], re.findall(r"[^', ]+", choice["known"]))
        end = "" if message.endswith("?") else "."
        self.exit(USAGE_STATUS, f"{self.prog}: {message}{end} See '{self.prog} --help'.\n")

    def _unknown(self, rest: Sequence[str]) -> str:
        option = next((word.partition("=")[0] for word in rest if word.startswith("-")), None)
        if option is None:
            return f"{rest[0]!r} is one argument too many"
        known = self._option_string_actions
        meant = _ELSEWHERE.get(option)
        return f"there is no option {option}" + (
            f"; did you mean {meant}?" if meant in known else did_you_mean(option, known)
        )


def path(text: str) -> Path:
    """An argument that is a path. An empty one is mostly a variable of the shell that was not set."""
    if not text:
        raise argparse.ArgumentTypeError("'' given, expected a path")
    return Path(text)


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Parse whole numbers from `least` on, up to `most`."""
    expected = f"a whole number from {least} to {most}" if most else f"a whole number of at least {least}"

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"{text!r} given, expected {expected}")
        return value

    return parse


def number(*, above: float | None = None, least: float = 0) -> Callable[[str], float]:
    """Parse finite numbers from `least` on, or above `above`."""
    expected = f"a number of at least {least:g}" if above is None else f"a number above {above:g}"

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not (value >= least if above is None else value > above) or value == float("inf"):
            raise argparse.ArgumentTypeError(f"{text!r} given, expected {expected}")
        return value

    return parse
