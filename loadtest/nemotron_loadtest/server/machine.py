"""What this machine says of a server that runs on it: CPU time and memory of its processes, and the GPUs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import psutil

from nemotron_loadtest.server.sample import GpuSample

FindPid = Callable[[], int | None]


def by_port(url: str) -> FindPid:
    """Find the process that listens on the port of a URL; none for a URL of another machine."""
    parts = urlsplit(url)
    port = parts.port
    here = _is_here(parts.hostname or "")

    def find() -> int | None:
        return _listener(port) if here and port else None

    return find


def ports_of(url: str) -> list[int]:
    """All ports of the process that listens on a URL's port, that one last; none where it is not seen from here."""
    pid = by_port(url)()
    port = urlsplit(url).port
    ports = {connection.laddr.port for connection in _listening() if pid is not None and connection.pid == pid}
    return sorted(ports, key=lambda one: (one == port, one))


class ServerProcesses:
    """A process and its descendants: Triton, the Python processes of its models, and workers that these started.

    Args:
        find: Finds the process, again after it ended: a supervisor may have started another.
    """

    def __init__(self, find: FindPid) -> None:
        self._find = find
        self._root: psutil.Process | None = None
        self._cpu_s: dict[int, float] = {}
        self._at_s: float | None = None

    def read(self, now_s: float) -> tuple[float | None, int | None]:
        """CPU in cores since the call before, and resident bytes; None where there is nothing to say.

        Args:
            now_s: Seconds on any steady clock.
        """
        cpu_s: dict[int, float] = {}
        memory_bytes = 0
        for process in self._tree():
            try:
                with process.oneshot():
                    times, memory = process.cpu_times(), process.memory_info()
            except psutil.Error:
                continue
            cpu_s[process.pid] = times.user + times.system
            memory_bytes += memory.rss
        cores = self._cores(cpu_s, now_s)
        self._cpu_s, self._at_s = cpu_s, now_s
        return (cores, memory_bytes) if cpu_s else (None, None)

    def _cores(self, cpu_s: dict[int, float], now_s: float) -> float | None:
        """Cores used by the processes that were there before: how long others have run is not known."""
        both = cpu_s.keys() & self._cpu_s.keys()
        if self._at_s is None or now_s <= self._at_s or not both:
            return None
        return sum(cpu_s[pid] - self._cpu_s[pid] for pid in both) / (now_s - self._at_s)

    def _tree(self) -> Iterator[psutil.Process]:
        if self._root is None or not self._root.is_running():
            self._root = self._found()
        if self._root is None:
            return
        yield self._root
        try:
            yield from self._root.children(recursive=True)
        except psutil.Error:
            return

    def _found(self) -> psutil.Process | None:
        pid = self._find()
        try:
            return psutil.Process(pid) if pid else None
        except psutil.Error:
            return None


def is_local(url: str) -> bool:
    """Whether a URL names this machine by a loopback address."""
    return _is_here(urlsplit(url).hostname or "")


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _listener(port: int) -> int | None:
    return next((connection.pid for connection in _listening() if connection.laddr.port == port), None)


def _listening() -> list[Any]:
    try:
        connections = psutil.net_connections("tcp")
    except psutil.Error:
        return []
    return [one for one in connections if one.status == psutil.CONN_LISTEN and one.laddr]


class Gpus:
    """The GPUs, looked for once."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._handles: list[Any] = []
        try:
            import pynvml

            pynvml.nvmlInit()
            self._handles = [pynvml.nvmlDeviceGetHandleByIndex(at) for at in range(pynvml.nvmlDeviceGetCount())]
        except ImportError:
            return
        except pynvml.NVMLError:
            return
        self._nvml = pynvml

    def read(self) -> tuple[GpuSample, ...]:
        """Those that answer."""
        found = (self._gpu(index, handle) for index, handle in enumerate(self._handles))
        return tuple(gpu for gpu in found if gpu)

    def _gpu(self, index: int, handle: Any) -> GpuSample | None:
        rates = self._ask(self._nvml.nvmlDeviceGetUtilizationRates, handle)
        memory = self._ask(self._nvml.nvmlDeviceGetMemoryInfo, handle)
        power_mw = self._ask(self._nvml.nvmlDeviceGetPowerUsage, handle)
        if rates is None or memory is None:
            return None
        return GpuSample(
            index=index,
            busy=rates.gpu / 100,
            memory_bytes=memory.used,
            memory_total_bytes=memory.total,
            power_w=None if power_mw is None else power_mw / 1e3,
        )

    def _ask(self, question: Any, handle: Any) -> Any:
        try:
            return question(handle)
        except self._nvml.NVMLError:
            return None
