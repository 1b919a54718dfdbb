"""One client behind one address, and a replica that dies: a file of its own, so that it runs beside the others."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from nemotron_client import Client, ServerUnavailableError
from tests.balancer.callers import calling
from tests.balancer.envoy import balancing
from tests.balancer.test_replicas import CLIENTS, TOKENS
from tests.integration.client.conftest import Driven
from tests.integration.conftest import Server
from tests.robustness.observing import IN_FLIGHT
from tests.waiting import wait_until


@CLIENTS
@pytest.mark.parametrize("killed", ["pid", "triton_pid"])
def test_a_replica_that_dies_takes_along_what_it_was_writing(
    serve: Callable[..., Server], tmp_path: Path, client_type: type[Client | Driven], killed: str
) -> None:
    dying, staying = serve(), serve()
    with (
        balancing([dying, staying], tmp_path) as balancer,
        client_type(balancer.url, sessions=2) as client,
        calling(client, 16, TOKENS) as callers,
    ):
        wait_until(lambda: dying.metric(IN_FLIGHT) > 0 < staying.metric(IN_FLIGHT), 120)
        os.kill(dying.info[killed], signal.SIGKILL)
        wait_until(lambda: callers.errors, 120)
        answered = len(callers.answers)
        wait_until(lambda: len(callers.answers) > answered + 32, 120)
    assert {type(error) for error in callers.errors} == {ServerUnavailableError}
    assert len(callers.errors) < 16, callers.errors  # those of the other replica go on
    assert set(callers.answers) == {"length"}
