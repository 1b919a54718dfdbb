"""Which server a scenario is about, and the users' connection to it."""

from __future__ import annotations

import os
from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit

from nemotron_client import Client, NemotronError
from nemotron_loadtest.clock import RunClock
from nemotron_loadtest.errors import ScenarioError, UnreachableError
from nemotron_loadtest.scenario import Scenario, speaks_openai
from nemotron_loadtest.server import ports_of
from nemotron_loadtest.users.asker import Asker, GenerateAsker, OnSample, StreamAsker
from nemotron_loadtest.users.openai import OpenAIAsker, OpenAIServer
from nemotron_loadtest.workload import RequestSpec

_READY_S = 5.0
_SCHEMES = {
    "grpc_stream": ("grpc", "grpcs"),
    "http_stream": ("http", "https"),
    "http_generate": ("http", "https"),
}


Server = Client | OpenAIServer


def connect(scenario: Scenario, trial: RequestSpec) -> Server:
    """A server that is ready.

    Args:
        scenario: What is to be sent to it.
        trial: A request like the scenario's, which a server with OpenAI's API is asked first: of such servers there
            are many, and what they take differs.

    Raises:
        ScenarioError: the URL does not go with the kind of user, or such a server refuses the trial.
        UnreachableError: the server is not ready within seconds.
    """
    server = _server(scenario)
    try:
        if isinstance(server, OpenAIServer):
            server.wait_ready(_READY_S, trial)
        else:
            server.wait_ready(_READY_S)
    except NemotronError as error:
        server.close()
        raise UnreachableError(str(error)) from None
    return server


def servers(scenario: Scenario) -> tuple[str, ...]:
    """The URLs that a scenario is about: its own, else those of the environment, else the client's default.

    Raises:
        ScenarioError: see `connect`.
    """
    server = _server(scenario)
    server.close()
    return server.urls


def _server(scenario: Scenario) -> Server:
    url = scenario.url
    if scenario.user == "openai_stream":
        return OpenAIServer((url,) if isinstance(url, str) else url or (), scenario.openai)
    try:
        client = Client(url if url is None or isinstance(url, str) else list(url), sessions=scenario.sessions)
        _check_schemes(scenario, client.urls)
    except ValueError as error:
        raise ScenarioError(str(error)) from None
    return client


def client_for_metrics(url: str, metrics_url: str | None = None) -> Client:
    """A client to read a server's metrics with.

    Args:
        url: URL of the server.
        metrics_url: URL of the page. None is what NEMOTRON_METRICS_URL names if NEMOTRON_URL, NEMOTRON_HTTP_URL or
            NEMOTRON_OPENAI_URL names this server; else beside the /v1 of OpenAI's API; else, where the server's process
            is seen on this machine, the one of its ports that has metrics; else port 8002 of its host.
    """
    named = ("NEMOTRON_URL", "NEMOTRON_HTTP_URL", "NEMOTRON_OPENAI_URL")
    if metrics_url is None and url in map(os.environ.get, named):
        metrics_url = os.environ.get("NEMOTRON_METRICS_URL")
    if metrics_url is None and speaks_openai(url):
        parts = urlsplit(url)
        metrics_url = f"{parts.scheme}://{parts.netloc}/metrics"
    if metrics_url is None:
        host = urlsplit(url).hostname or ""
        pages = (f"http://{f'[{host}]' if ':' in host else host}:{port}/metrics" for port in ports_of(url))
        metrics_url = next((page for page in pages if _has_metrics(url, page)), None)
    return Client(url, metrics_url=metrics_url)


def _has_metrics(url: str, page: str) -> bool:
    with Client(url, metrics_url=page) as client:
        try:
            return bool(client.metrics())
        except NemotronError:
            return False


def asker_of(scenario: Scenario, server: Server, on_sample: OnSample, worker: str = "0") -> Callable[[RunClock], Asker]:
    """What makes the scenario's kind of user, once the run has a start."""
    if isinstance(server, OpenAIServer):
        return lambda clock: OpenAIAsker(server, clock, on_sample, worker)
    if scenario.user == "http_generate":
        return lambda clock: GenerateAsker(server, server.urls[0], clock, on_sample, worker)
    return lambda clock: StreamAsker(server, scenario.user, clock, on_sample, worker)


def without_secrets(url: str) -> str:
    """A URL as it may be shown and kept: without user, password and query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _check_schemes(scenario: Scenario, urls: tuple[str, ...]) -> None:
    expected = _SCHEMES[scenario.user]
    for url in urls:
        if urlsplit(url).scheme not in expected:
            shown = without_secrets(url)
            raise ValueError(f"{shown} does not go with user {scenario.user!r}, expected {expected[0]}://HOST:PORT")
    if scenario.user == "http_generate" and len(urls) > 1:
        raise ValueError("user 'http_generate' takes one server, expected a single URL")
