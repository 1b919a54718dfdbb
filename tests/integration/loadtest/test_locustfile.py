"""loadtest/locustfile.py under Locust's own command: headless, with several processes, and with its web UI."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from nemotron_client.testing import FakeServer, ScriptedReply
from nemotron_loadtest.run.record import read_run
from nemotron_loadtest.scenario import ClosedLoop
from tests.integration.conftest import ROOT
from tests.integration.loadtest.bench import closed, poisson, scenario_file

LOCUST = [str(Path(sys.executable).parent / "locust"), "-f", str(ROOT / "loadtest" / "locustfile.py")]
REPLY = ScriptedReply("one two three four five", ttft_s=0.05, token_s=0.01)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(lambda _: REPLY) as server:
        yield server


@pytest.fixture
def free_port() -> Iterator[int]:
    """Of 127.0.0.1; held for the test, as who listens there with SO_REUSEADDR does not mind."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def headless(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*LOCUST, "--headless", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=150)


@pytest.mark.parametrize(("arrivals", "processes"), [(poisson(50), 1), (closed(8), 2)])
def test_headless(arrivals: str, processes: int, server: FakeServer, tmp_path: Path, free_port: int) -> None:
    scenario, results = scenario_file(tmp_path, server.grpc_url, arrivals), tmp_path / "results"
    several = ["--master-bind-port", free_port, "--master-port", free_port, "--processes", processes]
    done = headless("--scenario", scenario, "--result-dir", results, *(several if processes > 1 else []))
    assert done.returncode == 0, done.stderr
    record, samples = read_run(results)
    assert (record.ended_by, record.workers) == ("duration", processes)
    assert {sample.outcome for sample in samples} == {"ok"}
    assert len(samples) == len(server.requests) >= 8
    assert len({sample.worker for sample in samples}) == processes


def test_no_server_is_an_exit_status(tmp_path: Path) -> None:
    done = headless("--scenario", scenario_file(tmp_path, "grpc://127.0.0.1:9", poisson(5)))
    assert done.returncode == 3
    assert "grpc://127.0.0.1:9 cannot be reached" in done.stderr


def test_the_option_host_comes_before_the_scenarios_url(server: FakeServer, tmp_path: Path) -> None:
    scenario, results = scenario_file(tmp_path, "grpc://127.0.0.1:9", poisson(20)), tmp_path / "results"
    done = headless("--scenario", scenario, "--result-dir", results, "--host", server.grpc_url)
    assert done.returncode == 0, done.stderr
    record, samples = read_run(results)
    assert record.urls == (server.grpc_url,)
    assert {sample.outcome for sample in samples} == {"ok"}


def test_no_scenario() -> None:
    done = headless()
    assert done.returncode != 0
    assert "expected --scenario FILE or NEMOTRON_SCENARIO" in done.stderr


def test_the_web_ui_shows_requests_and_metrics(server: FakeServer, tmp_path: Path, free_port: int) -> None:
    results = tmp_path / "results"
    scenario = scenario_file(tmp_path, server.http_url, closed(3), user="http_stream", duration_s=60.0)
    options = ["--web-port", str(free_port), "--result-dir", str(results)]
    process = subprocess.Popen(
        [*LOCUST, "--scenario", str(scenario), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    web = f"http://127.0.0.1:{free_port}"
    try:
        until_it_answers(web)
        listens_at = {one.laddr.ip for one in psutil.Process(process.pid).net_connections() if one.status == "LISTEN"}
        page = read(web, "/")
        # What the page sends for its fields that are switched off: the scenario's three users come all the same.
        ask(web, "/swarm", user_count=0, spawn_rate=0, host=server.http_url)
        rows = stats(web, "HTTP", 10)
        ask(web, "/stop", now="yes")
    finally:
        process.terminate()
        process.wait(20)
    assert {(row["method"], row["name"]) for row in rows} >= {
        ("HTTP", "thinking off"),
        ("METRIC", "thinking off: Time to first token"),
        ("METRIC", "thinking off: Inter-token latency, mean of a request"),
    }
    assert listens_at == {"127.0.0.1"}
    assert server.http_url in page
    assert re.search(r'"hide_common_options": true', page)
    counts = {(row["method"], row["name"]): row["num_requests"] for row in rows}
    assert counts["", "Aggregated"] == counts["HTTP", "thinking off"]
    record, samples = read_run(results)
    assert record.scenario.arrivals == ClosedLoop(users=3)
    assert (record.ended_by, {sample.outcome for sample in samples}) == ("interrupt", {"ok"})


def until_it_answers(web: str) -> None:
    until = time.monotonic() + 90
    while True:
        try:
            read(web, "/")
            return
        except urllib.error.HTTPError:
            raise
        except urllib.error.URLError:
            assert time.monotonic() < until
            time.sleep(0.1)


def ask(web: str, path: str, **form: object) -> Any:
    """GET, or POST of a form."""
    return json.loads(read(web, path, urllib.parse.urlencode(form).encode() if form else None))


def read(web: str, path: str, data: bytes | None = None) -> str:
    with urllib.request.urlopen(web + path, data, timeout=60) as response:
        return str(response.read().decode())


def stats(web: str, kind: str, least: int) -> list[dict[str, Any]]:
    """The rows of the table, once there are so many requests of a kind."""
    until = time.monotonic() + 60
    while True:
        rows: list[dict[str, Any]] = ask(web, "/stats/requests")["stats"]
        if any(row["method"] == kind and row["num_requests"] >= least for row in rows):
            return rows
        assert time.monotonic() < until
        time.sleep(0.2)
