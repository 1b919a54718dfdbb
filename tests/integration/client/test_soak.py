"""Thousands of calls one after the other leave nothing behind: no memory, no thread, no place on the server."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.soak import Soak
from tests.integration.conftest import ROOT, Server, serving
from tests.integration.test_failures import nothing_left
from tests.waiting import wait_until

CALLS = 10_000
AT_MOST_S = 60  # a slow machine makes fewer calls


@pytest.fixture(scope="module")
def instant_server(
    simulated_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """An engine that takes no time."""
    package = simulated_package("--max-batch-size", "256", "--max-waiting", "64")
    with serving(package, tmp_path_factory.mktemp("instant")) as server:
        yield server


def test_memory_threads_and_places_stay_as_they_are(instant_server: Server) -> None:
    """Each client in a process of its own, whose memory is its own too; both at the same time."""
    arguments = [str(CALLS), str(AT_MOST_S)]
    with contextlib.ExitStack() as stack:
        processes = {}
        for kind in ("sync", "async"):
            command = [sys.executable, "-m", "benchmarks.soak", instant_server.grpc_url, kind, *arguments]
            processes[kind] = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT))
            stack.callback(processes[kind].kill)
        outputs = {kind: process.communicate(timeout=AT_MOST_S + 30)[0] for kind, process in processes.items()}
    assert {kind: process.returncode for kind, process in processes.items()} == {"sync": 0, "async": 0}
    found = {kind: Soak(**json.loads(output)) for kind, output in outputs.items()}
    assert all(soak.growth < 0.05 for soak in found.values()), found
    assert all(soak.more_threads <= 2 for soak in found.values()), found
    wait_until(lambda: nothing_left(instant_server), 5)
    assert instant_server.info["restarts"] == 0
