from __future__ import annotations

import threading
import time

import pytest

from nemotron_client import ServerUnavailableError
from nemotron_loadtest.server import ServerMonitor, ServerSample, Watched, decode_server_sample, encode_server_sample
from nemotron_loadtest.server.monitor import Page, place_after
from tests.waiting import wait_until

PAGE: Page = {"nemotron_requests_running": [({"model": "tensorrt_llm"}, 5.0)]}
FAR = "grpc://triton.example:8001"


class Clock:
    def __init__(self) -> None:
        self.began = time.monotonic()

    def __call__(self) -> float:
        return time.monotonic() - self.began


def unreadable() -> Page:
    raise ServerUnavailableError("gone", request_id="", url=FAR)


def test_samples_come_until_the_end() -> None:
    found: list[ServerSample] = []
    before = set(threading.enumerate())
    with ServerMonitor([Watched(FAR, lambda: PAGE)], Clock(), found.append, interval_s=0.01) as monitor:
        wait_until(lambda: len(found) >= 3)
    seen = len(found)

    assert not set(threading.enumerate()) - before
    assert all(sample.running == 5 and sample.server == FAR for sample in found)
    assert [sample.at_s for sample in found] == sorted({sample.at_s for sample in found})
    assert found[-1].at_s > 0.0099 * (seen - 1)
    assert monitor.failures == 0


@pytest.mark.parametrize(
    ("now_s", "expected"),
    [(3.0, 4.0), (3.2, 4.0), (3.99, 4.0), (4.0, 5.0), (6.3, 7.0), (2.99, 4.0)],
    ids=["at once", "soon", "just in time", "a whole interval", "three places", "early"],
)
def test_looks_lie_on_a_grid_and_a_slow_one_leaves_places_empty(now_s: float, expected: float) -> None:
    assert place_after(3.0, now_s, 1.0) == expected


def test_a_server_that_cannot_be_read_is_counted_and_the_others_go_on() -> None:
    monitor = ServerMonitor([Watched(FAR, unreadable), Watched("other", lambda: PAGE)], Clock(), lambda _: None)
    gone, there = monitor.look()

    assert (gone.scraped, gone.running) == (False, None)
    assert (there.scraped, there.running) == (True, 5)
    assert monitor.failures == 1


def test_a_page_that_is_no_page_is_counted() -> None:
    def broken() -> Page:
        raise ValueError("could not convert string to float: 'x'")

    monitor = ServerMonitor([Watched(FAR, broken)], Clock(), lambda _: None)

    assert not monitor.look()[0].scraped
    assert monitor.failures == 1


def test_a_record_survives_its_file() -> None:
    [sample] = ServerMonitor([Watched(FAR, lambda: PAGE)], Clock(), lambda _: None).look()

    assert decode_server_sample(encode_server_sample(sample)) == sample
