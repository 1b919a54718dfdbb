"""Two packages behind one address, with weights: every way in tells which has answered, and a rollback loses none.

The routes are those that docs/deploy/upgrades.md shows, in a real Envoy before two servers with their fronts.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from nemotron_client import Client
from tests.balancer.envoy import running
from tests.integration.client.conftest import RANDOM
from tests.integration.conftest import ROOT, Server, serving, simulated_package
from tests.waiting import wait_until

__all__ = ["simulated_package"]  # a fixture

PAGE = ROOT / "docs" / "deploy" / "upgrades.md"
STABLE, CANARY = "nano-bf16", "nano-fp8"
REQUESTS = 100
# Of 100 requests with weight 20 it is 20, give or take 4; once in a million times less than 4 or more than 42.
FEW, MANY = 4, 42
HTTP2: dict[str, Any] = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
}


@dataclass(frozen=True)
class Edge:
    """A running Envoy before both.

    Attributes:
        address: Where callers connect, over gRPC and HTTP.
        routes: The file with the weights.
    """

    address: str
    routes: Path

    def post(self, path: str, body: dict[str, Any]) -> str:
        """The body of an answer."""
        head = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://{self.address}{path}", json.dumps(body).encode(), head)
        with urllib.request.urlopen(request, timeout=60) as response:
            text: str = response.read().decode()
        return text

    def set_weight(self, canary: int) -> None:
        """Give the canary so many of 100 requests. Envoy hears of it a moment later."""
        write_routes(self.routes, canary)


def write_routes(path: Path, canary: int) -> None:
    """Those of the page, moved to their place, for Envoy sees that alone."""
    (text,) = re.findall(r"^```yaml\n(resources:.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert text.count("weight: 80") == text.count("weight: 20") == 2
    new = path.with_suffix(".new")
    new.write_text(text.replace("weight: 80", f"weight: {100 - canary}").replace("weight: 20", f"weight: {canary}"))
    os.replace(new, path)


def cluster(name: str, url: str, options: dict[str, Any]) -> dict[str, Any]:
    """A package over one protocol."""
    place = urlsplit(url)
    address = {"socket_address": {"address": place.hostname, "port_value": place.port}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    return {
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
        **({"typed_extension_protocol_options": options} if options else {}),
    }


def configuration(routes: Path, servers: dict[str, Server]) -> str:
    """Envoy's, but for the routes."""
    network, http = "envoy.extensions.filters.network.http_connection_manager.v3", "envoy.extensions.filters.http"
    manager = {
        "@type": f"type.googleapis.com/{network}.HttpConnectionManager",
        "stat_prefix": "edge",
        "codec_type": "AUTO",
        "stream_idle_timeout": "0s",
        "rds": {
            "route_config_name": "packages",
            "config_source": {"resource_api_version": "V3", "path_config_source": {"path": str(routes)}},
        },
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"type.googleapis.com/{http}.router.v3.Router"}},
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    anywhere = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    clusters = [
        cluster(f"{name}-{way}", server.info[f"{url}_url"], options)
        for name, server in servers.items()
        for way, url, options in (("grpc", "grpc", HTTP2), ("http", "openai", {}))
    ]
    return json.dumps(
        {
            "node": {"id": "edge", "cluster": "edges"},
            "admin": {"address": anywhere},
            "static_resources": {
                "listeners": [{"name": "all", "address": anywhere, "filter_chains": [{"filters": filters}]}],
                "clusters": clusters,
            },
        }
    )


@pytest.fixture(scope="module")
def servers(
    simulated_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Server]]:
    """One with each package, and with a front, by the name of its release."""
    with contextlib.ExitStack() as stack:
        yield {
            release: stack.enter_context(
                serving(
                    simulated_package("--name", package, "--token-ms", "20"),
                    tmp_path_factory.mktemp(release),
                    "--openai-port",
                    "0",
                )
            )
            for release, package in (("stable", STABLE), ("canary", CANARY))
        }


@pytest.fixture
def edge(servers: dict[str, Server], tmp_path: Path) -> Iterator[Edge]:
    """Envoy before both, with the weights of the page."""
    routes = tmp_path / "routes.yaml"
    write_routes(routes, 20)
    with running(configuration(routes, servers), tmp_path) as (address, _):
        yield Edge(address, routes)


