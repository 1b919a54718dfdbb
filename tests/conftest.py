"""How the suite runs in several processes, and what a new test has to do for it: mostly nothing.

`make test`, or `pytest -n 3`, deals the tests out to workers of pytest-xdist. What stays together is decided here, by
the fixtures that a test uses, and not by hand in each file:

- A file is one piece: its tests run in one worker, so that a fixture of scope `module` is made once.
- All tests that use a fixture in `SHARED` are one piece, from whatever files: it is made once in the whole run. What
  starts a server or takes seconds and serves a second file belongs there, with scope `session` and a name of its own.
- All else of scope `session` is made once in each worker that needs it, so it has to be cheap.
- A test that measures time asks for `undisturbed`: no two of these run at the same time. They hold on a busy machine
  all the same: with a limit ten times what is usual, or better with a clock of their own.

Long pieces begin first, so that the workers end together, and files of tests/integration, whose tests wait for other
processes, alternate with files that compute, so that the cores have work while a worker waits. Which server a test
should use: see `tests/integration/conftest.py`. No test may depend on the order, for nobody knows what ran before it in
its worker.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.nodeid import NodeId
from xdist.remote import Producer
from xdist.scheduler import LoadGroupScheduling

from tests.figures import figure, pytest_terminal_summary

__all__ = ["figure", "pytest_terminal_summary"]  # a fixture, and a hook

# In the order in which their pieces begin.
SHARED = ("podman", "demo_server", "roomy_server", "simulated_server", "undisturbed")
# So many files that compute follow each that waits; enough of them are left for the end.
FILES_BETWEEN = 2


def pytest_configure() -> None:
    """Called by pytest. What all that the tests start would ignore as well is heard again.

    nohup has a program ignore SIGHUP, and a shell's script has what it starts in the background ignore SIGINT.
    """
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Called by pytest."""
    parser.addoption("--seed", type=int, help="seed of tests/robustness/test_fuzz.py; random without it")


class Pieces(LoadGroupScheduling):  # type: ignore[misc] # pytest-xdist is not typed
    """Deals out a group, which pytest-xdist writes behind a test's name, or else a file."""

    def _split_scope(self, nodeid: str) -> str:
        return str(super()._split_scope(nodeid)).partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Pieces:
    """Called by pytest-xdist."""
    return Pieces(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Mark what shares a fixture before pytest-xdist looks, and sort when pytest itself has done so."""
    for item in items:
        if shared := _shared(item):
            item.add_marker(pytest.mark.xdist_group(shared))
    yield
    for item in items:
        # pytest-xdist 3.8 writes names with groups to where pytest 9.2 no longer looks for them
        # (https://github.com/pytest-dev/pytest-xdist/issues/1386).
        if named := vars(item).get("_nodeid"):
            path, _, name = named.partition("::")
            item._id = NodeId(path=path, names=(name,))
    files: dict[bool, dict[Path, int]] = {True: {}, False: {}}
    items.sort(key=lambda item: _rank(item, files[_waits(item)]))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Look for no garbage while the tests are collected: little is any, and looking takes a fifth of the time.

    The tests and what they import are kept out of each later garbage collection, which takes seconds else.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.fixture
def undisturbed() -> None:
    """For a test that measures time: it does not run beside another one of its kind."""


def _shared(item: pytest.Item) -> str | None:
    used = getattr(item, "fixturenames", ())
    return next((name for name in SHARED if name in used), None)


def _waits(item: pytest.Item) -> bool:
    return "integration" in item.path.parts


def _rank(item: pytest.Item, files: dict[Path, int]) -> tuple[int, int]:
    """Where an item's piece comes, given the places of the files of its kind that came before."""
    if shared := _shared(item):
        return SHARED.index(shared), 0
    place = files.setdefault(item.path, len(files))
    return len(SHARED), place * FILES_BETWEEN if _waits(item) else place
