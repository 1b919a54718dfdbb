"""Odd requests of all kinds for half a minute, always others. `pytest --seed N` repeats those of a run that failed."""

from __future__ import annotations

import secrets

import pytest

from tests.integration.conftest import Server
from tests.robustness.fuzzing import fuzz_and_check

SECONDS = 30


def test_odd_requests_break_nothing(server: Server, request: pytest.FixtureRequest) -> None:
    seed = request.config.getoption("seed")
    found = fuzz_and_check(server, secrets.randbelow(2**32) if seed is None else seed, SECONDS)
    assert found.requests > 300
