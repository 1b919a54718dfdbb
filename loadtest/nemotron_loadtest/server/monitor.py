"""Looks at servers while a run goes on: `ServerMonitor`.

A server that cannot be read is counted and asked again; nothing that happens here ends a run. Only `threading` is
used, so the monitor is a greenlet in a process that gevent has patched, and a thread elsewhere.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from nemotron_loadtest.server.machine import Gpus, ServerProcesses, by_port, is_local
from nemotron_loadtest.server.sample import ServerSample
from nemotron_loadtest.server.triton_metrics import Page, TritonMetrics

INTERVAL_S = 1.0
_STOP_S = 5.0


@dataclass(frozen=True)
class Watched:
    """A server to look at.

    Attributes:
        url: Where it listens: its name in the samples.
        read_page: Gets its metrics: `Client.metrics`.
    """

    url: str
    read_page: Callable[[], Page]


class ServerMonitor:
    """A sample a second of each server, from entry to exit.

    Args:
        servers: The servers.
        now: Seconds since the run's start: the clock of the requests' samples.
        on_sample: Called with each sample, from the monitor's thread.
        interval_s: Time between two looks.
    """

    def __init__(
        self,
        servers: Sequence[Watched],
        now: Callable[[], float],
        on_sample: Callable[[ServerSample], None],
        *,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self.failures = 0
        self._gpus = Gpus() if any(is_local(server.url) for server in servers) else None
        self._followed = [_Followed(server, self._gpus) for server in servers]
        self._now = now
        self._on_sample = on_sample
        self._interval_s = interval_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="server-monitor", daemon=True)

    def __enter__(self) -> ServerMonitor:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join(_STOP_S)

    def look(self) -> list[ServerSample]:
        """One look at each server, for those who have a loop of their own."""
        samples = [followed.look(self._now) for followed in self._followed]
        self.failures += sum(not sample.scraped for sample in samples)
        return samples

    def _run(self) -> None:
        next_s = self._now()
        while not self._stopped.wait(max(0.0, next_s - self._now())):
            for sample in self.look():
                self._on_sample(sample)
            next_s = place_after(next_s, self._now(), self._interval_s)


def place_after(last_s: float, now_s: float, interval_s: float) -> float:
    """When to look next: on a grid, so that the time that looks take does not add up.

    Args:
        last_s: The place on the grid of the look before.
        now_s: When that look was done; if others have passed meanwhile, their places stay empty.
        interval_s: Of the grid.
    """
    missed = max(0.0, now_s - last_s) // interval_s
    return last_s + (missed + 1) * interval_s


class _Followed:
    def __init__(self, server: Watched, gpus: Gpus | None) -> None:
        self._server = server
        self._metrics = TritonMetrics()
        self._processes = ServerProcesses(by_port(server.url))
        self._gpus = gpus if is_local(server.url) else None

    def look(self, now: Callable[[], float]) -> ServerSample:
        at_s = now()
        page = self._page()
        if page is None:
            self._metrics.forget()
        fields: dict[str, Any] = self._metrics.read(page) if page is not None else {}
        cpu_cores, memory_bytes = self._processes.read(now())
        if self._gpus and not fields.get("gpus"):
            fields["gpus"] = self._gpus.read()
        return ServerSample(
            at_s=at_s,
            server=self._server.url,
            scraped=page is not None,
            cpu_cores=cpu_cores,
            memory_bytes=memory_bytes,
            **fields,
        )

    def _page(self) -> Page | None:
        # Only here: what imports reports must not import the client before Locust has made its patches.
        from nemotron_client import NemotronError

        try:
            return self._server.read_page()
        except (NemotronError, OSError, ValueError):
            return None
