"""Calls one after the other in a process of its own, whose memory and threads are looked at on the way.

python -m benchmarks.client_soak grpc://HOST:PORT sync|async CALLS [SECONDS]

Ends after so many calls or seconds, whichever is first, and prints what it found as JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import psutil

from nemotron_client import AsyncClient, Client

_MESSAGES = [{"role": "user", "content": "Hi"}]
# Where to look, as shares of the whole. What comes before the first is the warm-up: pools and caches fill.
_LOOKS = (0.1, 0.25, 0.5, 0.75, 1.0)


@dataclass
class Soak:
    """What was found.

    Attributes:
        calls: How many were made.
        seconds: How long they took.
        rss_mib: Memory after the warm-up and later.
        threads: Threads of the process, gRPC's own among them, at the same moments.
    """

    calls: int = 0
    seconds: float = 0.0
    rss_mib: list[float] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """The most that was added to the memory after the warm-up, as a share."""
        return max(self.rss_mib[1:]) / self.rss_mib[0] - 1

    @property
    def more_threads(self) -> int:
        """The most threads that came after the warm-up."""
        return max(self.threads) - self.threads[0]


def main() -> None:
    """Make the calls and print what was found."""
    url, kind, calls, *limit = sys.argv[1:]
    soak = Soak()
    plan = _calls(kind, soak, int(calls), float(limit[0]) if limit else math.inf)
    if kind == "sync":
        _with_client(url, plan)
    else:
        asyncio.run(_with_async_client(url, plan))
    sys.stdout.write(json.dumps(asdict(soak)) + "\n")


def _with_client(url: str, plan: Iterator[int]) -> None:
    with Client(url) as client:
        for _ in plan:
            client.chat(_MESSAGES, max_tokens=1)


async def _with_async_client(url: str, plan: Iterator[int]) -> None:
    async with AsyncClient(url) as client:
        for _ in plan:
            await client.chat(_MESSAGES, max_tokens=1)


def _calls(kind: str, soak: Soak, calls: int, seconds: float) -> Iterator[int]:
    """A turn for each call that is to be made, with a look at the process in between."""
    process = psutil.Process()
    begin = time.perf_counter()
    looks = list(_LOOKS)
    while looks:
        soak.seconds = time.perf_counter() - begin
        if max(soak.calls / calls, soak.seconds / seconds) >= looks[0]:
            looks.pop(0)
            gc.collect()
            soak.rss_mib.append(process.memory_info().rss / 2**20)
            soak.threads.append(process.num_threads())
            state = f"{soak.rss_mib[-1]:.1f} MiB, {soak.threads[-1]} threads"
            sys.stderr.write(f"  {kind}, {soak.calls} calls in {soak.seconds:.0f} s: {state}\n")
        else:
            yield soak.calls
            soak.calls += 1


if __name__ == "__main__":
    main()
