"""Streams of chat completions, read over AsyncClient or by OpenAI's API, in a process that does nothing else.

`python -m benchmarks.front_reader client grpc://HOST:PORT`, or `… openai http://HOST:PORT/v1 PID`, reads until standard
input ends. A line of it is a `Job` as JSON, and is answered with what `Streams.result` gives. PID is the process whose
CPU time counts; that of AsyncClient is its own. Bytes are kept as they come and are looked into when all of them are
there, so that the reader takes little of the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import psutil

from nemotron_client import AsyncClient

_END = b"\r\n0\r\n\r\n"  # of a chunked body
_KEPT_S = 1.0  # servers close what is idle for longer, uvicorn after five seconds
_GREEDY = {"temperature": 0.0}
_KEY = "Bearer example-key-of-team-a"  # which the edge asks for, and nobody else looks at


@dataclass(frozen=True)
class Job:
    """Streams to be read at once.

    Attributes:
        prompts: One for each.
        tokens: Of each answer.
        seeds: Whether each has its number as its seed; else they are greedy.
        apart_s: How long after the one before it each is asked for, in seconds.
    """

    prompts: Sequence[str]
    tokens: int
    seeds: bool = False
    apart_s: float = 0.0

    def options(self, number: int) -> dict[str, Any]:
        """The same by OpenAI's names and by the client's."""
        more: dict[str, Any] = {"seed": number} if self.seeds else _GREEDY
        return {"max_tokens": self.tokens, "min_tokens": self.tokens, **more}


Answer = Callable[[], tuple[int, str | None]]
"""Looks into what has come of a stream: its tokens, and its text if it is whole."""


@dataclass
class Streams:
    """What has come of a job.

    Attributes:
        process: Whose CPU time counts.
        waits_for: How many have not begun.
        at_once: Whether all had begun before one ended.
        begin_s: When the first one was asked for.
        asked_s: When each was, by its number.
        ttft_s: How long after that those that have begun got their first text.
        counted: Pieces of text that came when all had begun.
    """

    process: psutil.Process
    waits_for: int
    at_once: bool = True
    begin_s: float = field(default_factory=time.perf_counter)
    asked_s: dict[int, float] = field(default_factory=dict)
    ttft_s: list[float] = field(default_factory=list)
    counted: int = 0
    cpu_s: float = 0.0

    def asked(self, number: int) -> None:
        """A stream is asked for now."""
        self.asked_s[number] = time.perf_counter()

    def begun(self, number: int) -> None:
        """The first text of a stream has come."""
        self.ttft_s.append(time.perf_counter() - self.asked_s[number])
        self.waits_for -= 1
        if self.waits_for == 0:
            self.cpu_s = self._cpu_s()

    def came(self, pieces: int) -> None:
        """Pieces of text have come."""
        if self.waits_for == 0:
            self.counted += pieces

    def ended(self) -> None:
        """A stream has come to its end."""
        self.at_once = self.at_once and self.waits_for == 0

    def result(self, answers: Sequence[Answer], *, texts: bool) -> dict[str, Any]:
        """All figures: of CPU time from when all streams had begun, else of the whole job."""
        end_s, cpu_s = time.perf_counter(), self._cpu_s()
        read = [answer() for answer in answers]
        return {
            "tokens_per_s": sum(tokens for tokens, _ in read) / (end_s - self.begin_s),
            "ttft_ms": sorted(1000 * ttft_s for ttft_s in self.ttft_s),
            "cpu_us": 1e6 * (cpu_s - self.cpu_s) / max(1, self.counted),
            "pieces": self.counted,
            "whole": sum(text is not None for _, text in read),
            "at_once": self.at_once,
            "rss_mib": self.process.memory_info().rss / 2**20,
            "texts": [text for _, text in read] if texts else [],
        }

    def _cpu_s(self) -> float:
        times = self.process.cpu_times()
        return times.user + times.system


class Reader:
    """A process of this module."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, job: Job) -> dict[str, Any]:
        """Read; see `Streams.result`."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(job)) + "\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline() or "{}")
        if not found:
            raise SystemExit("A stream failed: its reader's error stands above.")
        return found


@contextlib.contextmanager
def reader(way: str, url: str, pid: int | None = None) -> Iterator[Reader]:
    """Start one.

    Args:
        way: `client` or `openai`.
        url: The server.
        pid: Whose CPU time counts; None is its own.
    """
    command = [sys.executable, "-m", "benchmarks.front_reader", way, url, *([str(pid)] if pid else [])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Reader(process)
        finally:
            process.terminate()


def main() -> None:
    """Be a reader."""
    way, url, *pid = sys.argv[1:]
    process = psutil.Process(int(pid[0]) if pid else None)
    asyncio.run(_serve({"client": _client, "openai": _openai}[way], url, process))


_Read = Callable[[Job, int, Streams], Awaitable[Answer]]


async def _serve(
    way: Callable[[str], contextlib.AbstractAsyncContextManager[_Read]], url: str, process: psutil.Process
) -> None:
    async with way(url) as read:

        async def read_one(job: Job, number: int, streams: Streams) -> Answer:
            await asyncio.sleep(number * job.apart_s)
            streams.asked(number)
            answer = await read(job, number, streams)
            streams.ended()
            return answer

        while line := await asyncio.to_thread(sys.stdin.readline):
            job = Job(**json.loads(line))
            gc.collect()
            streams = Streams(process, len(job.prompts))
            answers = await asyncio.gather(*(read_one(job, number, streams) for number in range(len(job.prompts))))
            sys.stdout.write(json.dumps(streams.result(answers, texts=job.seeds)) + "\n")
            sys.stdout.flush()


@contextlib.asynccontextmanager
async def _client(url: str) -> AsyncIterator[_Read]:
    """Of AsyncClient, as its caller gets them."""
    async with AsyncClient(url, headers={"authorization": _KEY}) as client:
        await client.chat(_user("Hi"), max_tokens=1)  # opens the session

        async def read(job: Job, number: int, streams: Streams) -> Answer:
            texts: list[str] = []
            async with client.stream_chat(_user(job.prompts[number]), **job.options(number)) as stream:
                async for event in stream:
                    texts.append(event.text)  # type: ignore[union-attr]  # the answer calls no tools
                    if len(texts) == 1:
                        streams.begun(number)
                    streams.came(1)
                reply = await stream.get_final()
            return lambda: (reply.usage.output_tokens, "".join(texts))

        yield read


@contextlib.asynccontextmanager
async def _openai(url: str) -> AsyncIterator[_Read]:
    """By OpenAI's API. A connection is kept for the next request, as a program's client does."""
    parts = urlsplit(url)
    idle: list[_Connection] = []
    loop = asyncio.get_running_loop()

    async def read(job: Job, number: int, streams: Streams) -> Answer:
        while idle and (idle[0].is_closed or time.perf_counter() - idle[0].used_s > _KEPT_S):
            idle.pop(0).close()
        if idle and not idle[-1].is_closed:
            connection = idle.pop()
        else:
            _, connection = await loop.create_connection(_Connection, parts.hostname or "", parts.port or 80)
        body = {
            "messages": _user(job.prompts[number]),
            "stream": True,
            "stream_options": {"include_usage": True},
            "ignore_eos": True,
            **job.options(number),
        }
        answer = await connection.ask(f"{parts.path}/chat/completions", json.dumps(body).encode(), streams, number)
        idle.append(connection)
        return partial(_read_answer, answer)

    yield read
    for connection in idle:
        connection.close()


class _Connection(asyncio.Protocol):
    """An HTTP/1.1 connection that keeps a chunked answer as it comes."""

    def __init__(self) -> None:
        self.used_s = 0.0
        self._tail = b""
        self._parts: list[bytes] = []
        self._answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if not self._answered.done():
            self._answered.set_exception(error or ConnectionError(f"closed after {b''.join(self._parts)[-300:]!r}"))

    async def ask(self, path: str, body: bytes, streams: Streams, number: int) -> bytes:
        """Send a request; the whole response."""
        self._answered = asyncio.get_running_loop().create_future()
        self._parts = []
        self._streams, self._number, self._begun = streams, number, False
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nauthorization: {_KEY}\r\n"
        self._transport.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        await self._answered
        self.used_s = time.perf_counter()
        return b"".join(self._parts)

    def data_received(self, data: bytes) -> None:
        self._parts.append(data)
        chunks = data.count(b'"content":') - data.count(b'"content":""') - data.count(b'"content":null')
        if chunks and not self._begun:
            self._begun = True
            self._streams.begun(self._number)
        self._streams.came(chunks)
        self._tail = (self._tail + data)[-len(_END) :]
        if self._tail == _END and not self._answered.done():
            self._answered.set_result(None)

    @property
    def is_closed(self) -> bool:
        """Whether the server has ended it, as some do behind each answer."""
        return self._transport.is_closing()

    def close(self) -> None:
        """End it."""
        self._transport.close()


def _read_answer(response: bytes) -> tuple[int, str | None]:
    """The tokens of an answer, and its text; None if it has no end."""
    head, _, rest = response.partition(b"\r\n\r\n")
    if b" 200 " not in head.splitlines()[0]:
        raise SystemExit(f"A stream was refused: {response[-500:]!r}")
    body = bytearray()
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    events = [line[6:] for line in bytes(body).split(b"\n") if line.startswith(b"data: ")]
    chunks = [json.loads(event) for event in events if event != b"[DONE]"]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    usage = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    ended = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    whole = ended == ["length"] and events[-1] == b"[DONE]"
    return usage[-1]["completion_tokens"] if usage else 0, text if whole else None


def _user(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}]


if __name__ == "__main__":
    main()
