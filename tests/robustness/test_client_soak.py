"""Hundreds of calls one after the other leave no thread and no place on the server. `make bench` measures memory."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys

from benchmarks.client_soak import Soak
from tests.integration.conftest import ROOT, Server
from tests.robustness.observing import nothing_left
from tests.waiting import wait_until

CALLS = 500
AT_MOST_S = 60  # a slow machine makes fewer calls


def test_threads_and_places_stay_as_they_are(server: Server) -> None:
    """Each client in a process of its own; both at the same time."""
    arguments = [str(CALLS), str(AT_MOST_S)]
    with contextlib.ExitStack() as stack:
        processes = {}
        for kind in ("sync", "async"):
            command = [sys.executable, "-m", "benchmarks.client_soak", server.grpc_url, kind, *arguments]
            processes[kind] = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT))
            stack.callback(processes[kind].kill)
        outputs = {kind: process.communicate(timeout=AT_MOST_S + 30)[0] for kind, process in processes.items()}
    assert {kind: process.returncode for kind, process in processes.items()} == {"sync": 0, "async": 0}
    found = {kind: Soak(**json.loads(output)) for kind, output in outputs.items()}
    assert all(soak.growth < 0.5 for soak in found.values()), found
    assert all(soak.more_threads <= 2 for soak in found.values()), found
    wait_until(lambda: nothing_left(server))
