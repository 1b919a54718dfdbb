"""Replicas with a real Envoy in front. `make test-envoy` runs this directory and `make test` does not: Envoy is 107 MB.

The replicas are whole servers with the simulated engine. A test that drains or kills one starts its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.balancer.envoy import Balancer, balancing
from tests.balancer.scripts import write_scripts
from tests.integration.conftest import Server, serving, simulated_package

__all__ = ["simulated_package"]  # a fixture

BATCH = 32
STALL_S = 8  # of an answer, in its middle


@pytest.fixture(scope="session")
def package(simulated_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 ms a token without end; 32 requests run at once and as many wait."""
    scripts = write_scripts(tmp_path_factory.mktemp("scripts") / "scripts.json", "stall", stall_ms=STALL_S * 1000)
    options = ("--max-batch-size", str(BATCH), "--max-waiting", str(BATCH), "--script", str(scripts))
    return simulated_package("--ttft-ms", "5", "--token-ms", "20", *options)


@pytest.fixture
def serve(package: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts a replica with options of nemotron-serve, each time that it is called, until the test is over."""
    with contextlib.ExitStack() as stack:

        def start(*options: str) -> Server:
            directory = tmp_path / f"replica-{len(list(tmp_path.iterdir()))}"
            directory.mkdir()
            return stack.enter_context(serving(package, directory, *options))

        yield start


@pytest.fixture(scope="module")
def replicas(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Two, for the tests of a file."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(serving(package, tmp_path_factory.mktemp(f"replica-{number}"))) for number in range(2)
        ]


@pytest.fixture(scope="module")
def balancer(replicas: list[Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balancer]:
    """Envoy in front of them."""
    with balancing(replicas, tmp_path_factory.mktemp("envoy")) as envoy:
        yield envoy
