"""That no test file is left out: what the commands for tests collect is what lies below tests/.

And that what shares a fixture is dealt out as one piece.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from xdist import is_xdist_worker

ROOT = Path(__file__).parents[2]
TESTS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py"))
OF_COMMANDS_OF_THEIR_OWN = (
    "tests/balancer",
    "tests/clients",
    "tests/deploy",
    "tests/evals",
    "tests/page",
    "tests/quantize",
    "tests/robustness",
)

# Names each module that pytest would read, and reads none of them.
LISTING = """
import pytest


class Listed(pytest.Module):
    def collect(self):
        return []


def pytest_pycollect_makemodule(module_path, parent):
    print("collects", module_path.relative_to(parent.config.rootpath).as_posix())
    return Listed.from_parent(parent, path=module_path)
"""


def collected(directory: Path, *options: str) -> list[str]:
    """The test files that `pytest`, given nothing but options, finds in this repository."""
    (directory / "listing.py").write_text(LISTING)
    program = f"import sys; sys.path.insert(0, {str(directory)!r}); import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "-p", "listing", "--collect-only", "-s", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout + done.stderr
    return sorted(line.removeprefix("collects ") for line in done.stdout.splitlines() if line.startswith("collects "))


@pytest.fixture(scope="module")
def by_default(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return collected(tmp_path_factory.mktemp("listing"))


def test_every_test_file_is_collected(by_default: list[str], tmp_path: Path) -> None:
    """By one of the commands, and by one alone."""
    apart = collected(tmp_path, *OF_COMMANDS_OF_THEIR_OWN)
    assert all(any(path.startswith(f"{directory}/") for path in apart) for directory in OF_COMMANDS_OF_THEIR_OWN)
    assert sorted([*by_default, *apart]) == TESTS


def test_a_rule_that_leaves_files_out_is_seen(by_default: list[str], tmp_path: Path) -> None:
    """Most of pytest's own list of directories to leave out, with one of ours in it."""
    left_out = set(by_default) - set(collected(tmp_path, "-o", "norecursedirs=.* build"))
    assert left_out
    assert all("/build/" in path for path in left_out)


def test_tests_stand_in_test_files() -> None:
    """Elsewhere nobody would run them."""
    assert [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in (ROOT / "tests").rglob("*.py")
        if not path.name.startswith("test_") and path.name != "sample_program.py"  # a program of somebody else's
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ] == []


@pytest.mark.usefixtures("undisturbed")
def test_a_shared_fixture_is_made_by_one_worker(request: pytest.FixtureRequest) -> None:
    """A scheduler sees names alone, so that they hold the group; without it each worker starts each shared server."""
    if not is_xdist_worker(request):
        pytest.skip("runs in several workers: make test")
    assert request.node.nodeid.endswith("@undisturbed")
