"""What a running server is made of, seen from outside: its processes, what each holds, its shared memory, its log."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.integration.conftest import Server
from tests.waiting import wait_until

IN_FLIGHT = "nemotron_requests_in_flight"
POST_STREAMS = "nemotron_postprocessing_streams"
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Triton keeps it
GOOD_S = 60


@dataclass(frozen=True)
class Usage:
    """What one process holds."""

    pid: int
    rss_kib: int
    threads: int
    files: int


def usage(server: Server) -> dict[str, Usage]:
    """What each process of the server holds: by the model's name, `tritonserver`, `nemotron-serve`, `guard`, `worker`.

    A worker is what a model started for its engine.
    """
    return {
        name: Usage(process.pid, process.memory_info().rss // 1024, process.num_threads(), process.num_fds())
        for name, process in processes(server).items()
    }


def overgrown(before: dict[str, Usage], after: dict[str, Usage], requests: int) -> list[str]:
    """What a process holds more than so many requests may leave behind; a process that is another one.

    Bounds are wide: they find what grows with each request, and not what a pool or an allocator keeps. Triton 2.51
    keeps some 7 KiB of each stream for good, and a socket after some 800 odd requests.
    """
    found = []
    for name, old in before.items():
        new = after.get(name)
        if new is None or new.pid != old.pid:
            found.append(f"{name} is another process")
            continue
        most_kib = (25 * requests + 200 * 1024) if name == "tritonserver" else 100 * 1024
        for what, grown, most in (
            ("KiB of memory", new.rss_kib - old.rss_kib, most_kib),
            ("threads", new.threads - old.threads, 40),
            ("open files", new.files - old.files, 60 + requests // 200),
        ):
            if grown > most:
                found.append(f"{name} has {grown} {what} more after {requests} requests")
    return found


def processes(server: Server) -> dict[str, psutil.Process]:
    """The processes of a server that is ready, by the names that `usage` has."""
    info = server.info
    names = {pid: model for model, pid in info["model_pids"].items()}
    names |= {info["triton_pid"]: "tritonserver", info["pid"]: "nemotron-serve"}
    launcher = psutil.Process(info["pid"])
    found = {}
    for process in (launcher, *launcher.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            name = names.get(process.pid) or ("guard" if process.ppid() == launcher.pid else "worker")
            found[name] = process
    return found


def is_alive(process: psutil.Process) -> bool:
    """Whether this very process runs."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def shared_memory(server: Server) -> dict[str, int]:
    """Files of the server in shared memory, and the bytes of each that are there."""
    prefix = Path(server.info["runtime_dir"]).name
    found = {}
    for path in SHARED_MEMORY.glob(f"{prefix}-*"):
        with suppress(FileNotFoundError):
            found[path.name] = path.stat().st_blocks * 512
    return found


def nothing_left(server: Server) -> bool:
    """Whether no request is in flight and no stream has a state."""
    return server.metric(IN_FLIGHT) == 0 == server.metric(POST_STREAMS)


def answers(server: Server) -> bool:
    """Whether a request is answered right now."""
    with suppress(OSError, KeyError, ValueError):  # no ready file, no server, or no whole answer
        return server.post("/v2/models/ensemble/generate", {"text_input": "Hi", "max_tokens": 1})[0] == 200
    return False


def wait_until_restarted(server: Server, restarts: int, seconds: float = GOOD_S) -> float:
    """Wait until the server has restarted so many times and answers again: the seconds that this took."""
    began = time.monotonic()

    def back() -> bool:
        with suppress(FileNotFoundError):
            return server.info["restarts"] >= restarts and answers(server)
        return False

    wait_until(back, seconds)
    return time.monotonic() - began


def log_of(server: Server) -> str:
    """What nemotron-serve wrote, Triton's log included."""
    return server.log.read_text(errors="replace")


def log_lines(server: Server) -> list[str]:
    """The same, line by line."""
    return log_of(server).splitlines()
