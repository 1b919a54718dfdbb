from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from nemotron_serving.launcher.endpoints import Endpoints, Probe, probe_triton, sum_of_gauge
from tests.waiting import wait_until

EXPOSITION = """# HELP running Requests
# TYPE running gauge
running{model="a",version="1"} 2
running{model="b c"} 3.000000
running_total{model="a"} 100
idle 4
"""


def test_a_gauge_is_summed_over_its_labels() -> None:
    assert sum_of_gauge(EXPOSITION, "running") == 5
    assert sum_of_gauge(EXPOSITION, "idle") == 4
    assert sum_of_gauge(EXPOSITION, "missing") == 0


class Front:
    """A server of one thread, which answers, waits or hangs up as it is told."""

    def __init__(self) -> None:
        self.ids: list[object] = []
        self.answering = threading.Event()
        self.answering.set()
        self.hangs_up = False
        self.connections = 0
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                front.connections += 1
                super().setup()

            def do_POST(self) -> None:
                front.ids.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))).get("id"))
                front.answering.wait()
                self.close_connection = front.hangs_up
                if not front.hangs_up:
                    self.send_response(503)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=[0.01], daemon=True).start()

    @property
    def endpoints(self) -> Endpoints:
        port = self.http.server_address[1]
        return Endpoints("127.0.0.1", port, port, port, port, tls=False)

    def close(self) -> None:
        self.answering.set()
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def front() -> Iterator[Front]:
    front = Front()
    yield front
    front.close()


@pytest.fixture
def probe(front: Front) -> Iterator[Probe]:
    probe = probe_triton(front.endpoints, "secret", 0.01)
    yield probe
    probe.close()


def test_a_probe_asks_again_and_again_on_one_connection_and_takes_any_answer(front: Front, probe: Probe) -> None:
    wait_until(lambda: probe.pulse().count >= 3, 10)
    assert set(front.ids) == {"secret"}
    assert front.connections == 1


def test_a_probe_that_gets_no_answer_says_so_and_waits_for_it(front: Front, probe: Probe) -> None:
    front.answering.clear()
    wait_until(lambda: probe.pulse().busy, 10)
    before = probe.pulse().count
    front.answering.set()
    wait_until(lambda: probe.pulse().count > before, 10)


def test_a_probe_that_waits_can_be_closed(front: Front) -> None:
    front.answering.clear()
    probe = probe_triton(front.endpoints, None, 0.01)
    wait_until(lambda: len(front.ids) == 1, 10)
    probe.close()
    assert front.ids == [None]


def test_a_connection_that_was_closed_is_no_answer_and_is_opened_again(front: Front, probe: Probe) -> None:
    wait_until(lambda: probe.pulse().count >= 1, 10)
    front.hangs_up = True
    wait_until(lambda: probe.pulse().busy and front.connections >= 2, 10)
    before = probe.pulse().count
    front.hangs_up = False
    wait_until(lambda: probe.pulse().count > before, 10)


def test_a_silent_server_is_asked_over_another_connection_where_that_is_wanted(front: Front) -> None:
    front.answering.clear()
    probe = Probe("127.0.0.1", front.endpoints.http_port, "/", "{}", pause_s=0.01, answer_s=0.2)
    wait_until(lambda: front.connections == 2, 10)
    assert probe.pulse().busy
    assert probe.pulse().count == 0
    front.answering.set()
    wait_until(lambda: probe.pulse().count >= 2, 10)
    probe.close()
