"""What only HTTP has: gateways before a real Triton, connections that go dead, and connections that are kept."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from nemotron_client import (
    InvalidRequestError,
    NemotronError,
    RequestTimeoutError,
    ServerError,
    ServerUnavailableError,
    Timeouts,
    Tls,
    TlsError,
)
from tests.integration.client.conftest import ENDLESS, HI, RANDOM, Connect
from tests.integration.client.gateway import gateway
from tests.integration.conftest import Server
from tests.integration.test_failures import IN_FLIGHT, nothing_left
from tests.waiting import wait_until

QUICK_S = 20.0  # some milliseconds; what waits for the end of the answer takes minutes


def freed(server: Server) -> None:
    wait_until(lambda: nothing_left(server))


def connections_to(url: str) -> list[int]:
    """The local ports of this process's connections to a server."""
    port = urlsplit(url).port
    found = psutil.Process().net_connections("tcp")
    return [one.laddr.port for one in found if one.raddr and one.raddr.port == port and one.status == "ESTABLISHED"]


def test_connections_are_kept_and_only_as_many_as_calls_at_once(server: Server, connect: Connect) -> None:
    client = connect(server.http_url)
    for _ in range(10):
        client.chat(HI, max_tokens=1)
    (port,) = connections_to(server.http_url)
    streams = [client.stream_chat(RANDOM, max_tokens=5) for _ in range(4)]
    for stream in streams:
        stream.get_final()
    assert len(connections_to(server.http_url)) == 4
    assert port in connections_to(server.http_url)
    client.close()
    assert not connections_to(server.http_url)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/net/tcp")
def test_the_system_looks_after_silent_connections(server: Server, connect: Connect) -> None:
    with connect(server.http_url).stream_chat(RANDOM, max_tokens=200) as stream:
        next(stream)
        (port,) = connections_to(server.http_url)

        def kept_alive() -> bool:
            # Columns of a socket: its address is the second, and 02 in the sixth says that a keepalive is due.
            lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
            return any(line[1].endswith(f":{port:04X}") and line[5].startswith("02:") for line in lines)

        wait_until(kept_alive)


def test_a_gateway_with_mutual_tls(server: Server, connect: Connect, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("makes its certificate with openssl")
    cert, key = str(tmp_path / "both.crt"), str(tmp_path / "both.key")
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, *subject]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=cert)
    context.load_cert_chain(cert, key)
    context.verify_mode = ssl.CERT_REQUIRED
    with gateway(server.http_url, context) as front:
        client = connect(front.url, tls=Tls(cert, cert, key))
        assert client.is_ready()
        assert client.chat(HI, max_tokens=3).usage.output_tokens == 3
        with client.stream_chat(RANDOM, max_tokens=ENDLESS) as stream:
            next(stream)
            begin = time.perf_counter()
        assert time.perf_counter() - begin < QUICK_S
        freed(server)
        with pytest.raises(InvalidRequestError):
            client.chat(HI, max_tokens=-1)
        client.close()
        with pytest.raises(TlsError):
            connect(front.url, max_retries=0).chat(HI)


@pytest.mark.parametrize(
    ("frozen_from", "timeouts"),
    [("the start", Timeouts(first_token=0.4)), ("the first token", Timeouts(between_tokens=0.4))],
)
def test_a_connection_that_goes_dead(server: Server, connect: Connect, frozen_from: str, timeouts: Timeouts) -> None:
    """The timeout is kept; the cancel cannot get through either, and holds nobody up."""
    with gateway(server.http_url) as front:
        client = connect(front.url, timeouts=timeouts)
        front.frozen = frozen_from == "the start"
        begin = time.perf_counter()
        stream = client.stream_chat(RANDOM, max_tokens=ENDLESS, timeout_ms=3000)
        if not front.frozen:
            next(stream)
            front.frozen = True
        with pytest.raises(RequestTimeoutError) as caught:
            stream.get_final()
        assert caught.value.phase == ("first_token" if frozen_from == "the start" else "between_tokens")
        client.close()
        assert time.perf_counter() - begin < 0.4 + 2 * QUICK_S
    wait_until(lambda: nothing_left(server), 20)  # its own deadline


def test_leaving_a_dead_connection_returns_at_once_and_a_new_one_brings_the_cancel(
    server: Server, connect: Connect
) -> None:
    with gateway(server.http_url) as front:
        client = connect(front.url)
        stream = client.stream_chat(RANDOM, max_tokens=ENDLESS)
        next(stream)
        wait_until(lambda: server.metric(IN_FLIGHT) == 1)
        begin = time.perf_counter()
        stream.close()
        assert time.perf_counter() - begin < QUICK_S
        freed(server)


def test_a_gateway_whose_server_is_gone(connect: Connect, unused_port: int) -> None:
    with gateway(f"http://127.0.0.1:{unused_port}") as front:
        client = connect(front.url, max_retries=0)
        with pytest.raises(ServerUnavailableError, match="broke"):
            client.chat(HI)
        assert not client.is_live()


def test_a_url_that_is_another_service(server: Server, connect: Connect) -> None:
    """The port of the metrics."""
    url = str(server.info["metrics_url"]).removesuffix("/metrics")
    client = connect(url, max_retries=0)
    with pytest.raises(ServerError, match=f"{url} answered HTTP status 405"):
        client.chat(HI)
    with pytest.raises(NemotronError):
        client.server_info()


GEVENT = """
from gevent import monkey; monkey.patch_all()
import sys, time
import gevent
from nemotron_client import Client, RequestTimeoutError, StreamClosedError

random, stall = ([{"role": "user", "content": text}] for text in ("[sim:random]", "[sim:stall]"))
with Client(sys.argv[1], max_retries=0) as client:
    begin = time.perf_counter()
    calls = [gevent.spawn(client.chat, stall, max_tokens=20) for _ in range(40)]
    gevent.joinall(calls)
    replies = [call.get() for call in calls]
    assert [reply.usage.output_tokens for reply in replies] == [20] * 40
    assert time.perf_counter() - begin < 40  # each pauses for two seconds: one after the other, they take twice that
    begin = time.perf_counter()
    try:
        client.with_options(timeouts=0.3).chat(random, max_tokens=100_000)
    except RequestTimeoutError as error:
        assert error.phase == "total"
    stream = client.stream_chat(stall)
    next(stream)
    gevent.spawn_later(0.3, stream.close)
    try:
        stream.get_final()
    except StreamClosedError:
        assert time.perf_counter() - begin < 30
        print("closed")
"""


def test_greenlets_of_one_thread_run_side_by_side(server: Server) -> None:
    pytest.importorskip("gevent")
    command = [sys.executable, "-c", GEVENT, server.http_url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout.strip(), done.returncode) == ("closed", 0), done.stderr
    freed(server)
