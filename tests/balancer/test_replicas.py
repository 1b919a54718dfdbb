"""One client behind one address: all replicas have their share, and it moves on from those that drain."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from nemotron_client import Client
from tests.balancer.callers import calling
from tests.balancer.envoy import balancing
from tests.integration.client.conftest import Driven
from tests.integration.conftest import Server
from tests.robustness.observing import IN_FLIGHT
from tests.waiting import wait_until

STREAMS = 64
TOKENS = 50  # of an answer, a second or more
LEAST_SHARE = 0.25
DELAY = ("--drain-delay-seconds", "3")
CLIENTS = pytest.mark.parametrize("client_type", [Client, Driven], ids=["Client", "AsyncClient"])


def shares(replicas: Sequence[Server]) -> list[float]:
    """Of all requests in flight, what each replica has, over seconds: a caller is between two requests at times."""
    counts = [0.0] * len(replicas)
    for _ in range(10):
        time.sleep(0.4)
        counts = [count + replica.metric(IN_FLIGHT) for count, replica in zip(counts, replicas, strict=True)]
    return [round(count / max(1, sum(counts)), 2) for count in counts]


def wait_for_shares(replicas: Sequence[Server]) -> list[float]:
    """Wait until each has its share: where the machine does not get round to a replica, it lags behind for a while."""
    found: list[float] = []

    def fair() -> bool:
        found[:] = shares(replicas)
        return min(found) >= LEAST_SHARE

    wait_until(fair, 120)
    return found


def test_each_replica_has_its_share(
    serve: Callable[..., Server], tmp_path: Path, figure: Callable[[str], None]
) -> None:
    """A third one gets its share when the sessions that were there before it have retired."""
    replicas = [serve(), serve()]
    with (
        balancing(replicas, tmp_path) as balancer,
        Driven(balancer.url, sessions=6, session_max_age_s=3) as client,
        calling(client, STREAMS, TOKENS) as callers,
    ):
        wait_until(lambda: callers.answers, 120)
        over_two = wait_for_shares(replicas)
        replicas.append(serve())
        balancer.set_replicas(replicas)
        wait_until(lambda: min(balancer.active().values()) == 2, 120)
        over_three = wait_for_shares(replicas)
    figure(
        f"{STREAMS} streams of an AsyncClient with 6 sessions: {over_two} over two replicas, {over_three} over three"
    )
    assert not callers.errors


@CLIENTS
def test_a_replica_that_drains_is_left_without_an_error(
    serve: Callable[..., Server], tmp_path: Path, client_type: type[Client | Driven]
) -> None:
    leaving, staying = serve(), serve()
    with (
        balancing([leaving, staying], tmp_path) as balancer,
        client_type(balancer.url, sessions=2) as client,
        calling(client, 16, TOKENS) as callers,
    ):
        wait_until(lambda: leaving.metric(IN_FLIGHT) > 0 < staying.metric(IN_FLIGHT), 120)
        leaving.process.send_signal(signal.SIGTERM)
        wait_until(lambda: leaving.process.poll() is not None, 120)
        answered = len(callers.answers)
        wait_until(lambda: len(callers.answers) > answered + 16, 120)
        wait_until(lambda: balancer.chosen() == {staying.grpc_address})
    assert not callers.errors
    assert set(callers.answers) == {"length"}
    assert leaving.process.returncode == 0


def test_replacing_both_replicas_loses_no_request_of_a_session(
    serve: Callable[..., Server], tmp_path: Path, figure: Callable[[str], None]
) -> None:
    """Envoy hears of it by `/ready` alone; until then requests go on to come. tests/deploy has it without sessions."""
    replicas = [serve(*DELAY), serve(*DELAY)]
    with (
        balancing(replicas, tmp_path) as balancer,
        Client(balancer.url, sessions=2, max_retries=0) as client,
        calling(client, 12, 10) as callers,
    ):
        for _ in range(2):
            replicas.append(serve(*DELAY))
            balancer.set_replicas(replicas)
            leaving = replicas.pop(0)
            leaving.process.send_signal(signal.SIGTERM)
            wait_until(lambda leaving=leaving: leaving.process.poll() is not None, 120)  # type: ignore[misc]
            assert leaving.process.returncode == 0
            balancer.set_replicas(replicas)
        answered = len(callers.answers)
        wait_until(lambda: len(callers.answers) > answered + 24, 120)
    figure(
        f"both replicas replaced under 12 callers in sessions without retries: {len(callers.errors)} lost of "
        f"{len(callers.answers) + len(callers.errors)}"
    )
    assert not callers.errors
    assert set(callers.answers) == {"length"}
