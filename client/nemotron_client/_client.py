"""The client for threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, TypeVar, Unpack

from nemotron_client import _defaults, _probes
from nemotron_client._batch import BatchResult, Conversation, batch
from nemotron_client._contract import ENSEMBLE, Options
from nemotron_client._errors import InvalidRequestError, NemotronError
from nemotron_client._probes import Answer, ReadyWait, any_yes, may_take_requests
from nemotron_client._request import (
    cancel_call,
    chat_call,
    detokenize_call,
    end_thinking_call,
    ends_thinking,
    generate_call,
    ready_call,
    stands_for_completions,
    token_ids_of,
    tokenize_call,
)
from nemotron_client._retries import Replicas
from nemotron_client._settings import NOT_GIVEN, Headers, NotGiven, Settings
from nemotron_client._streams import ChatStream, Exchange, Shared
from nemotron_client._timeouts import Timeouts
from nemotron_client._transports import Call, Connection, Tls, Transport, transport_for
from nemotron_client._types import Message, Reply, ServerInfo, TokenizedPrompt

_T = TypeVar("_T")


class Client:
    """A connection to one server, or to several that serve the same package. Thread-safe: calls run side by side."""

    def __init__(
        self,
        url: str | Sequence[str] | None = None,
        *,
        timeouts: Timeouts | float | None = Timeouts(),  # noqa: B008 - frozen
        max_retries: int = _defaults.MAX_RETRIES,
        headers: Headers = {},  # noqa: B006 - never changed
        tls: Tls | None = None,
        compression: str | None = None,
        keepalive_time_s: float = _defaults.KEEPALIVE_TIME_S,
        keepalive_timeout_s: float = _defaults.KEEPALIVE_TIMEOUT_S,
        sessions: int = _defaults.SESSIONS,
        session_max_age_s: float = _defaults.SESSION_MAX_AGE_S,
        metrics_url: str | None = None,
        transport: Transport | None = None,
    ) -> None:
        """Prepare the connections; nothing is sent yet.

        Args:
            url: `grpc://HOST:PORT`, `grpcs://` with TLS, or the same with `http://` and `https://`. Several take
                turns, and one that fails is passed over for a while. None: what NEMOTRON_URL names (with commas
                between several), else grpc://127.0.0.1:8001.
            timeouts: How long a request may take, by part; a number limits the total alone, None nothing.
            max_retries: How often a request that found no server, or a full one, is tried again.
            headers: Sent with each call, or a function that makes them anew for each: a token that expires.
                `nemotron-caller`, a secret, says whose requests and stops they are; see docs/client/cancel.md.
            tls: Certificates, for `grpcs://` and `https://`.
            compression: `gzip`, for what is sent over gRPC; Triton takes none over HTTP, where a gateway may answer so.
            keepalive_time_s: A connection that is silent this long in the middle of a request is asked for a sign of
                life.
            keepalive_timeout_s: A connection that gives no sign of life for this long is broken.
            sessions: How many gRPC streams, each on a connection of its own, carry the requests to each server: several
                behind a balancer; 0 for one for each request.
            session_max_age_s: An older one takes no further request, and another one is opened.
            metrics_url: Where the server has its metrics page; else what NEMOTRON_METRICS_URL names if `url` is None
                too, else port 8002 of the first URL's host.
            transport: Takes the place of the network, for tests.

        Raises:
            ValueError: another scheme, or a setting out of its range.
        """
        self._settings = Settings(Timeouts.of(timeouts), max_retries, headers, compression)
        urls = [transport.url] if transport else _defaults.urls(url)
        connection = Connection(
            tls,
            self._settings.timeouts.connect,
            keepalive_time_s,
            keepalive_timeout_s,
            sessions,
            session_max_age_s,
        )
        transports = [transport] if transport else [transport_for(one, connection) for one in urls]
        self._shared = Shared(transports, Replicas(urls))
        self._metrics_url = metrics_url or _probes.metrics_url(urls[0], named=bool(url or transport))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.urls))})"

    @property
    def urls(self) -> tuple[str, ...]:
        """The servers."""
        return self._shared.replicas.urls

    @property
    def metrics_url(self) -> str:
        """Where `metrics` reads the server's metrics."""
        return self._metrics_url

    @stands_for_completions
    def chat(self, messages: Iterable[Message], **options: Unpack[Options]) -> Reply:
        """Send a conversation and wait for the whole answer.

        Args:
            messages: OpenAI's shape, `{"role": "user", "content": "…"}`, or `UserMessage("…")` and its siblings.
            options: See `Options`.

        Raises:
            NemotronError: the request failed; the subclasses say how.
            TypeError: an option that does not exist, or of another type.
            ValueError: a number out of its type's range.
        """
        with self.stream_chat(messages, **options) as stream:
            return stream.get_final()

    def stream_chat(self, messages: Iterable[Message], **options: Unpack[Options]) -> ChatStream:
        """Send a conversation and read the answer while it is written.

        Takes what `chat` takes. Use the stream in a `with` block: leaving it early cancels the answer on the server.
        """
        return self._stream(chat_call(messages, options), options)

    def generate(self, prompt: str, **options: Unpack[Options]) -> Reply:
        """Continue a complete prompt, control tokens included, and wait for all of it.

        Do not build the prompt from untrusted text: that is what `chat` is for. Raises what `chat` raises.
        """
        with self.stream_generate(prompt, **options) as stream:
            return stream.get_final()

    def stream_generate(self, prompt: str, **options: Unpack[Options]) -> ChatStream:
        """Continue a complete prompt and read the text while it is written. See `generate` and `stream_chat`."""
        return self._stream(generate_call(prompt, options), options)

    def batch(
        self,
        conversations: Iterable[Conversation],
        *,
        concurrency: int = _defaults.BATCH_CONCURRENCY,
        in_order: bool = True,
        **options: Unpack[Options],
    ) -> Generator[BatchResult, None, None]:
        """Answer many conversations, several at a time; one that fails fails alone.

        Conversations are taken as they are needed, in the thread that reads the results: an iterator of a million is
        fine. Leaving the loop over the results and forgetting them, or their `close()`, cancels what runs.

        Args:
            conversations: Lists of messages, or BatchItem for one with options of its own.
            concurrency: How many are answered at the same time.
            in_order: Results in the order of the conversations; else each as soon as it is there.
            options: What goes for all of them, see `Options`.

        Raises:
            TypeError: an option that does not exist, or of another type.
            ValueError: a number out of its range.
        """
        return batch(self, conversations, concurrency, in_order, options)

    def cancel(self, request_id: str) -> None:
        """Stop a request on the server that has it, and wait until it has heard; an unknown one is ignored.

        The request may be another client's. Its stream then ends with the finish reason `cancelled`.
        """
        call = cancel_call(request_id, self._headers())
        running = self._shared.running.get(request_id)
        transports = [running.transport] if running else self._shared.transports
        heard = [threading.Event() for _ in transports]
        for transport, event in zip(transports, heard, strict=True):
            transport.post(call, _defaults.CANCEL_TIMEOUT_S, event.set)
        for event in heard:
            event.wait(_defaults.CANCEL_TIMEOUT_S)

    def end_thinking(self, request_id: str) -> bool:
        """Have the model answer a request now, on the server that has it. See `ChatStream.end_thinking`.

        The request may be another client's, as for `cancel`.

        Returns:
            Whether its thinking ends by that; False also for a request that is nowhere.

        Raises:
            NemotronError: no server says that it does, and one cannot be asked.
        """
        call = end_thinking_call(request_id, self._headers())
        running = self._shared.running.get(request_id)

        def ends(transport: Transport) -> bool:
            return ends_thinking(transport.ask(call, _defaults.CANCEL_TIMEOUT_S))

        return any_yes(self._asked(ends, [running.transport] if running else self._shared.transports))

    def is_live(self) -> bool:
        """Whether a server answers at all."""
        headers = self._headers()
        return True in self._asked(lambda one: one.is_live(headers, _defaults.PROBE_TIMEOUT_S))

    def is_ready(self) -> bool:
        """Whether a server takes requests: its model is loaded, and it is neither shutting down nor hanging."""
        return True in self._readiness(lambda: _defaults.PROBE_TIMEOUT_S)

    def wait_ready(self, timeout_s: float = _defaults.READY_TIMEOUT_S) -> None:
        """Wait until a server takes requests.

        Raises:
            ModelNotReadyError: a server answers, but its model is not loaded in this time.
            ServerUnavailableError: no server answers in this time.
            AuthenticationError: none takes the credentials; raised at once, as is TlsError.
        """
        wait = ReadyWait(self.urls, timeout_s)
        while (pause := wait.pause_after(self._readiness(wait.probe_timeout_s))) is not None:
            time.sleep(pause)

    def server_info(self) -> ServerInfo:
        """What the first server that answers says of itself, and which model it serves.

        Raises:
            NemotronError: none answers.
        """
        headers = self._headers()
        return self._first(
            lambda one: ServerInfo.of(one.url, one.metadata(headers, _defaults.PROBE_TIMEOUT_S)),
        )

    def tokenize(self, messages: Iterable[Message] | str, **options: Unpack[Options]) -> TokenizedPrompt:
        """The prompt that the model would read, as tokens and as text. Nothing is generated.

        Args:
            messages: A conversation, as for `chat`; or a complete prompt, as for `generate`.
            options: What `chat` would get as well: tools and thinking are in the prompt.

        Raises:
            NemotronError: as for `chat`; InvalidRequestError for a prompt that is longer than the server takes.
            TypeError: as for `chat`, as is ValueError.
        """
        answer = self._tokenizer(tokenize_call(messages, options, text=True))
        return TokenizedPrompt(token_ids_of(answer), answer["prompt_text"])

    def count_tokens(self, messages: Iterable[Message] | str, **options: Unpack[Options]) -> int:
        """The number of tokens of a prompt: what `usage.prompt_tokens` would be. See `tokenize`."""
        return len(token_ids_of(self._tokenizer(tokenize_call(messages, options, text=False))))

    def detokenize(self, token_ids: Sequence[int]) -> str:
        """The text of tokens, control tokens by their names; what is no UTF-8 becomes U+FFFD.

        Raises:
            NemotronError: as for `chat`; InvalidRequestError for an id that the model does not have, or too many.
            TypeError: something else than whole numbers.
            ValueError: no ids, or numbers out of their type's range.
        """
        return str(self._tokenizer(detokenize_call(token_ids))["prompt_text"])

    def metrics(self) -> _probes.Metrics:
        """The values on the server's metrics page: name → a list of labels and value.

        Raises:
            ServerUnavailableError: the page cannot be had.
        """
        return _probes.fetch(self._metrics_url)

    def with_options(
        self,
        *,
        timeouts: Timeouts | float | NotGiven | None = NOT_GIVEN,
        max_retries: int | NotGiven = NOT_GIVEN,
        headers: Headers | NotGiven = NOT_GIVEN,
        compression: str | NotGiven | None = NOT_GIVEN,
    ) -> Client:
        """A copy with other settings, on the same connections: closing one closes both.

        Takes what the constructor takes; what is left out stays as it is.

        Raises:
            ValueError: a setting out of its range, or another connect timeout: the connection stands already.
        """
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy._settings = self._settings.changed(
            timeouts=timeouts, max_retries=max_retries, headers=headers, compression=compression
        )
        return copy

    def close(self) -> None:
        """Close the connections. Running streams are cancelled."""
        self._shared.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _stream(self, call: Call, options: Options) -> ChatStream:
        return ChatStream(Exchange(self._shared, self._settings, call, options.get("response_format")))

    def _headers(self) -> dict[str, str]:
        self._shared.check()
        return self._settings.made_headers()

    def _readiness(self, timeout_s: Callable[[], float]) -> list[Answer]:
        headers = self._headers()

        def takes_requests(transport: Transport) -> bool:
            if not transport.is_ready(ENSEMBLE, headers, timeout_s()):
                return False
            try:
                transport.ask(ready_call(headers), timeout_s())
            except NemotronError as error:
                if not may_take_requests(error):
                    raise
            return True

        return self._asked(takes_requests)

    def _tokenizer(self, call: Call) -> dict[str, Any]:
        call = replace(call, headers=self._headers())
        return self._first(lambda one: one.ask(call, _defaults.TOKENIZE_TIMEOUT_S))

    def _first(self, question: Callable[[Transport], _T]) -> _T:
        """What the first server that can be asked answers."""
        *others, last = self._shared.transports
        for transport in others:
            try:
                return question(transport)
            except InvalidRequestError:  # it is to all of them
                raise
            except NemotronError:
                continue
        return question(last)

    def _asked(
        self, question: Callable[[Transport], bool], transports: Sequence[Transport] | None = None
    ) -> list[Answer]:
        """What the servers answer, or these of them, up to the first yes."""
        answers: list[Answer] = []
        for transport in transports or self._shared.transports:
            try:
                answers.append(question(transport))
            except NemotronError as error:
                answers.append(error)
            if answers[-1] is True:
                break
        return answers
