"""Ten times as many callers as there are places, for seconds: each is answered in full or refused at once."""

from __future__ import annotations

import statistics

from tests.integration.conftest import Server
from tests.robustness.observing import nothing_left, processes, usage
from tests.robustness.overload import flood
from tests.waiting import allowed, wait_until

PLACES = 64  # of the fixture's package
SECONDS = 5


def test_nothing_is_lost_and_nothing_restarts(server: Server) -> None:
    before, pids = usage(server), {name: process.pid for name, process in processes(server).items()}
    found = flood(server, 10 * PLACES, SECONDS)
    assert set(found.ends) == {"answered", "UNAVAILABLE"}
    assert min(found.ends.values()) > PLACES
    assert statistics.median(found.refusals_s) < allowed(1)
    wait_until(lambda: nothing_left(server))
    assert {name: process.pid for name, process in processes(server).items()} == pids
    wait_until(lambda: all(now.files < before[name].files + 50 for name, now in usage(server).items()), 30)
