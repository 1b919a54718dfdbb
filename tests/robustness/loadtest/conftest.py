"""What these share with the load tests of `make test`."""

from __future__ import annotations

from tests.integration.loadtest.conftest import nothing_left

__all__ = ["nothing_left"]  # a fixture
