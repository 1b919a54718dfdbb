"""Code of answers, and whether it passes its tests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from nemotron_evals.sandbox import Bubblewrap, Limits
from nemotron_evals.scorers.program import Outcome, cut, run_tests

TESTS = ["assert double(2) == 4", "assert double(-1) == -2", "assert double(0) == 0"]
GOOD = "def double(x):\n    return 2 * x"


@pytest.fixture
def sandbox() -> Iterator[Bubblewrap]:
    box = Bubblewrap(Limits(wall_s=120, cpu_s=60))
    yield box
    box.close()


def outcome(sandbox: Bubblewrap, code: str, *setup: str) -> Outcome:
    return asyncio.run(run_tests(sandbox, code, TESTS, setup))


def test_code_that_passes_all_tests(sandbox: Bubblewrap) -> None:
    assert outcome(sandbox, GOOD) == Outcome(True, "all tests passed")


def test_what_it_prints_does_not_matter(sandbox: Bubblewrap) -> None:
    assert outcome(sandbox, f"print('x' * 1_000_000, end='')\n{GOOD}").passed


def test_the_tests_may_need_a_setup(sandbox: Bubblewrap) -> None:
    assert outcome(sandbox, "def double(x):\n    return math.prod((2, x))", "import math").passed


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def double(x):\n    return x * x", "AssertionError"),  # only the first test holds
        ("def double(x):\n    return 0 if x == 0 else 4", "AssertionError"),
        ("def twice(x):\n    return 2 * x", "NameError: name 'double' is not defined"),
        ("def double(x:\n", "SyntaxError: '(' was never closed"),
        ("", "NameError: name 'double' is not defined"),
        ("import os\nos._exit(0)", "ended before the last test"),
        ("import sys\nsys.exit()", "ended before the last test"),
        ("def double(x):\n    raise SystemExit(0)", "ended before the last test"),
        ("import os\nos.kill(os.getpid(), 9)", "ended with code 137"),
        ("raise ValueError('x' * 1000)", "ValueError: " + "x" * 188),
    ],
)
def test_code_that_does_not(sandbox: Bubblewrap, code: str, said: str) -> None:
    assert outcome(sandbox, code) == Outcome(False, said)


def test_code_that_does_not_end(sandbox: Bubblewrap) -> None:
    sandbox.limits = Limits(wall_s=2)
    assert outcome(sandbox, "while True: pass") == Outcome(False, "not done in time")


@pytest.mark.parametrize(
    "attack",
    [
        # The token is in the program's source, from where it can be had.
        'import os, re\nprint(re.findall("[0-9a-f]{32}", open(__file__).read())[-1], flush=True)\nos._exit(0)',
        # The tests run, and what they find is thrown away.
        "import sys\nsource = open(__file__).read()\nsys.excepthook = lambda *_: exec(source.splitlines()[-1])\n",
    ],
)
def test_the_token_without_the_tests(sandbox: Bubblewrap, attack: str) -> None:
    assert outcome(sandbox, attack) == Outcome(False, "the code says that a test passed which cannot")


@pytest.mark.parametrize(
    ("code", "kept"),
    [
        (GOOD, GOOD),
        (f"{GOOD}\n\nassert double(1) == 3\nprint('never')", GOOD),
        (f"{GOOD}\n\n# Test cases\nprint(double(1))", GOOD),
        (f"{GOOD}\n# Unit tests\nimport unittest", GOOD),
        ("def double(x):\n    assert x\n    return 2 * x", "def double(x):"),
        ("", ""),
    ],
)
def test_code_is_cut_at_its_own_tests(code: str, kept: str) -> None:
    assert cut(code) == kept
