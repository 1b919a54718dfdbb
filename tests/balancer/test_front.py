"""Two fronts with a real Envoy before them, as docs/openai/deployment.md has it."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from tests.balancer.envoy import running
from tests.balancer.reading import ENDLESS
from tests.integration.conftest import ROOT, Front, Server, fronting
from tests.integration.front.raw import CHAT, RawCaller, question
from tests.robustness.observing import IN_FLIGHT, nothing_left
from tests.waiting import allowed, wait_until

PAGE = ROOT / "docs" / "openai" / "deployment.md"
CALLERS = 20
LEFT_S = 0.5 + 0.25  # what the metrics say is up to a quarter of a second old


@pytest.fixture(scope="module")
def fronts(replicas: list[Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Front]]:
    """One beside each replica."""
    with (
        fronting(replicas[0], tmp_path_factory.mktemp("front-0")) as first,
        fronting(replicas[1], tmp_path_factory.mktemp("front-1")) as second,
    ):
        yield [first, second]


@pytest.fixture(scope="module")
def url(fronts: list[Front], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where Envoy listens for them."""
    (text,) = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    ports = [urlsplit(front.url).port for front in fronts]
    for old, new in ((9901, 0), (9080, 0), (9000, ports[0]), (9001, ports[1])):
        assert text.count(f"port_value: {old}") == 1
        text = text.replace(f"port_value: {old}", f"port_value: {new}")
    with running(text, tmp_path_factory.mktemp("envoy-front")) as (address, _):
        wait_until(lambda: listens(address), 20)  # once it knows how its fronts are
        yield f"http://{address}"


def listens(address: str) -> bool:
    host, _, port = address.partition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
        return True
    return False


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


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "whole"])
def test_a_caller_that_leaves_frees_its_place(
    url: str, replicas: list[Server], figure: Callable[[str], None], streamed: bool
) -> None:
    took = []
    for _ in range(CALLERS):
        caller = RawCaller(url, question("[sim:random]", max_tokens=ENDLESS, stream=streamed))
        wait_until(lambda: sum(in_flight(replicas)) == 1)
        began = time.monotonic()
        caller.close()
        wait_until(lambda: sum(in_flight(replicas)) == 0)
        took.append(time.monotonic() - began)
    figure(
        f"{CALLERS} of {CALLERS} {'streamed' if streamed else 'whole'} answers behind Envoy ended when callers left: "
        f"the metrics (up to 250 ms old) say {statistics.median(took) * 1000:.0f} ms later (median), "
        f"{max(took) * 1000:.0f} ms (longest)"
    )
    assert statistics.median(took) < allowed(LEFT_S)


def test_a_stream_comes_through_as_it_is_written(url: str) -> None:
    with RawCaller(url, question("[sim:random]", max_tokens=100, stream=True)) as caller:  # 2 s
        began = time.monotonic()
        caller.read_until(b"data:")
        first = time.monotonic() - began
        assert caller.read_all().endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        assert first < (time.monotonic() - began) / 2


def test_a_front_that_drains_gets_no_more_and_loses_none(fronts: list[Front], url: str) -> None:
    """The last test, for it ends one of them."""
    callers = [RawCaller(url, question("[sim:random]", max_tokens=600, stream=True)) for _ in range(10)]  # 12 s
    for caller in callers:
        caller.read_until(b"data:")
    fronts[0].process.send_signal(signal.SIGTERM)
    through_envoy = Front(fronts[1].process, url, fronts[1].log)
    short = question("Hi", max_tokens=1)
    # Envoy asks once a second whether a front is ready.
    wait_until(lambda: {through_envoy.post(CHAT, short)[0] for _ in range(10)} == {200})
    for caller in callers:
        assert b'"error"' not in caller.read_all()
        assert json.loads(caller.data[-2])["choices"][0]["finish_reason"] == "length"
        caller.close()
    assert fronts[0].process.wait(10) == 0
