"""The first of the odd requests of tests/robustness, the same ones each time, so that a change shows itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.integration.conftest import serving
from tests.robustness.conftest import PACKAGE
from tests.robustness.fuzzing import fuzz_and_check

SEED = 1
REQUESTS = 4000  # some five seconds of two cores
MOST_S = 60


def test_odd_requests_break_nothing(simulated_package: Callable[..., Path], tmp_path: Path) -> None:
    with serving(simulated_package(*PACKAGE), tmp_path) as server:
        fuzz_and_check(server, SEED, MOST_S, REQUESTS)
