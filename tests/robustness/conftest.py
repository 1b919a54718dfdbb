"""Servers to attack. Each test here starts its own, for it kills, stops, floods or weighs it.

`make test-robustness` runs this directory and `make test` does not, for it takes minutes. What helps to attack and to
watch a server is in the modules beside, which the benchmarks use as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.client.conftest import scheme, unused_port
from tests.integration.conftest import Server, serving, simulated_package

__all__ = ["scheme", "simulated_package", "unused_port"]  # fixtures

PACKAGE = (
    "--ttft-ms",
    "5",
    "--token-ms",
    "1",
    "--max-batch-size",
    "32",
    "--max-waiting",
    "32",
    "--max-seq-len",
    "4096",
)


@pytest.fixture
def server(simulated_package: Callable[..., Path], tmp_path: Path) -> Iterator[Server]:
    """A simulated engine with 1 ms a token and room for 64 requests, for one test."""
    with serving(simulated_package(*PACKAGE), tmp_path) as served:
        yield served


@pytest.fixture(scope="module")
def patient_server(
    simulated_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """20 ms a token, without end, and room for 160 requests, for the tests of a file."""
    package = simulated_package("--token-ms", "20", "--max-batch-size", "128", "--max-waiting", "32")
    with serving(package, tmp_path_factory.mktemp("patient")) as server:
        yield server
