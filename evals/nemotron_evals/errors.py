"""What nemotron-eval says instead of a traceback, and the exit status that goes with it.

EvalError               2  anything that keeps a run from starting or a result from being read
├── DataError           2  the rows of a benchmark are missing, altered or cannot be read
├── ResultsError        2  a run directory's results.json is missing or not what this version writes
├── ChangedError        2  a run directory was begun with other settings or data
└── UnreachableError    3  no endpoint, or it does not answer as one of OpenAI's API
"""

from __future__ import annotations


class EvalError(Exception):
    """The message is one line: what was given, what was expected, what to do."""

    exit_status = 2


class DataError(EvalError):
    """The rows of a benchmark cannot be used."""


class ResultsError(EvalError):
    """A run directory has no results that can be read."""


class ChangedError(EvalError):
    """A run directory was begun with other settings or data than those given now."""


class UnreachableError(EvalError):
    """The endpoint cannot be reached, or does not speak OpenAI's API."""

    exit_status = 3
