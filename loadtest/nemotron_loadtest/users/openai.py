"""Users of any server that has OpenAI's API, over HTTP/1.1."""

from __future__ import annotations

import http.client
import itertools
import os
import socket
import ssl
import time
from collections import defaultdict
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from nemotron_client import (
    InvalidRequestError,
    ModelNotReadyError,
    NemotronError,
    OverloadedError,
    RequestTimeoutError,
    ServerUnavailableError,
)
from nemotron_client._transports.http_codec import EventReader
from nemotron_loadtest.clock import RunClock
from nemotron_loadtest.errors import ScenarioError, UnreachableError
from nemotron_loadtest.scenario import OpenAI, speaks_openai
from nemotron_loadtest.users.asker import Answer, Asker, OnSample, Running
from nemotron_loadtest.users.openai_chat import ChunkReader, error_in, error_of, request_of
from nemotron_loadtest.workload import RequestSpec

KEY_VARIABLES = ("NEMOTRON_API_KEY", "OPENAI_API_KEY")
_PATIENCE_S = 120.0
_LEAST_S = 0.001  # a timeout of 0 would mean none
_AGAIN_S = 0.2
_READ_BYTES = 65_536

_Sent = tuple[http.client.HTTPConnection, socket.socket, http.client.HTTPResponse]


class OpenAIServer:
    """Servers with OpenAI's API at some URLs, with the same model.

    Attributes:
        urls: Without a slash at the end.
        model: The name that they know it by; empty until one of them was asked.
        way: How they want to be spoken to.
    """

    def __init__(self, urls: tuple[str, ...], way: OpenAI) -> None:
        """Check what can be checked without asking.

        Raises:
            ScenarioError: no URL of this API, a password in one, or a file of keys that has none.
        """
        if not urls:
            raise ScenarioError("user 'openai_stream' has no server, expected --url http://HOST:PORT/v1")
        for url in urls:
            if "@" in urlsplit(url).netloc:
                raise ScenarioError("A URL of OpenAI's API has a user in it; give a key with --api-key-file FILE")
            if urlsplit(url).scheme not in ("http", "https") or not speaks_openai(url):
                raise ScenarioError(f"{url} does not go with user 'openai_stream', expected http://HOST:PORT/v1")
        self.urls = tuple(url.rstrip("/") for url in urls)
        self.model = way.model or ""
        self.way = way
        self._key = _key(way.api_key_file)
        self._tls = ssl.create_default_context() if any(url.startswith("https") for url in urls) else None

    def wait_ready(self, timeout_s: float, trial: RequestSpec) -> None:
        """Return when a trial request is being answered, which is left then.

        Raises:
            UnreachableError: nobody answers in this time; ScenarioError: the server refuses what it is asked.
        """
        until = time.monotonic() + timeout_s
        while True:
            try:
                self.model = self.model or self._first_model()
                self._try(trial)
            except (ServerUnavailableError, ModelNotReadyError) as error:
                if time.monotonic() > until:
                    raise UnreachableError(str(error)) from None
            except OverloadedError:  # it is there
                return
            except NemotronError as error:
                raise ScenarioError(
                    f"{error.url} refuses a trial request: {error}. The scenario's table [openai] says how the server "
                    "is told of the model, thinking and counts"
                ) from None
            else:
                return
            time.sleep(_AGAIN_S)

    def connection(self, url: str) -> http.client.HTTPConnection:
        """A connection that is not open yet."""
        parts = urlsplit(url)
        if parts.scheme == "https":
            return http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=_PATIENCE_S, context=self._tls)
        return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_PATIENCE_S)

    def headers(self, request_id: str) -> dict[str, str]:
        """Of a request."""
        key = {"authorization": f"Bearer {self._key}"} if self._key else {}
        return {"content-type": "application/json", "x-request-id": request_id, **key}

    def close(self) -> None:
        """There is nothing to close: an asker has the connections."""

    def _first_model(self) -> str:
        url = self.urls[0]
        found = self._ask("GET", f"{url}/models", None)
        try:
            return str(msgspec.json.decode(found)["data"][0]["id"])
        except (msgspec.DecodeError, LookupError, TypeError):
            raise InvalidRequestError(f"{url}/models names no model; say --model", request_id="", url=url) from None

    def _try(self, trial: RequestSpec) -> None:
        path, body, _ = request_of(trial, self.model, self.way)
        for url in self.urls:
            self._ask("POST", url + path, body)

    def _ask(self, method: str, url: str, body: bytes | None) -> bytes:
        """The body of what was asked for; of a stream, which is left, its beginning."""
        where = {"request_id": "", "url": url}
        connection = self.connection(url)
        try:
            connection.request(method, urlsplit(url).path, body, self.headers("trial"))
            response = connection.getresponse()
            content = response.read1(_READ_BYTES) if response.length is None else response.read()
        except (OSError, http.client.HTTPException) as error:
            raise ServerUnavailableError(f"{url} cannot be reached ({error})", **where) from None
        finally:
            connection.close()
        if response.status != http.HTTPStatus.OK:
            raise error_of(response.status, error_in(content), **where)
        response.close()
        return content


