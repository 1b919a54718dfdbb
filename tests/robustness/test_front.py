"""A front whose callers leave, flood, read slowly or send slowly, whose server dies, and that is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import openai
import psutil
import pytest

from tests.integration.conftest import BIN, Front, Server, fronting, serving
from tests.integration.front.raw import CHAT, RawCaller, question
from tests.robustness.observing import IN_FLIGHT
from tests.waiting import allowed, wait_until

STREAMS = 512
CALLERS = 100
LONG = question("[sim:random]", max_tokens=3000)
SHORT = question("[sim:random]", max_tokens=100)  # 2 s


@pytest.fixture(scope="module")
def patient_front(patient_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """Beside `patient_server`. What its callers hold up ends after a second."""
    options = ["--write-seconds", "1", "--body-seconds", "1"]
    with fronting(patient_server, tmp_path_factory.mktemp("front"), *options) as front:
        yield front


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("leave", [RawCaller.close, RawCaller.reset], ids=["close", "reset"])
def test_callers_that_leave_free_their_places(
    patient_front: Front, patient_server: Server, leave: Callable[[RawCaller], None], streamed: bool
) -> None:
    """Some of them wait, for there are 128 places."""
    callers = [RawCaller(patient_front.url, {**LONG, "stream": streamed}) for _ in range(CALLERS + 50)]
    wait_until(lambda: patient_server.metric(IN_FLIGHT) == len(callers), 30)
    began = time.monotonic()
    for caller in callers:
        leave(caller)
    wait_until(lambda: patient_server.metric(IN_FLIGHT) == 0, 30)
    assert time.monotonic() - began < allowed(1.5)  # for all of them; the metrics are read four times a second


def test_callers_that_wait_free_their_places_in_the_queue(patient_front: Front, patient_server: Server) -> None:
    running = [RawCaller(patient_front.url, LONG) for _ in range(128)]
    wait_until(lambda: patient_server.metric("nemotron_requests_running") == 128, 30)
    waiting = [RawCaller(patient_front.url, {**LONG, "stream": number % 2 == 0}) for number in range(32)]
    wait_until(lambda: patient_server.metric(IN_FLIGHT) == 160, 30)
    assert patient_front.post(CHAT, LONG)[0] == 429
    began = time.monotonic()
    for caller in waiting:
        caller.close()
    wait_until(lambda: patient_server.metric(IN_FLIGHT) == 128)
    assert time.monotonic() - began < allowed(0.75)
    for caller in running:
        caller.close()
    wait_until(lambda: patient_server.metric(IN_FLIGHT) == 0, 30)


def test_callers_that_do_not_read_are_cut_off(patient_server: Server, tmp_path: Path) -> None:
    """What is written for them is bounded: by what the system and the front hold, and by the time."""
    usage = {"include_usage": True, "continuous_usage_stats": True}
    long = question("[sim:random]", max_tokens=100_000, stream=True, stream_options=usage)
    with fronting(patient_server, tmp_path, "--write-seconds", "1") as front:
        callers = [RawCaller(front.url, long, receive_buffer=4096) for _ in range(8)]
        wait_until(lambda: patient_server.metric(IN_FLIGHT) == len(callers), 30)
        with RawCaller(front.url, {**SHORT, "stream": True}) as reader:
            assert reader.read_all().endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        wait_until(lambda: patient_server.metric(IN_FLIGHT) == 0, 120)
        for caller in callers:
            caller.close()


def test_half_requests_hold_nobody_up(patient_front: Front, patient_server: Server) -> None:
    data = json.dumps(SHORT).encode()
    half = [RawCaller(patient_front.url, data[:20], headers={"Content-Length": str(len(data))}) for _ in range(200)]
    began = time.monotonic()
    assert patient_front.post(CHAT, question("Hi", max_tokens=2))[0] == 200
    assert time.monotonic() - began < allowed(1)
    for caller in half:
        assert b"request_timeout" in caller.read_all()
        assert caller.status == 408
        caller.close()
    assert patient_server.metric(IN_FLIGHT) == 0


@pytest.mark.parametrize(
    "sent", [b"", b"POST / HT", b"GET / HTTP/1.1\r\nHost: a\r\n", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 50_000]
)
def test_heads_that_do_not_come_to_an_end_are_cut_off(patient_front: Front, sent: bytes) -> None:
    address = urlsplit(patient_front.url)
    with socket.create_connection((address.hostname, address.port), 20) as caller, contextlib.suppress(ConnectionError):
        caller.sendall(sent)
        assert caller.recv(1) == b""


def test_512_streams_at_once_are_whole(
    simulated_package: Callable[..., Path], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    package = simulated_package("--token-ms", "50", "--max-batch-size", str(STREAMS), "--max-waiting", "0")
    body = question("[sim:random]", max_tokens=60, stream=True, stream_options={"include_usage": True})
    with serving(package, tmp_path) as server, fronting(server, tmp_path) as front:
        process = psutil.Process(front.process.pid)
        address = urlsplit(front.url)
        data = json.dumps(body).encode()
        lines = [
            f"POST {CHAT} HTTP/1.1",
            f"Host: {address.netloc}",
            "Connection: close",
            f"Content-Length: {len(data)}",
        ]
        request = "\r\n".join([*lines, "", ""]).encode() + data

        async def one() -> bytes:
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            writer.write(request)
            answer = await reader.read()
            writer.close()
            return answer

        async def run() -> list[bytes]:
            return await asyncio.gather(*(one() for _ in range(STREAMS)))

        asyncio.run(run())
        before = process.memory_info().rss
        answers = asyncio.run(run())
        grown = process.memory_info().rss - before
    whole = [
        one for one in answers if b'"completion_tokens":60' in one and one.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    ]
    assert len(whole) == STREAMS
    record_property("front_rss_grown_mib", grown >> 20)
    assert grown < 30 << 20


def test_a_server_that_dies_within_a_stream_ends_it_with_an_error(
    simulated_package: Callable[..., Path], tmp_path: Path
) -> None:
    with (
        serving(simulated_package("--token-ms", "20"), tmp_path) as server,
        fronting(server, tmp_path) as front,
        RawCaller(front.url, {**LONG, "stream": True}) as caller,
        openai.OpenAI(base_url=f"{front.url}/v1", api_key="none", max_retries=0) as client,
    ):
        stream = client.chat.completions.create(model="simulated", stream=True, **LONG)
        next(iter(stream))
        caller.read_until(b"data:")
        os.kill(server.info["model_pids"]["tensorrt_llm"], signal.SIGKILL)
        with pytest.raises(openai.APIError, match=r"\w"):
            for _ in stream:
                pass
        caller.read_all()
        assert caller.received.endswith(b"0\r\n\r\n")
        *_, error, done = caller.data
        assert json.loads(error)["error"]["message"]
        assert done == "[DONE]"
        wait_until(lambda: front.post(CHAT, question("Hi", max_tokens=2))[0] == 200, 60)


def test_what_runs_ends_when_the_front_is_told_to_stop(patient_server: Server, tmp_path: Path) -> None:
    running = question("[sim:random]", max_tokens=300, stream=True)  # 6 s, in which the others are answered
    with fronting(patient_server, tmp_path) as front, RawCaller(front.url, running) as caller:
        caller.read_until(b"data:")
        front.process.send_signal(signal.SIGTERM)
        with RawCaller(front.url, SHORT) as new:
            new.read_all()
        probes = {}
        for path in ("/v1/health/live", "/v1/health/ready"):
            with RawCaller(front.url, path=path, method="GET") as probe:
                probe.read_all()
            probes[path] = probe.status
        assert new.status == 503
        assert b'"code":"shutting_down"' in new.received
        assert b"retry-after: " in new.received
        assert probes == {"/v1/health/live": 200, "/v1/health/ready": 503}
        assert caller.read_all().endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        assert b'"error"' not in caller.received
        assert front.process.wait(30) == 0


@pytest.mark.parametrize("again", [False, True], ids=["late", "told again"])
def test_what_runs_too_long_is_cut_with_an_error(patient_server: Server, tmp_path: Path, again: bool) -> None:
    options = ["--drain-seconds", "300" if again else "1"]
    with (
        fronting(patient_server, tmp_path, *options) as front,
        RawCaller(front.url, {**LONG, "stream": True}) as streamed,
        RawCaller(front.url, LONG) as whole,
    ):
        streamed.read_until(b"data:")
        wait_until(lambda: patient_server.metric(IN_FLIGHT) == 2)
        front.process.send_signal(signal.SIGTERM)
        if again:
            wait_until(lambda: b"stopping" in front.log.read_bytes())
            front.process.send_signal(signal.SIGINT)
        *_, error, done = (streamed.read_all(), streamed.data)[1]
        assert json.loads(error)["error"]["code"] == "shutting_down"
        assert done == "[DONE]"
        assert (whole.read_all(), whole.status)[1] == 503
        assert front.process.wait(30) == (130 if again else 0)
        wait_until(lambda: patient_server.metric(IN_FLIGHT) == 0)


def test_a_server_that_drains_is_told_as_shutting_down(simulated_package: Callable[..., Path], tmp_path: Path) -> None:
    running = question("[sim:random]", max_tokens=300, stream=True)  # 6 s, in which the others are answered
    with (
        serving(simulated_package("--token-ms", "20"), tmp_path) as server,
        fronting(server, tmp_path) as front,
        RawCaller(front.url, running) as caller,
    ):
        caller.read_until(b"data:")
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: (refused := front.post(CHAT, SHORT))[0] == 503 and "shutting_down" in refused[2])
        caller.read_all()
        assert caller.data[-1] == "[DONE]"


def workers_of(front: Front) -> set[int]:
    """The process ids of its workers, which its ready file names."""
    return set(json.loads((front.log.parent / "front.json").read_text())["worker_pids"])


def total(page: bytes) -> float:
    """How many requests a metrics page has counted."""
    return sum(
        float(line.split()[-1]) for line in page.splitlines() if line.startswith(b"nemotron_front_requests_total")
    )


def test_workers_share_the_port_and_the_metrics_and_are_started_again(patient_server: Server, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("old")
    options = ["--workers", "2", "--api-key-file", str(keys)]

    def ask(key: str = "old", path: str = CHAT) -> tuple[int, bytes]:
        method = "POST" if path == CHAT else "GET"
        body = question("Hi", max_tokens=2) if path == CHAT else b""
        with RawCaller(front.url, body, path, method=method, headers={"Authorization": f"Bearer {key}"}) as caller:
            caller.read_all()
        return caller.status, caller.received

    with fronting(patient_server, tmp_path, *options) as front:
        first = workers_of(front)
        assert len(first) == 2
        assert [ask()[0] for _ in range(20)] == [200] * 20
        counted = b'requests_total{endpoint="/v1/chat/completions",mode="whole",outcome="ok"} 20.0'
        assert {counted in ask(path="/metrics")[1] for _ in range(10)} == {True}

        keys.write_text("new")
        front.process.send_signal(signal.SIGHUP)
        wait_until(lambda: [ask(key)[0] for key in ["old", "new"] * 10] == [401, 200] * 10)

        with contextlib.ExitStack() as streams:  # in both of them, mostly
            for _ in range(6):
                bearer = {"Authorization": "Bearer new"}
                streams.enter_context(RawCaller(front.url, {**LONG, "stream": True}, headers=bearer)).read_until(
                    b"data:"
                )
            before = ask("new", path="/metrics")[1]
            os.kill(min(first), signal.SIGKILL)
            wait_until(lambda: len(workers_of(front)) == 2 and min(first) not in workers_of(front), 60)
        assert ask("new")[0] == 200
        wait_until(lambda: b"nemotron_front_in_flight 1.0" in ask("new", path="/metrics")[1])
        assert total(ask("new", path="/metrics")[1]) > total(before)

        with RawCaller(front.url, {**SHORT, "stream": True}, headers={"Authorization": "Bearer new"}) as caller:
            caller.read_until(b"data:")
            workers = workers_of(front)
            front.process.send_signal(signal.SIGTERM)
            assert caller.read_all().endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        assert front.process.wait(30) == 0
    assert not [pid for pid in workers if psutil.pid_exists(pid)]
    assert not (tmp_path / "front.json").exists()


EARLY = {"alone": [], "workers": ["--workers", "2"]}


@contextlib.contextmanager
def starting(directory: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A front that has read its command line and loads its libraries, and its ready file."""
    ready = directory / "front.json"
    command = [str(BIN / "nemotron-front"), "grpc://127.0.0.1:9", "--port", "0", "--ready-file", str(ready), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            blocked = re.compile(r"^SigBlk:\s*[0-9a-f]*[13579bdf]$", re.MULTILINE)  # SIGHUP is the first bit
            wait_until(lambda: blocked.search(Path(f"/proc/{process.pid}/status").read_text()) is not None, 30)
            yield process, ready
        finally:
            process.kill()


@pytest.mark.parametrize("name", EARLY)
def test_a_signal_to_read_the_keys_harms_nobody_who_starts(tmp_path: Path, name: str) -> None:
    with starting(tmp_path, *EARLY[name]) as (process, ready):

        def listens() -> bool:
            for one in (process.pid, *(child.pid for child in psutil.Process(process.pid).children())):
                os.kill(one, signal.SIGHUP)
            return ready.exists()

        wait_until(listens, 60)
        process.terminate()
        assert process.wait(60) == 0
        assert "Traceback" not in process.communicate()[1]


@pytest.mark.parametrize("name", EARLY)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_front_that_starts_is_stopped_without_a_trace(tmp_path: Path, name: str, number: signal.Signals) -> None:
    with starting(tmp_path, *EARLY[name]) as (process, ready):
        process.send_signal(number)
        assert process.wait(60) == 128 + number
        assert process.communicate()[1] == ""
        assert not ready.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_workers_that_start_are_stopped_with_all(tmp_path: Path, number: signal.Signals) -> None:
    with starting(tmp_path, "--workers", "2") as (process, ready):
        main = psutil.Process(process.pid)
        wait_until(lambda: len(main.children()) == 3, 60)  # with the process that tracks what they share
        family = main.children()
        for one in (main, *family):  # as ctrl-C in a terminal does
            with contextlib.suppress(psutil.NoSuchProcess):  # the first one has ended it by then
                one.send_signal(number)
        assert process.wait(60) == 0
        assert "Traceback" not in process.communicate()[1]
        wait_until(lambda: not [one for one in family if one.is_running()])
        assert not ready.exists()


def test_workers_end_with_the_process_that_started_them(patient_server: Server, tmp_path: Path) -> None:
    with fronting(patient_server, tmp_path, "--workers", "2") as front:
        workers = workers_of(front)
        front.process.kill()
        wait_until(lambda: not [pid for pid in workers if psutil.pid_exists(pid)], 20)


def test_a_front_that_nobody_listens_to_can_be_stopped(patient_server: Server) -> None:
    command = [str(BIN / "nemotron-front"), patient_server.grpc_url, "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    assert process.stderr is not None
    assert b"ready at" in process.stderr.readline()
    process.stderr.close()
    process.terminate()
    assert process.wait(30) == 0


def test_a_front_without_a_server_says_so_and_answers(unused_port: int) -> None:
    command = [str(BIN / "nemotron-front"), f"grpc://127.0.0.1:{unused_port}", "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with process.stderr as said:
        url = said.readline().split("ready at ")[1].split("/v1")[0]
        assert "no server is ready yet" in said.readline()
        with RawCaller(url, question("Hi")) as caller:
            assert b'"code":"not_ready"' in caller.read_all()
            assert caller.status == 503
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def test_a_port_in_use_is_told_in_one_line(patient_front: Front) -> None:
    port = str(urlsplit(patient_front.url).port)
    command = [str(BIN / "nemotron-front"), "--port", port]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"nemotron-front: --bind 127.0.0.1 --port {port} cannot be used: ")
    assert done.stderr.count("\n") == 1
