"""What nemotron-build says instead of a traceback."""

from __future__ import annotations


class BuildError(Exception):
    """A build that cannot go on. The message is one line: what was found, what was expected, what to do."""