def _key(path: str | None) -> str:
    """The first key of a file, else that of the environment; may be empty."""
    if path is None:
        return next((os.environ[name] for name in KEY_VARIABLES if os.environ.get(name)), "")
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: {error}, expected a file with a key") from None
    key = next((line for line in lines if line and not line.startswith("#")), None)
    if key is None:
        raise ScenarioError(f"{path}: there is no key in it, expected one on a line of its own")
    return key


class OpenAIAsker(Asker):
    """Users who read the answer while it is written. Who leaves closes the connection, as every client of this API.

    Requests go to the servers in turn. A connection is used again for the next request, as a program's client does.
    """

    def __init__(self, server: OpenAIServer, clock: RunClock, on_sample: OnSample, worker: str = "0") -> None:
        super().__init__("openai_stream", clock, on_sample, worker)
        self._server = server
        self._turns = itertools.cycle(server.urls)
        self._idle: dict[str, list[http.client.HTTPConnection]] = defaultdict(list)

    def close(self) -> None:
        """See `Asker.close`."""
        for connection in itertools.chain.from_iterable(self._idle.values()):
            connection.close()
        self._idle.clear()

    def _send(self, spec: RequestSpec, running: Running, answer: Answer) -> None:
        path, body, timeout_s = request_of(spec, self._server.model, self._server.way)
        url, begin_s = next(self._turns), self._clock.now()
        where = {"request_id": running.request_id, "url": url}
        reader = ChunkReader(begin_s, **where)
        try:
            sent = self._post(url, path, body, running, begin_s + timeout_s)
            if sent is not None:
                self._read(sent, reader, begin_s + timeout_s, where)
                running.abort = None  # the connection is another's from here on
                self._keep(url, sent)
        except TimeoutError:
            raise RequestTimeoutError("No whole answer in time", phase="total", **where) from None
        except (OSError, http.client.HTTPException) as error:
            raise ServerUnavailableError(f"The connection to {url} broke ({error})", **where) from None
        finally:
            reader.fill(answer, self._clock.now())

    def _post(self, url: str, path: str, body: bytes, running: Running, until_s: float) -> _Sent | None:
        """Send a request and wait for the head of its response; None if its user has left before."""
        headers = self._server.headers(running.request_id)
        while True:
            used = bool(self._idle[url])
            connection = self._idle[url].pop() if used else self._server.connection(url)
            try:
                if connection.sock is None:
                    connection.connect()
                line: socket.socket = connection.sock
                # Wakes whoever reads, which a close from elsewhere does not.
                running.abort = partial(_hang_up, line)
                if running.left is not None:  # before there was something to abort
                    connection.close()
                    return None
                line.settimeout(max(_LEAST_S, until_s - self._clock.now()))
                connection.request("POST", urlsplit(url).path + path, body, headers)
                return connection, line, connection.getresponse()
            except ConnectionError:
                connection.close()
                if not used or running.left is not None:  # servers close connections that were idle for long
                    raise
            except BaseException:
                connection.close()
                raise

    def _read(self, sent: _Sent, reader: ChunkReader, until_s: float, where: dict[str, str]) -> None:
        connection, line, response = sent
        try:
            if response.status != http.HTTPStatus.OK:
                raise error_of(response.status, error_in(response.read()), **where)
            events = EventReader()
            while content := response.read1(_READ_BYTES):
                now_s = self._clock.now()
                for event in events.events_in(content):
                    reader.take(event, now_s)
                line.settimeout(max(_LEAST_S, until_s - now_s))
            reader.end()
        except BaseException:
            response.close()
            connection.close()
            raise

    def _keep(self, url: str, sent: _Sent) -> None:
        connection, _, response = sent
        if not response.will_close:
            self._idle[url].append(connection)


def _hang_up(line: socket.socket) -> None:
    with suppress(OSError):  # it has ended already
        line.shutdown(socket.SHUT_RDWR)
