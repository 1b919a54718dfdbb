"""Which replica the edge of deploy/envoy chooses, and what it tries again: Envoy before replicas that run nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.balancer.echo import BREAK, HOLD, PART, STATUS, Echo, echoing
from tests.balancer.envoy import CLUSTERS, GRPC, KEYS, Config, balancing, configuration, running_edge
from tests.deploy.dns import answering
from tests.deploy.edge import CHAT, GENERATE, STREAM, Edge, edge, held_open
from tests.waiting import wait_until

REPLICA = "x-nemotron-replica"
HTTP_CLUSTERS = [name for name in CLUSTERS if name != GRPC]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with edge(tmp_path_factory.mktemp("edge")) as running:
        yield running


@pytest.fixture
def the_edge(shared: Edge) -> Iterator[Edge]:
    shared.clear()
    yield shared
    for echo in shared.echoes:
        echo.ready = True
        echo.statuses.clear()
        echo.free.clear()
    for cluster in CLUSTERS:
        wait_until(lambda cluster=cluster: len(shared.balancer.chosen(cluster)) == 2, 120)  # type: ignore[misc]


def over_http(path: str) -> Callable[[Edge, dict[str, str]], tuple[str, dict[str, str]]]:
    def ask(the_edge: Edge, headers: dict[str, str]) -> tuple[str, dict[str, str]]:
        answer = the_edge.ask(path, headers)
        assert answer.status == 200
        return answer.json["replica"], answer.headers

    return ask


def over_grpc(the_edge: Edge, headers: dict[str, str]) -> tuple[str, dict[str, str]]:
    called = the_edge.call(STREAM, headers)
    assert called.status == "OK"
    return called.messages[0]["replica"], called.metadata


WAYS = pytest.mark.parametrize(
    "ask", [over_http(CHAT), over_http(GENERATE), over_grpc], ids=["front", "triton", "grpc"]
)


@WAYS
def test_a_stop_reaches_the_replica_that_has_the_request(
    the_edge: Edge, ask: Callable[[Edge, dict[str, str]], tuple[str, dict[str, str]]]
) -> None:
    met = set()
    for _ in range(4):
        replica, headers = ask(the_edge, {})
        met.add(replica)
        assert {ask(the_edge, {REPLICA: headers[REPLICA]})[0] for _ in range(10)} == {replica}
    assert met == {"one", "two"} or {ask(the_edge, {})[0] for _ in range(20)} == {"one", "two"}


@pytest.mark.parametrize("path", [CHAT, "/v1/responses", GENERATE])
def test_a_session_id_has_one_replica(the_edge: Edge, path: str) -> None:
    met = set()
    for number in range(12):
        named = {"x-session-id": f"session-{number}"}
        replicas = {the_edge.ask(path, named).json["replica"] for _ in range(5)}
        assert len(replicas) == 1
        met |= replicas
    assert met == {"one", "two"}


def test_a_session_id_that_is_asked_for_too_much_goes_elsewhere_too(the_edge: Edge) -> None:
    """Its replica has at most half more than its share."""
    with sixteen_held(the_edge, CHAT, {"x-session-id": "session"}):
        assert sorted(echo.held for echo in the_edge.echoes) in ([3, 13], [4, 12], [5, 11])


@contextlib.contextmanager
def sixteen_held(the_edge: Edge, path: str, headers: Mapping[str, str]) -> Iterator[None]:
    """Requests that have no answer until the block ends.

    Each is asked when the one before has arrived: Envoy counts those that have a connection.
    """
    with ThreadPoolExecutor(16) as pool:
        try:
            for number in range(1, 17):
                pool.submit(the_edge.ask, path, {**headers, HOLD: "1"})
                wait_until(lambda number=number: sum(echo.held for echo in the_edge.echoes) == number)  # type: ignore[misc]
            yield
        finally:
            for echo in the_edge.echoes:
                echo.free.set()


def test_a_browser_stays_by_a_cookie_and_programs_get_none(the_edge: Edge) -> None:
    assert "set-cookie" not in the_edge.ask(CHAT).headers
    assert "set-cookie" not in the_edge.ask("/", method="GET", body=b"").headers
    browser = {"sec-fetch-site": "same-origin"}
    cookies, met = set(), set()
    for _ in range(20):
        answer = the_edge.ask(CHAT, browser)
        cookie, *attributes = answer.headers["set-cookie"].split("; ")
        assert {*attributes} == {"Path=/v1/chat/completions", "HttpOnly", "SameSite=Strict"}
        kept = {**browser, "cookie": cookie}
        assert the_edge.ask(f"{CHAT}/control", kept).json["replica"] == answer.json["replica"]
        assert "set-cookie" not in the_edge.ask(CHAT, kept).headers
        cookies.add(cookie)
        met.add(answer.json["replica"])
    assert (len(cookies), met) == (2, {"one", "two"})


@pytest.mark.parametrize("path", [CHAT, GENERATE])
def test_each_request_goes_to_the_replica_with_the_fewest(the_edge: Edge, path: str) -> None:
    with sixteen_held(the_edge, path, {}):
        assert [echo.held for echo in the_edge.echoes] == [8, 8]


def test_each_call_goes_to_the_replica_with_the_fewest(the_edge: Edge) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(1, 17):
            stack.enter_context(held_open(the_edge))
            wait_until(lambda number=number: sum(the_edge.balancer.active().values()) == number)  # type: ignore[misc]
        assert {*the_edge.balancer.active().values()} == {8}


def test_who_is_not_ready_gets_nothing(the_edge: Edge) -> None:
    first, second = the_edge.echoes
    first.ready = False
    for cluster in CLUSTERS:
        wait_until(lambda cluster=cluster: len(the_edge.balancer.chosen(cluster)) == 1, 120)  # type: ignore[misc]
    # Until all threads of Envoy have heard of it.
    wait_until(lambda: {the_edge.ask(path).json["replica"] for path in (CHAT, GENERATE) * 10} == {second.name})
    first.seen.clear()
    for _ in range(10):
        for path in (CHAT, GENERATE):
            for session in ({}, {"x-session-id": "s"}, {"x-session-id": "t"}):
                assert the_edge.ask(path, session).json["replica"] == second.name
        assert the_edge.call(STREAM).messages[0]["replica"] == second.name
    second.ready = False
    for cluster in CLUSTERS:
        wait_until(lambda cluster=cluster: not the_edge.balancer.chosen(cluster), 120)  # type: ignore[misc]
    for path in (CHAT, GENERATE):
        for session in ({}, {"x-session-id": "s"}):
            wait_until(lambda path=path, session=session: the_edge.ask(path, session).status == 503)  # type: ignore[misc]
            answer = the_edge.ask(path, session)
            assert (answer.status, answer.code) == (503, "not_ready")
            assert (answer.headers["retry-after"], answer.headers["x-should-retry"]) == ("2", "true")
    wait_until(lambda: the_edge.call(STREAM).status == "UNAVAILABLE")
    assert len(first.seen) == 0


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("session", [{}, {"x-session-id": "s"}], ids=["", "in a session"])
def test_what_one_replica_refuses_is_asked_of_the_other(the_edge: Edge, status: int, session: dict[str, str]) -> None:
    body = b"x" * (3 << 20)  # more than is kept if nothing is said
    for _ in range(4):
        the_edge.clear()
        refusing = the_edge.echoes[0]
        refusing.statuses[:] = [status] * 5
        assert the_edge.ask(CHAT, session, body=body).json == {
            "replica": "two",
            "path": CHAT,
            "length": len(body),
        }
        assert len(the_edge.echoes[1].seen) == 1
    for echo in the_edge.echoes:
        echo.statuses.clear()
    the_edge.clear()
    answer = the_edge.ask(CHAT, {STATUS: f"{status}"})
    assert (answer.status, answer.headers["retry-after"]) == (status, "7")  # the replica's own
    assert answer.json["path"] == CHAT
    assert 2 <= the_edge.seen() <= 3


def test_a_replica_that_refuses_stays(the_edge: Edge) -> None:
    for _ in range(8):  # Envoy would pass over one after five
        assert the_edge.ask(CHAT, {STATUS: "503"}).status == 503
    assert {the_edge.ask(CHAT).json["replica"] for _ in range(20)} == {"one", "two"}


@pytest.mark.parametrize("status", [400, 404, 500, 502, 504])
def test_what_may_have_been_done_is_not_asked_again(the_edge: Edge, status: int) -> None:
    assert the_edge.ask(CHAT, {STATUS: f"{status}"}).status == status
    assert the_edge.seen() == 1


def test_what_ends_a_replica_is_not_brought_to_the_other(the_edge: Edge) -> None:
    """A request may be the cause."""
    answer = the_edge.ask(CHAT, {BREAK: "at once"})
    assert (answer.status, answer.code) == (503, "not_ready")
    assert the_edge.seen() == 1


def test_nothing_is_tried_again_behind_the_first_byte(the_edge: Edge) -> None:
    with pytest.raises(Exception, match=r"IncompleteRead|Remote end closed"):
        the_edge.ask(CHAT, {PART: "begun", BREAK: "1"})
    assert the_edge.seen() == 1


@WAYS
def test_a_replica_that_has_died_costs_nobody_anything(
    tmp_path: Path, ask: Callable[[Edge, dict[str, str]], tuple[str, dict[str, str]]]
) -> None:
    """Its health was fine a moment ago."""

    def seldom(config: Config) -> None:
        for cluster in config["static_resources"]["clusters"]:
            for check in cluster.get("health_checks", ()):
                check |= {"interval": "60s", "no_traffic_interval": "60s"}

    with echoing("one") as one, echoing("two") as two:
        nobody = "127.0.0.1:9"
        gone = {name: f"{url.partition(':')[0]}://{nobody}" for name, url in one.urls.items()}
        replicas = [{**gone, "health_url": one.urls["health_url"]}, two.urls]
        with balancing(replicas, tmp_path, seldom, keys=KEYS.read_text()) as balancer:
            for _ in range(12):
                assert ask(Edge(balancer, [one, two]), {})[0] == "two"


def test_one_name_stands_for_all_replicas(tmp_path: Path) -> None:
    """As it is shipped: a DNS name with an address for each replica, and the same ports at all of them."""
    (tmp_path / "edge").mkdir()
    with answering(["127.0.0.2", "127.0.0.3"]) as dns, contextlib.ExitStack() as stack:
        leaving, ports = stack.enter_context(servers_at(dns.addresses))
        config = configuration(tmp_path / "edge")
        (tmp_path / "edge" / "keys" / "keys.yaml").write_text(KEYS.read_text())
        resolver = {
            "name": "envoy.network.dns_resolver.cares",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
                "resolvers": [{"socket_address": {"address": "127.0.0.1", "port_value": dns.port}}],
            },
        }
        for cluster in config["static_resources"]["clusters"]:
            if cluster["name"] != "admin":
                cluster |= {"typed_dns_resolver_config": resolver, "dns_refresh_rate": "0.2s"}
                (endpoints,) = cluster["load_assignment"]["endpoints"]
                (endpoint,) = [one["endpoint"] for one in endpoints["lb_endpoints"]]
                assert endpoint["health_check_config"]["port_value"] == 8003
                endpoint["health_check_config"]["port_value"] = ports[8003]
                address = endpoint["address"]["socket_address"]
                address["port_value"] = ports[address["port_value"]]
        balancer = stack.enter_context(running_edge(config, tmp_path / "edge"))
        for cluster in HTTP_CLUSTERS:
            wait_until(lambda cluster=cluster: len(balancer.chosen(cluster)) == 2, 120)  # type: ignore[misc]
        the_edge = Edge(balancer, [])
        for path in (CHAT, GENERATE):
            assert {the_edge.ask(path).json["replica"] for _ in range(20)} == {"127.0.0.2", "127.0.0.3"}
        dns.addresses.remove("127.0.0.2")
        leaving.ready = False  # else Envoy keeps it: a name may be gone by mistake
        for cluster in HTTP_CLUSTERS:
            wait_until(lambda cluster=cluster: len(balancer.chosen(cluster)) == 1, 120)  # type: ignore[misc]
        wait_until(lambda: {the_edge.ask(CHAT).json["replica"] for _ in range(10)} == {"127.0.0.3"})
        assert dns.asked == {"nemotron-replicas"}


@contextlib.contextmanager
def servers_at(addresses: list[str]) -> Iterator[tuple[Echo, dict[int, int]]]:
    """Echoes at these addresses: the first, and the ports that they have in place of those of a replica."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(echoing(addresses[0], addresses[0]))
        http, calls = (urlsplit(first.urls[name]).port or 0 for name in ("http_url", "grpc_url"))
        for address in addresses[1:]:
            stack.enter_context(echoing(address, address, http, calls))
        yield first, {8000: http, 8001: calls, 8003: http, 9000: http}
