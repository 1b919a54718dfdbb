"""The client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, TypeVar, Unpack

from nemotron_client import _defaults, _probes
from nemotron_client._async_streams import AsyncChatStream, AsyncExchange, AsyncShared
from nemotron_client._batch import BatchResult, Conversation, batch_async
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
from nemotron_client._settings import NOT_GIVEN, AsyncHeaders, NotGiven, Settings
from nemotron_client._timeouts import Timeouts
from nemotron_client._transports import AsyncTransport, Call, Connection, Tls, async_transport_for
from nemotron_client._types import Message, Reply, ServerInfo, TokenizedPrompt

_T = TypeVar("_T")


class AsyncClient:
    """`Client` for asyncio: the same methods, to be awaited. Belongs to the event loop of its first call."""

    def __init__(
        self,
        url: str | Sequence[str] | None = None,
        *,
        timeouts: Timeouts | float | None = Timeouts(),  # noqa: B008 - frozen
        max_retries: int = _defaults.MAX_RETRIES,
        headers: AsyncHeaders = {},  # noqa: B006 - never changed
        tls: Tls | None = None,
        compression: str | None = None,
        keepalive_time_s: float = _defaults.KEEPALIVE_TIME_S,
        keepalive_timeout_s: float = _defaults.KEEPALIVE_TIMEOUT_S,
        sessions: int = _defaults.SESSIONS,
        session_max_age_s: float = _defaults.SESSION_MAX_AGE_S,
        metrics_url: str | None = None,
        transport: AsyncTransport | None = None,
    ) -> None:
        """Prepare the connections; nothing is sent yet, and no event loop needs to run.

        Takes and raises what `Client` takes and raises; the function for `headers` may be asynchronous.
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
        transports = [transport] if transport else [async_transport_for(one, connection) for one in urls]
        self._shared = AsyncShared(transports, Replicas(urls))
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
    async def chat(self, messages: Iterable[Message], **options: Unpack[Options]) -> Reply:
        """Send a conversation and wait for the whole answer. See `Client.chat`."""
        async with self.stream_chat(messages, **options) as stream:
            return await stream.get_final()

    def stream_chat(self, messages: Iterable[Message], **options: Unpack[Options]) -> AsyncChatStream:
        """Send a conversation and read the answer while it is written: `async with client.stream_chat(…) as stream`.

        Takes what `chat` takes. Leaving the block early cancels the answer on the server.
        """
        return self._stream(chat_call(messages, options), options)

    async def generate(self, prompt: str, **options: Unpack[Options]) -> Reply:
        """Continue a complete prompt and wait for all of it. See `Client.generate`."""
        async with self.stream_generate(prompt, **options) as stream:
            return await stream.get_final()

    def stream_generate(self, prompt: str, **options: Unpack[Options]) -> AsyncChatStream:
        """Continue a complete prompt and read the text while it is written. See `generate` and `stream_chat`."""
        return self._stream(generate_call(prompt, options), options)

    def batch(
        self,
        conversations: Iterable[Conversation] | AsyncIterable[Conversation],
        *,
        concurrency: int = _defaults.BATCH_CONCURRENCY,
        in_order: bool = True,
        **options: Unpack[Options],
    ) -> AsyncGenerator[BatchResult, None]:
        """Answer many conversations: `async for result in client.batch(…)`. See `Client.batch`.

        To stop early, `await results.aclose()`, or use `contextlib.aclosing`: it cancels what runs.
        """
        return batch_async(self, conversations, concurrency, in_order, options)

    async def cancel(self, request_id: str) -> None:
        """Stop a request on the server that has it, and wait until it has heard. See `Client.cancel`."""
        call = cancel_call(request_id, await self._headers())
        running = self._shared.running.get(request_id)
        transports = [running.transport] if running else self._shared.transports
        await asyncio.gather(*(transport.post(call, _defaults.CANCEL_TIMEOUT_S) for transport in transports))

    async def end_thinking(self, request_id: str) -> bool:
        """Have the model answer a request now, on the server that has it. See `Client.end_thinking`."""
        call = end_thinking_call(request_id, await self._headers())
        running = self._shared.running.get(request_id)

        async def ends(transport: AsyncTransport) -> bool:
            return ends_thinking(await transport.ask(call, _defaults.CANCEL_TIMEOUT_S))

        transports = [running.transport] if running else self._shared.transports
        return any_yes(await asyncio.gather(*(_answer(ends(transport)) for transport in transports)))

    async def is_live(self) -> bool:
        """Whether a server answers at all."""
        headers = await self._headers()
        live = (one.is_live(headers, _defaults.PROBE_TIMEOUT_S) for one in self._shared.transports)
        return True in await asyncio.gather(*map(_answer, live))

    async def is_ready(self) -> bool:
        """Whether a server takes requests: its model is loaded, and it is neither shutting down nor hanging."""
        return True in await self._readiness(lambda: _defaults.PROBE_TIMEOUT_S)

    async def wait_ready(self, timeout_s: float = _defaults.READY_TIMEOUT_S) -> None:
        """Wait until a server takes requests. Raises what `Client.wait_ready` raises."""
        wait = ReadyWait(self.urls, timeout_s)
        while (pause := wait.pause_after(await self._readiness(wait.probe_timeout_s))) is not None:  # noqa: ASYNC110
            await asyncio.sleep(pause)

    async def server_info(self) -> ServerInfo:
        """What the first server that answers says of itself. Raises what `Client.server_info` raises."""
        headers = await self._headers()

        async def ask(transport: AsyncTransport) -> ServerInfo:
            return ServerInfo.of(transport.url, await transport.metadata(headers, _defaults.PROBE_TIMEOUT_S))

        return await self._first(ask)

    async def tokenize(self, messages: Iterable[Message] | str, **options: Unpack[Options]) -> TokenizedPrompt:
        """The prompt that the model would read, as tokens and as text. See `Client.tokenize`."""
        answer = await self._tokenizer(tokenize_call(messages, options, text=True))
        return TokenizedPrompt(token_ids_of(answer), answer["prompt_text"])

    async def count_tokens(self, messages: Iterable[Message] | str, **options: Unpack[Options]) -> int:
        """The number of tokens of a prompt. See `Client.count_tokens`."""
        return len(token_ids_of(await self._tokenizer(tokenize_call(messages, options, text=False))))

    async def detokenize(self, token_ids: Sequence[int]) -> str:
        """The text of tokens. See `Client.detokenize`."""
        return str((await self._tokenizer(detokenize_call(token_ids)))["prompt_text"])

    async def metrics(self) -> _probes.Metrics:
        """The values on the server's metrics page. See `Client.metrics`."""
        return await asyncio.to_thread(_probes.fetch, self._metrics_url)

    def with_options(
        self,
        *,
        timeouts: Timeouts | float | NotGiven | None = NOT_GIVEN,
        max_retries: int | NotGiven = NOT_GIVEN,
        headers: AsyncHeaders | NotGiven = NOT_GIVEN,
        compression: str | NotGiven | None = NOT_GIVEN,
    ) -> AsyncClient:
        """A copy with other settings, on the same connections: closing one closes both. See `Client.with_options`."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy._settings = self._settings.changed(
            timeouts=timeouts, max_retries=max_retries, headers=headers, compression=compression
        )
        return copy

    async def close(self) -> None:
        """Close the connections. Running streams are cancelled."""
        await self._shared.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _headers(self) -> dict[str, str]:
        self._shared.check()
        return await self._settings.awaited_headers()

    async def _tokenizer(self, call: Call) -> dict[str, Any]:
        call = replace(call, headers=await self._headers())
        return await self._first(lambda one: one.ask(call, _defaults.TOKENIZE_TIMEOUT_S))

    async def _first(self, question: Callable[[AsyncTransport], Awaitable[_T]]) -> _T:
        """What the first server that can be asked answers."""
        *others, last = self._shared.transports
        for transport in others:
            try:
                return await question(transport)
            except InvalidRequestError:  # it is to all of them
                raise
            except NemotronError:
                continue
        return await question(last)

    async def _readiness(self, timeout_s: Callable[[], float]) -> list[Answer]:
        headers = await self._headers()

        async def takes_requests(transport: AsyncTransport) -> bool:
            if not await transport.is_ready(ENSEMBLE, headers, timeout_s()):
                return False
            try:
                await transport.ask(ready_call(headers), timeout_s())
            except NemotronError as error:
                if not may_take_requests(error):
                    raise
            return True

        return await asyncio.gather(*(_answer(takes_requests(one)) for one in self._shared.transports))

    def _stream(self, call: Call, options: Options) -> AsyncChatStream:
        return AsyncChatStream(AsyncExchange(self._shared, self._settings, call, options.get("response_format")))


async def _answer(question: Awaitable[bool]) -> Answer:
    try:
        return await question
    except NemotronError as error:
        return error
