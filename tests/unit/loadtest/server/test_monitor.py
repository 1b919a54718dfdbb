from __future__ import annotations

import time
from statistics import median

from nemotron_client import ServerUnavailableError
from nemotron_loadtest.server import ServerMonitor, ServerSample, Watched, decode_server_sample, encode_server_sample
from nemotron_loadtest.server.triton_metrics import Page

PAGE: Page = {"nemotron_requests_running": [({"model": "tensorrt_llm"}, 5.0)]}
FAR = "grpc://triton.example:8001"


class Clock:
    def __init__(self) -> None:
        self.began = time.monotonic()

    def __call__(self) -> float:
        return time.monotonic() - self.began


def unreadable() -> Page:
    raise ServerUnavailableError("gone", request_id="", url=FAR)


def test_samples_come_on_a_grid_until_the_end() -> None:
    found: list[ServerSample] = []
    with ServerMonitor([Watched(FAR, lambda: PAGE)], Clock(), found.append, interval_s=0.05) as monitor:
        time.sleep(0.23)
    seen = len(found)
    time.sleep(0.1)

    assert len(found) == seen
    assert 2 <= seen <= 6
    assert all(sample.running == 5 and sample.server == FAR for sample in found)
    assert median(abs(sample.at_s - 0.05 * round(sample.at_s / 0.05)) for sample in found) < 0.02
    assert monitor.failures == 0


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


def test_a_slow_look_leaves_places_empty() -> None:
    found: list[ServerSample] = []

    def slow() -> Page:
        time.sleep(0.12)
        return PAGE

    with ServerMonitor([Watched(FAR, slow)], Clock(), found.append, interval_s=0.05):
        time.sleep(0.5)

    assert 2 <= len(found) <= 5


def test_a_record_survives_its_file() -> None:
    [sample] = ServerMonitor([Watched(FAR, lambda: PAGE)], Clock(), lambda _: None).look()

    assert decode_server_sample(encode_server_sample(sample)) == sample
