"""Which server a scenario is about."""

from __future__ import annotations

from contextlib import closing

import pytest

from nemotron_client import Client, NemotronError
from nemotron_client.testing import FakeServer
from nemotron_loadtest.clock import RunClock
from nemotron_loadtest.errors import ScenarioError, UnreachableError
from nemotron_loadtest.scenario import Scenario
from nemotron_loadtest.users import servers
from nemotron_loadtest.users.asker import GenerateAsker, StreamAsker
from nemotron_loadtest.workload import RequestSpec

TRIAL = RequestSpec()


@pytest.mark.parametrize(
    ("url", "user", "message"),
    [
        ("grpc://h:1", "http_stream", "http://HOST:PORT"),
        ("http://h:1", "grpc_stream", "grpc://HOST:PORT"),
        (("http://h:1", "http://h:2"), "http_generate", "a single URL"),
        ("ftp://h:1", "grpc_stream", "ftp://h:1"),
    ],
)
def test_a_url_that_does_not_go_with_the_user(url: str, user: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        servers.connect(Scenario(url=url, user=user), TRIAL)  # type: ignore[arg-type]


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_READY_S", 0.2)
    with pytest.raises(UnreachableError, match=r"grpc://127\.0\.0\.1:9"):
        servers.connect(Scenario(url="grpc://127.0.0.1:9"), TRIAL)


def test_the_kind_of_user_has_its_asker() -> None:
    with FakeServer(["unused"]) as server:
        for user, url, kind in (
            ("grpc_stream", server.grpc_url, StreamAsker),
            ("http_stream", server.http_url, StreamAsker),
            ("http_generate", server.http_url, GenerateAsker),
        ):
            scenario = Scenario(url=url, user=user)  # type: ignore[arg-type]
            with closing(servers.connect(scenario, TRIAL)) as client:
                asker = servers.asker_of(scenario, client, lambda _: None)(RunClock(0))
                assert isinstance(asker, kind)
                asker.close()


def test_metrics_are_where_the_environment_says_of_the_server_that_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeServer(["unused"]) as server:
        monkeypatch.setenv("NEMOTRON_URL", server.grpc_url)
        monkeypatch.setenv("NEMOTRON_METRICS_URL", server.metrics_url)
        with servers.client_for_metrics(server.grpc_url) as client:
            assert client.metrics()
        with servers.client_for_metrics("grpc://127.0.0.1:9") as client, pytest.raises(NemotronError):
            client.metrics()


def test_metrics_are_found_among_the_ports_of_a_server_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEMOTRON_URL", raising=False)
    with FakeServer(["unused"]) as server:
        for url in (server.grpc_url, server.http_url):
            with servers.client_for_metrics(url) as client:
                assert client.metrics()


def test_metrics_that_are_named_are_not_looked_for() -> None:
    nowhere = "http://127.0.0.1:9/metrics"
    with FakeServer(["unused"]) as server, servers.client_for_metrics(server.grpc_url, nowhere) as client:
        assert client.metrics_url == nowhere


def test_secrets_are_not_shown() -> None:
    assert servers.without_secrets("https://me:pw@host:1/path?key=x") == "https://host:1/path"
    assert servers.without_secrets("grpc://127.0.0.1:8001") == "grpc://127.0.0.1:8001"


def test_a_scenario_says_how_many_sessions_carry_its_requests() -> None:
    with FakeServer("Hi") as server:
        for sessions in (1, 0):
            with closing(servers.connect(Scenario(url=server.grpc_url, sessions=sessions), TRIAL)) as client:
                assert isinstance(client, Client)
                client.chat([{"role": "user", "content": "Hi"}])
        assert [bool(request.session) for request in server.requests] == [True, False]
