"""Callers that leave in each way, or stay and do not read: their places are free again, and others are served."""

from __future__ import annotations

import time

import pytest

from tests.integration.conftest import Server
from tests.robustness.good_requests import GoodRequests
from tests.robustness.leaving import MODELS, WAYS, freed_s, half_requests, slow_readers
from tests.robustness.observing import IN_FLIGHT, nothing_left, usage
from tests.waiting import allowed, wait_until

CALLERS = 100
DEADLINE_MS = 2000
GRPC = {way for way in WAYS if way.startswith("grpc")}
# Whose leaving Triton 2.51 tells the model. The others keep their places until their deadlines.
SEEN = {"ensemble": set(WAYS), "unary": GRPC, "tensorrt_llm": set(WAYS)}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", MODELS)
def test_places_are_free_again(patient_server: Server, model: str, way: str) -> None:
    seen = way in SEEN[model]
    took = freed_s(patient_server, way, model, CALLERS, timeout_ms=120_000 if seen else DEADLINE_MS)
    assert took < allowed(4 if seen else 4 + DEADLINE_MS / 1000)
    assert patient_server.info["restarts"] == 0


def test_half_requests_keep_nobody_waiting(patient_server: Server) -> None:
    """Hundreds of connections that are open and say nothing more."""
    good, connections = GoodRequests(patient_server), half_requests(patient_server, 400)
    try:
        assert [good.ask() for _ in range(8)] == [""] * 8
        wait_until(lambda: nothing_left(patient_server))
    finally:
        for connection in connections:
            connection.close()
        good.close()
    wait_until(lambda: usage(patient_server)["tritonserver"].files < 200)


def test_slow_readers_keep_nobody_waiting(patient_server: Server) -> None:
    """What they do not read is kept for them, and is gone with them."""
    good, before = GoodRequests(patient_server), usage(patient_server)
    with slow_readers(patient_server, 60, timeout_ms=5000):
        wait_until(lambda: patient_server.metric(IN_FLIGHT) >= 60)
        assert [good.ask() for _ in range(20)] == [""] * 20
        time.sleep(1)
        grown = {name: now.rss_kib - before[name].rss_kib for name, now in usage(patient_server).items()}
    good.close()
    assert all(kib < 100_000 for kib in grown.values()), grown
    wait_until(lambda: nothing_left(patient_server), 40)
