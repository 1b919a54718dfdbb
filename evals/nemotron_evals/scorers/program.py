"""Whether an answer's code passes its tests, without believing what the code says about that."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from inspect_ai.util import SandboxEnvironment

_FILE = "answer.py"
_CUT_AT = ("assert", "# Test", "# Unit")
_SAID_CHARACTERS = 200


@dataclass(frozen=True)
class Outcome:
    """Whether all tests passed, and what is to be said of it."""

    passed: bool
    said: str


def cut(code: str) -> str:
    """The code in front of the first `assert`, or the first comment that begins tests, as NVIDIA's harness cuts it.

    Models add tests of their own, which may be wrong. An `assert` in a function is cut too: the card's figure has that.
    """
    for mark in _CUT_AT:
        code = code.partition(mark)[0]
    return code.strip()


async def run_tests(sandbox: SandboxEnvironment, code: str, tests: Sequence[str], setup: Sequence[str] = ()) -> Outcome:
    """Run the code and then all tests, as one program.

    A program that ends well proves nothing, for `os._exit(0)` does. So the last line prints a token that nobody can
    guess. Code might still find the token in its own source; so what brings it is run again with a test that cannot
    hold, and code that brings the token then as well has not been tested.

    Args:
        sandbox: Where they run.
        code: The answer's, cut already.
        tests: Statements that raise when they do not hold.
        setup: Statements that the tests need, such as imports.
    """
    program = [*setup, code, *tests]
    said = await _said(sandbox, program)
    if isinstance(said, Outcome):
        return said
    forged = await _said(sandbox, [*program, "assert False"])
    if isinstance(forged, Outcome):
        return Outcome(True, "all tests passed")
    return Outcome(False, "the code says that a test passed which cannot")


async def _said(sandbox: SandboxEnvironment, program: Sequence[str]) -> Outcome | str:
    """The token if the program printed it, else why it did not."""
    token = secrets.token_hex(16)
    await sandbox.write_file(_FILE, "\n".join([*program, f"print('\\n' + {token!r}, flush=True)"]))
    try:
        ran = await sandbox.exec(["python3", _FILE])
    except TimeoutError:
        return Outcome(False, "not done in time")
    if token in ran.stdout.splitlines():
        return token
    if ran.returncode == 0:
        return Outcome(False, "ended before the last test")
    lines = ran.stderr.strip().splitlines()
    return Outcome(False, (lines[-1] if lines else f"ended with code {ran.returncode}")[:_SAID_CHARACTERS])
