"""What nemotron-bench says instead of a traceback, and the exit status that goes with it.

LoadTestError         2  anything that keeps a run from starting or a report from being made
├── ScenarioError     2  the scenario, a trace or an SLO file; names the field or the line
└── UnreachableError  3  no server, or it died in mid-run (the report of what was measured is still written)
"""

from __future__ import annotations


class LoadTestError(Exception):
    """The message is one line: what was given, what was expected, what to do."""

    exit_status = 2


class ScenarioError(LoadTestError):
    """A file that describes the load cannot be used."""


class UnreachableError(LoadTestError):
    """The server cannot be reached."""

    exit_status = 3
