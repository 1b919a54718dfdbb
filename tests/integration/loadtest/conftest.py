"""What all load tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.loadtest.bench import end_started


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No program that a test has started outlives it."""
    yield
    end_started()
