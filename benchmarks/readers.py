"""Streams read by this client and by plain tritonclient: what they take of the process, and whether many end whole."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import gc
import json
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tritonclient.grpc as grpcclient
import tritonclient.grpc.aio as aioclient

from benchmarks.streams import tensor
from nemotron_client import AsyncClient, Client, Reply
from nemotron_client._contract import ALWAYS_READ, ENSEMBLE

# What the least a program can show needs.
_LEAN_ALWAYS_READ = ("content", "finish_reason", "num_output_tokens")
# Of many streams, one goes on only when all have begun, so that all are open at the same time.
_ALL_BEGIN_S = 60


@dataclass(frozen=True)
class Run:
    """Some answers, read side by side from begin to end.

    Attributes:
        events: Responses with text.
        wall_s: Seconds that passed.
        cpu_s: Processor time of all threads of this process, in user and in system mode.
    """

    events: int
    wall_s: float
    cpu_s: float

    @property
    def cpu_us_per_event(self) -> float:
        """Processor time an event."""
        return 1e6 * self.cpu_s / self.events


def read_async(address: str, prompt: str, streams: int, tokens: int) -> Run:
    """AsyncClient."""

    async def one(client: AsyncClient) -> int:
        texts = []
        async with client.stream_chat(_user(prompt), max_tokens=tokens) as stream:
            async for event in stream:
                texts.append(event.text)  # type: ignore[union-attr]  # the answer calls no tools
            reply = await stream.get_final()
        return _checked(texts, reply.usage.output_tokens, tokens)

    async def run() -> Run:
        async with AsyncClient(f"grpc://{address}") as client:
            assert await client.is_live()
            with _Measured() as measured:
                events = await asyncio.gather(*(one(client) for _ in range(streams)))
        return measured.run(events)

    return asyncio.run(run())


def read_sync(address: str, prompt: str, streams: int, tokens: int) -> Run:
    """Client, a thread a stream."""

    def one() -> int:
        texts = []
        with client.stream_chat(_user(prompt), max_tokens=tokens) as stream:
            for event in stream:
                texts.append(event.text)  # type: ignore[union-attr]
            reply = stream.get_final()
        return _checked(texts, reply.usage.output_tokens, tokens)

    with Client(f"grpc://{address}") as client:
        assert client.is_live()
        with _Measured() as measured:
            events = _in_threads([one] * streams)
    return measured.run(events)


def read_raw_async(address: str, prompt: str, streams: int, tokens: int, outputs: Sequence[str] = ALWAYS_READ) -> Run:
    """tritonclient.grpc.aio, every output of every response read as a Python value."""

    async def one(client: aioclient.InferenceServerClient) -> int:
        async def requests() -> AsyncIterator[dict[str, Any]]:
            yield {"model_name": ENSEMBLE, "inputs": _inputs(prompt, tokens), "outputs": _requested(outputs)}

        texts: list[str] = []
        values: dict[str, Any] = {}
        async for result, error in client.stream_infer(requests()):
            if error is not None:
                raise error
            values = _values(result, outputs)
            if values["content"]:
                texts.append(values["content"])
        return _checked(texts, values["num_output_tokens"], tokens)

    async def run() -> Run:
        async with aioclient.InferenceServerClient(address) as client:
            assert await client.is_server_live()
            with _Measured() as measured:
                events = await asyncio.gather(*(one(client) for _ in range(streams)))
        return measured.run(events)

    return asyncio.run(run())


def read_lean_async(address: str, prompt: str, streams: int, tokens: int) -> Run:
    """tritonclient.grpc.aio that asks for no more than the text, why it ends and how many tokens it has."""
    return read_raw_async(address, prompt, streams, tokens, _LEAN_ALWAYS_READ)


def read_raw_sync(address: str, prompt: str, streams: int, tokens: int) -> Run:
    """tritonclient.grpc with its callbacks; it has one stream a client, so there is a client a stream."""

    def one(client: grpcclient.InferenceServerClient) -> int:
        responses: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        client.start_stream(lambda result, error: responses.put((result, error)))
        client.async_stream_infer(ENSEMBLE, _inputs(prompt, tokens), outputs=_requested(ALWAYS_READ))
        texts: list[str] = []
        values: dict[str, Any] = {"finish_reason": ""}
        while not values["finish_reason"]:
            result, error = responses.get()
            if error is not None:
                raise error
            values = _values(result, ALWAYS_READ)
            if values["content"]:
                texts.append(values["content"])
        client.stop_stream()
        return _checked(texts, values["num_output_tokens"], tokens)

    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(grpcclient.InferenceServerClient(address)) for _ in range(streams)]
        assert all(client.is_server_live() for client in clients)
        with _Measured() as measured:
            events = _in_threads([functools.partial(one, client) for client in clients])
    return measured.run(events)


READERS: dict[str, Callable[[str, str, int, int], Run]] = {
    "raw_async": read_raw_async,
    "async": read_async,
    "lean_async": read_lean_async,
    "raw_sync": read_raw_sync,
    "sync": read_sync,
}


def whole_streams(url: str, prompt: str, streams: int, tokens: int) -> dict[str, dict[int, str]]:
    """Read so many streams with each client.

    Args:
        url: The server's address.
        prompt: What gives other tokens for each seed, up to `max_tokens`.
        streams: How many at once, with the seeds from 0.
        tokens: Output tokens of each.

    Returns:
        For `sync`, a thread a stream, and for `async`: the text by seed, of those that have ended whole. The same seed
        has the same text in both where no stream has got another's.
    """
    texts = {
        "sync": _whole_sync(url, prompt, streams, tokens),
        "async": asyncio.run(_whole_async(url, prompt, streams, tokens)),
    }
    return {
        kind: {seed: text for seed, text in enumerate(found) if isinstance(text, str)} for kind, found in texts.items()
    }


class _Measured:
    """What happens in a block, from its first line to its last."""

    def __enter__(self) -> _Measured:
        gc.collect()
        self._begin = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self._end = time.perf_counter(), time.process_time()

    def run(self, events: Sequence[int]) -> Run:
        return Run(sum(events), *(end - begin for begin, end in zip(self._begin, self._end, strict=True)))


def _whole_sync(url: str, prompt: str, streams: int, tokens: int) -> list[str | BaseException | None]:
    all_begun = threading.Barrier(streams)

    def one(client: Client, seed: int) -> str | None:
        with client.stream_chat(_user(prompt), max_tokens=tokens, seed=seed) as stream:
            events = [next(stream)]
            all_begun.wait(_ALL_BEGIN_S)
            events.extend(stream)
            return _whole(events, stream.get_final(), tokens)

    with Client(url) as client, concurrent.futures.ThreadPoolExecutor(streams) as threads:
        futures = [threads.submit(one, client, seed) for seed in range(streams)]
        return [future.exception() or future.result() for future in futures]


async def _whole_async(url: str, prompt: str, streams: int, tokens: int) -> list[str | BaseException | None]:
    begun, all_begun = 0, asyncio.Event()

    async def one(client: AsyncClient, seed: int) -> str | None:
        nonlocal begun
        async with client.stream_chat(_user(prompt), max_tokens=tokens, seed=seed) as stream:
            events = [await stream.__anext__()]
            begun += 1
            if begun == streams:
                all_begun.set()
            await asyncio.wait_for(all_begun.wait(), _ALL_BEGIN_S)
            events.extend([event async for event in stream])
            return _whole(events, await stream.get_final(), tokens)

    async with AsyncClient(url) as client:
        return await asyncio.gather(*(one(client, seed) for seed in range(streams)), return_exceptions=True)


def _user(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}]


def _in_threads(work: Sequence[Callable[[], int]]) -> list[int]:
    with concurrent.futures.ThreadPoolExecutor(len(work)) as threads:
        return [future.result() for future in [threads.submit(one) for one in work]]


def _inputs(prompt: str, tokens: int) -> list[grpcclient.InferInput]:
    return [
        tensor("messages", json.dumps(_user(prompt))),
        tensor("max_tokens", tokens),
        tensor("stream", True),
    ]


def _requested(outputs: Sequence[str]) -> list[grpcclient.InferRequestedOutput]:
    return [grpcclient.InferRequestedOutput(name) for name in outputs]


def _values(result: grpcclient.InferResult, outputs: Sequence[str]) -> dict[str, Any]:
    values = {name: result.as_numpy(name).item() for name in outputs}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}


def _checked(texts: Sequence[str], output_tokens: int, tokens: int) -> int:
    assert output_tokens == tokens
    assert len("".join(texts)) == tokens  # the simulated engine's tokens are bytes
    return len(texts)


def _whole(events: list[Any], reply: Reply, tokens: int) -> str | None:
    ended = reply.finish_reason == "length" and reply.usage.output_tokens == tokens
    return reply.content if ended and "".join(event.text for event in events) == reply.content else None