def answered(servers: dict[str, Server]) -> Counter[str]:
    """How many requests each package has answered, as its own server counts them."""
    counts = {package: 0.0 for package in (STABLE, CANARY)}
    for server in servers.values():
        with urllib.request.urlopen(str(server.info["metrics_url"]), timeout=60) as page:
            text = page.read().decode()
        (package,) = re.findall(r'^nemotron_build_info\{.*package="([^"]+)"', text, re.MULTILINE)
        done = re.findall(r'^nemotron_requests_total\{.*outcome="ok".*\} (\S+)$', text, re.MULTILINE)
        counts[package] = sum(map(float, done))
    return Counter({package: round(count) for package, count in counts.items()})


@contextlib.contextmanager
def counted(servers: dict[str, Server]) -> Iterator[Counter[str]]:
    """What the answers in this block say has answered is what the servers themselves have counted."""
    before, said = answered(servers), Counter[str]()
    yield said

    def agree() -> bool:
        return answered(servers) == before + said

    wait_until(agree, 120)
    assert said[STABLE] + said[CANARY] == said.total()


def ask_grpc(edge: Edge, said: Counter[str]) -> None:
    """Each request by itself, on the ensemble's way."""
    with Client(f"grpc://{edge.address}", sessions=0) as client:
        for _ in range(REQUESTS):
            said[client.chat(RANDOM, max_tokens=1).package] += 1


def ask_openai(edge: Edge, said: Counter[str]) -> None:
    """Chat completions, of which half are streamed: each chunk of an answer says the same."""
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    for number in range(REQUESTS):
        text = edge.post("/v1/chat/completions", {**body, "stream": number % 2 == 0})
        if number % 2:
            said[json.loads(text)["system_fingerprint"]] += 1
            continue
        chunks = [json.loads(data) for data in re.findall(r"^data: (\{.*)$", text, re.MULTILINE)]
        (package,) = {chunk["system_fingerprint"] for chunk in chunks}
        said[package] += 1


@pytest.mark.parametrize("ask", [ask_grpc, ask_openai])
def test_each_answer_tells_its_package_and_both_have_their_share(
    servers: dict[str, Server], edge: Edge, ask: Callable[[Edge, Counter[str]], None]
) -> None:
    with counted(servers) as said:
        ask(edge, said)
    assert FEW <= said[CANARY] <= MANY
    assert said.total() == REQUESTS


def test_a_session_stays_with_a_package_and_each_of_its_answers_tells_it(
    servers: dict[str, Server], edge: Edge
) -> None:
    """Clients with a session each, until both packages have one: in 200 clients they do, but for once in 10^19."""
    seen: set[str] = set()
    with counted(servers) as said:
        for _ in range(200):
            with Client(f"grpc://{edge.address}", sessions=1) as client:
                with client.stream_chat(RANDOM, max_tokens=2) as stream:
                    assert stream.package == ""
                    next(stream)
                    first = stream.package
                    assert stream.get_final().package == first
                packages = {client.chat(RANDOM, max_tokens=1).package for _ in range(2)}
            assert packages == {first}
            said[first] += 3
            seen |= packages
            if len(seen) == 2:
                break
    assert seen == {STABLE, CANARY}


def test_a_rollback_by_weights_cuts_no_answer(edge: Edge) -> None:
    """What runs on the canary goes on to its end, and whatever comes after that goes to the other package."""
    edge.set_weight(100)
    with Client(f"grpc://{edge.address}", sessions=0) as client:
        wait_until(lambda: client.chat(RANDOM, max_tokens=1).package == CANARY, 120)
        with client.stream_chat(RANDOM, max_tokens=400) as running_answer:  # eight seconds
            next(running_answer)
            edge.set_weight(0)
            wait_until(lambda: client.chat(RANDOM, max_tokens=1).package == STABLE, 120)
            later = {client.chat(RANDOM, max_tokens=1).package for _ in range(20)}
            whole = running_answer.get_final()
    assert later == {STABLE}
    assert (whole.package, whole.finish_reason, whole.usage.output_tokens) == (CANARY, "length", 400)
