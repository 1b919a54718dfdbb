"""Two fronts of nemotron-serve behind the edge."""

from __future__ import annotations

import contextlib
import json
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.balancer.envoy import Balancer
from tests.balancer.reading import ENDLESS
from tests.integration.conftest import Front, Server, serving
from tests.integration.front.raw import CHAT, RawCaller, question
from tests.robustness.observing import IN_FLIGHT, nothing_left
from tests.waiting import allowed, wait_until

CALLERS = 20
LEFT_S = 0.5 + 0.25  # what the metrics say is up to a quarter of a second old


@pytest.fixture(scope="module")
def replicas(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Two with fronts; takes the place of those of conftest.py."""
    options = ("--openai-port", "0", "--drain-delay-seconds", "3")
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(serving(package, tmp_path_factory.mktemp(f"with-front-{number}"), *options))
            for number in range(2)
        ]


@pytest.fixture(scope="module")
def url(balancer: Balancer) -> str:
    """Where Envoy listens for them."""
    return balancer.http_url


def in_flight(replicas: list[Server]) -> list[float]:
    return [replica.metric(IN_FLIGHT) for replica in replicas]


def test_callers_are_spread_over_the_fronts(url: str, replicas: list[Server]) -> None:
    callers = []
    for _ in range(CALLERS):
        callers.append(RawCaller(url, question("[sim:random]", max_tokens=ENDLESS, stream=True)))
        callers[-1].read_until(b"data:")
    wait_until(lambda: sum(in_flight(replicas)) == CALLERS)
    assert min(in_flight(replicas)) >= CALLERS // 4
    for caller in callers:
        caller.close()
    wait_until(lambda: all(nothing_left(replica) for replica in replicas))


def test_a_caller_that_leaves_a_whole_answer_frees_its_place(
    url: str, replicas: list[Server], figure: Callable[[str], None]
) -> None:
    """Streams that are left are in tests/deploy."""
    took = []
    for _ in range(CALLERS):
        caller = RawCaller(url, question("[sim:random]", max_tokens=ENDLESS))
        wait_until(lambda: sum(in_flight(replicas)) == 1)
        began = time.monotonic()
        caller.close()
        wait_until(lambda: sum(in_flight(replicas)) == 0)
        took.append(time.monotonic() - began)
    figure(
        f"{CALLERS} of {CALLERS} whole answers behind Envoy ended when callers left: "
        f"the metrics (up to 250 ms old) say {statistics.median(took) * 1000:.0f} ms later (median), "
        f"{max(took) * 1000:.0f} ms (longest)"
    )
    assert statistics.median(took) < allowed(LEFT_S)


def test_a_stream_comes_through_as_it_is_written(url: str) -> None:
    with RawCaller(url, question("[sim:random]", max_tokens=100, stream=True)) as caller:
        assert caller.read_all().endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    began = time.monotonic()
    with RawCaller(url, question("[sim:random]", max_tokens=ENDLESS, stream=True)) as caller:  # 100 s
        caller.read_until(b"data:")
        assert time.monotonic() - began < 50


def test_the_paths_of_the_front_are_open_but_for_metrics(url: str, replicas: list[Server]) -> None:
    """What the front adds has to be opened in deploy/envoy, or closed here."""
    front = Front(replicas[0].process, replicas[0].info["openai_url"].removesuffix("/v1"), replicas[0].log)
    with RawCaller(front.url, path="/openapi.json", method="GET") as caller:
        paths = json.loads(caller.read_all().partition(b"\r\n\r\n")[2])["paths"]
    closed = set()
    for path, methods in paths.items():
        for method in methods:
            with RawCaller(url, path=path.replace("{", "").replace("}", ""), method=method.upper()) as caller:
                caller.read_all()
                if caller.status == 403:
                    closed.add(path)
    assert closed == {"/metrics", "/v1/metrics"} & paths.keys()
    assert len(paths) > 10


def test_a_front_that_drains_gets_no_more_and_loses_none(replicas: list[Server], url: str) -> None:
    """The last test, for it ends one of them."""
    callers = [RawCaller(url, question("[sim:random]", max_tokens=300, stream=True)) for _ in range(10)]  # 6 s
    for caller in callers:
        caller.read_until(b"data:")
    replicas[0].process.send_signal(signal.SIGTERM)
    through_envoy = Front(replicas[1].process, url, replicas[1].log)
    short = question("Hi", max_tokens=1)
    for _ in range(30):
        assert through_envoy.post(CHAT, short)[0] == 200
        time.sleep(0.1)
    for caller in callers:
        assert b'"error"' not in caller.read_all()
        assert json.loads(caller.data[-2])["choices"][0]["finish_reason"] == "length"
        caller.close()
    assert replicas[0].process.wait(120) == 0
