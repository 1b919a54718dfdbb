"""Many streams of one process at the same time: how many of them end whole."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from typing import Any

from nemotron_client import AsyncClient, Client, Reply

# A stream goes on only when all have begun, so that all are open at the same time.
_ALL_BEGIN_S = 60


def whole_streams(url: str, prompt: str, streams: int, tokens: int) -> dict[str, dict[int, str]]:
    """Read so many streams with each client.

    Args:
        url: Of the server.
        prompt: What gives other tokens for each seed, up to `max_tokens`.
        streams: How many at once, with the seeds from 0.
        tokens: Output tokens of each.

    Returns:
        For `sync`, a thread a stream, and for `async`: the text by seed, of those that have ended whole. The same seed
        has the same text in both where no stream has got another's.
    """
    texts = {
        "sync": _sync(url, prompt, streams, tokens),
        "async": asyncio.run(_async(url, prompt, streams, tokens)),
    }
    return {
        kind: {seed: text for seed, text in enumerate(found) if isinstance(text, str)} for kind, found in texts.items()
    }


def _sync(url: str, prompt: str, streams: int, tokens: int) -> list[str | BaseException | None]:
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


async def _async(url: str, prompt: str, streams: int, tokens: int) -> list[str | BaseException | None]:
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


def _whole(events: list[Any], reply: Reply, tokens: int) -> str | None:
    ended = reply.finish_reason == "length" and reply.usage.output_tokens == tokens
    return reply.content if ended and "".join(event.text for event in events) == reply.content else None
