"""TLS and mutual TLS over HTTP, and every way in which the two sides may not trust each other."""

from __future__ import annotations

import contextlib
import shutil
import ssl
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from nemotron_client import ServerUnavailableError, TlsError
from nemotron_client._transports import Connection, Tls
from nemotron_client._transports.http_async import AsyncHttpTransport
from nemotron_client._transports.http_sync import HttpTransport
from tests.unit.client.http_peer import (
    END,
    QUICK_S,
    STREAM_HEAD,
    WAIT_S,
    Async,
    Caller,
    PeerConnection,
    Sync,
    call,
    event,
    peer,
)

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificates with openssl")


@dataclass
class Identity:
    """A certificate that signed itself, and its key."""

    cert: str
    key: str


@pytest.fixture(scope="module")
def identities(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Identity]:
    directory = tmp_path_factory.mktemp("tls")
    return {
        name: _make(directory, name, address)
        for name, address in (("server", "127.0.0.1"), ("elsewhere", "127.0.0.2"), ("client", "127.0.0.3"))
    }


def _make(directory: Path, name: str, address: str) -> Identity:
    cert, key = str(directory / f"{name}.crt"), str(directory / f"{name}.key")
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subject = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=IP:{address}"]
    command = ["openssl", "req", "-x509", *kind, "-keyout", key, "-out", cert, *subject]
    subprocess.run(command, check=True, capture_output=True)
    return Identity(cert, key)


@pytest.fixture(params=[Sync, Async], ids=["sync", "async"])
def caller(request: pytest.FixtureRequest) -> Caller:
    made: Caller = request.param()
    return made


def server_side(own: Identity, client_ca: str | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(own.cert, own.key)
    if client_ca:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def one_event(connection: PeerConnection) -> None:
    while connection.request():
        connection.send(STREAM_HEAD, event("a"), END)


def trying(connection: PeerConnection) -> None:
    """As `one_event`, for a client that may leave at any time."""
    with contextlib.suppress(OSError):
        one_event(connection)


def test_a_server_whose_authority_is_given(caller: Caller, identities: dict[str, Identity]) -> None:
    own = identities["server"]
    with peer(one_event, server_side(own)) as there:
        assert there.url.startswith("https://")
        outcome = caller.read(there.url, call("1"), call("2"), connection=Connection(Tls(ca=own.cert)))
    assert (outcome.texts, outcome.error) == (["a", "a"], None)
    assert there.connections == 1


def test_mutual_tls(caller: Caller, identities: dict[str, Identity]) -> None:
    own, client = identities["server"], identities["client"]
    with peer(one_event, server_side(own, client.cert)) as there:
        tls = Tls(own.cert, client.cert, client.key)
        assert caller.read(there.url, connection=Connection(tls)).texts == ["a"]


def test_who_is_not_trusted(caller: Caller, identities: dict[str, Identity]) -> None:
    own, other = identities["server"], identities["elsewhere"]
    for server, ca in ((own, None), (own, other.cert), (other, other.cert)):  # unknown twice, then another host's
        with peer(trying, server_side(server)) as there:
            error = caller.read(there.url, connection=Connection(Tls(ca=ca))).error
        assert type(error) is TlsError
        assert error.request_id == "request-1"


def test_a_client_without_the_certificate_that_is_asked_for(caller: Caller, identities: dict[str, Identity]) -> None:
    own, client, other = (identities[name] for name in ("server", "client", "elsewhere"))
    for tls in (Tls(own.cert), Tls(own.cert, other.cert, other.key)):
        with peer(trying, server_side(own, client.cert)) as there:
            assert type(caller.read(there.url, connection=Connection(tls)).error) is TlsError


def test_tls_on_one_side_only(caller: Caller, identities: dict[str, Identity]) -> None:
    def plain(connection: PeerConnection) -> None:
        connection.socket.recv(65536)
        connection.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with peer(plain, scheme="https") as there:
        assert type(caller.read(there.url).error) is TlsError
    with peer(trying, server_side(identities["server"]), scheme="http") as there:
        assert type(caller.read(there.url).error) is ServerUnavailableError


@pytest.mark.parametrize("transport", [HttpTransport, AsyncHttpTransport])
def test_files_that_cannot_be_used_are_named(
    transport: type[HttpTransport | AsyncHttpTransport], identities: dict[str, Identity], tmp_path: Path
) -> None:
    own = identities["server"]
    (tmp_path / "empty").write_text("")
    for tls in (Tls(ca=str(tmp_path / "none")), Tls(ca=str(tmp_path / "empty")), Tls(own.cert, own.cert, "no-key")):
        with pytest.raises(ValueError, match=r"^tls: ") as caught:
            transport("https://127.0.0.1:1", Connection(tls))
        assert str(tls.key or tls.ca) in str(caught.value)


@pytest.mark.parametrize("spoken", [False, True], ids=["before the head", "in mid-stream"])
def test_another_thread_wakes_a_read(identities: dict[str, Identity], spoken: bool) -> None:
    own = identities["server"]
    asked = threading.Event()

    def begins(connection: PeerConnection) -> None:
        connection.request()
        if spoken:
            connection.send(STREAM_HEAD, event("a"))
        asked.set()
        connection.wait_for_end()

    with peer(begins, server_side(own)) as there:
        transport = HttpTransport(there.url, Connection(Tls(ca=own.cert)))
        stream = transport.open(call())
        if spoken:
            assert next(stream)["content"] == "a"
        errors: list[Exception] = []

        def read() -> None:
            try:
                next(stream)
            except Exception as error:
                errors.append(error)

        reader = threading.Thread(target=read)
        reader.start()
        assert asked.wait(WAIT_S)
        begin = time.monotonic()
        stream.abort()
        reader.join(WAIT_S)
        assert time.monotonic() - begin < QUICK_S
        assert [type(error) for error in errors] == [ServerUnavailableError]
        transport.close()
