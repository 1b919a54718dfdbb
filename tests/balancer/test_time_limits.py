"""Envoy's limits of time for what stays open long: which of them a client does not notice."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from nemotron_client import Client, ServerUnavailableError
from tests.balancer.callers import calling
from tests.balancer.conftest import STALL_S
from tests.balancer.envoy import Config, balancing, manager
from tests.balancer.test_replicas import CLIENTS
from tests.integration.client.conftest import RANDOM, STALL, Driven
from tests.integration.conftest import Server
from tests.waiting import wait_until


def below_the_pause(config: Config) -> None:
    """Shorter than the pause in the middle of STALL's answer."""
    assert manager(config, "grpc")["stream_idle_timeout"] == "0s"
    manager(config, "grpc")["stream_idle_timeout"] = f"{STALL_S / 4:g}s"


@CLIENTS
def test_a_session_that_was_quiet_for_too_long_is_replaced(
    replicas: list[Server], tmp_path: Path, client_type: type[Client | Driven]
) -> None:
    with balancing(replicas, tmp_path, below_the_pause) as balancer, client_type(balancer.url) as client:
        for number in (1, 2):
            assert client.chat(RANDOM, max_tokens=5).finish_reason == "length"
            wait_until(lambda number=number: balancer.stat("http.grpc.downstream_rq_idle_timeout") >= number)  # type: ignore[misc]
        assert client.chat(RANDOM, max_tokens=5).finish_reason == "length"


@CLIENTS
def test_an_answer_that_pauses_for_too_long_is_lost(
    replicas: list[Server], tmp_path: Path, client_type: type[Client | Driven]
) -> None:
    """Therefore the limit is off in the configuration that is shown."""
    with balancing(replicas, tmp_path, below_the_pause) as balancer, client_type(balancer.url) as client:
        with pytest.raises(ServerUnavailableError):
            client.chat(STALL)
        assert client.chat(RANDOM, max_tokens=5).finish_reason == "length"


@CLIENTS
@pytest.mark.parametrize(
    ("limit", "max_age_s"),
    [
        ("max_connection_duration", 60.0),  # cuts nothing that runs
        ("max_stream_duration", 0.5),  # longer than a session takes requests and they take
    ],
)
def test_other_limits_are_not_noticed(
    replicas: list[Server],
    tmp_path: Path,
    client_type: type[Client | Driven],
    limit: str,
    max_age_s: float,
) -> None:
    def limited(config: Config) -> None:
        manager(config, "grpc")["common_http_protocol_options"][limit] = "3s"

    with (
        balancing(replicas, tmp_path, limited) as balancer,
        client_type(balancer.url, sessions=2, session_max_age_s=max_age_s) as client,
        calling(client, 8, tokens=10) as callers,
    ):
        time.sleep(5)
    assert not callers.errors
    assert len(callers.answers) > 8
