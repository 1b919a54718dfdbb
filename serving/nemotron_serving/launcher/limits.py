"""What a server takes of the threads, open files and shared memory that its machine, container and user allow.

Triton does not say that it lacks one of them: it aborts, waits for ever, or writes its log full. So a start is refused
where it could not succeed, and one that failed is asked for its cause.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from nemotron_serving import cgroups
from nemotron_serving.engine.openvino.cpu import default_threads, physical_cores
from nemotron_serving.launcher.errors import SetupError
from nemotron_serving.launcher.processes import SHARED_MEMORY
from nemotron_serving.launcher.triton_command import PYTHON_MODELS, tritonserver_threads
from nemotron_serving.package import Package
from nemotron_serving.stages.unary import MOST_CALLS

_KERNEL = Path("/proc/sys/kernel")
_MIB, _GIB = 1 << 20, 1 << 30
_MOST_PIDS = 1 << 22  # of Linux on any 64-bit machine
# Measured with Triton 2.51 on two cores: threads of the models' processes without the engine's, files of tritonserver.
_MODEL_THREADS = 29
_FILES = 80
_REGION = _MIB  # each Python model's at the start; it grows by as much at a time, and never shrinks
# An id and some text for each token of each request in flight stay there until the request is answered.
_BYTES_PER_TOKEN = 8
_FEW_TASKS = 3
_SOME_FILES = 1024
_ENOUGH_FILES = 1 << 16
_RAISE_PIDS = "Raise it: --pids-limit for docker and podman, TasksMax= in systemd, podPidsLimit for Kubernetes."

# In what Triton, its models and their libraries write.
_NO_THREADS = re.compile(r"can't start new thread|Resource temporarily unavailable")
_NO_FILES = re.compile(r"Too many open files")
_NO_SHARED_MEMORY = re.compile(
    r"(?:initialize shared memory key|shared memory pool size for key).*No space left on device"
)
_NO_DISK = re.compile(r"No space left on device")
_NO_MEMORY = re.compile(r"bad_alloc|MemoryError|[Cc]annot allocate memory")


class Look(str):
    """A finding that does not stand in the way of a start, but of what comes later."""

    __slots__ = ()


@dataclass(frozen=True)
class Need:
    """What a server takes, at the least and with every place of its package taken.

    Attributes:
        start_threads: Threads of all processes once it is ready.
        threads: The same with as many unary calls as it admits.
        files: Open files of tritonserver with a connection for each request in flight.
        shared_memory: Bytes, with the longest prompt in every place.
        start_files: Open files of tritonserver before the first caller.
        start_shared_memory: Bytes, before the first caller.
    """

    start_threads: int
    threads: int
    files: int
    shared_memory: int
    start_files: int = _FILES
    start_shared_memory: int = PYTHON_MODELS * _REGION

    @classmethod
    def of(cls, package: Package | None, engine_threads: int | None = None) -> Need:
        """What a package needs; None: what any package needs at the least.

        Args:
            package: Its limits count, and whether its engine computes on the CPU: other engines' threads are not known.
            engine_threads: What was asked for; None leaves it to the engine, which takes one for each physical core
                that a quota pays for.
        """
        limits = package.serving.limits if package else None
        places = limits.max_in_flight if limits else 1
        on_cpu = package is not None and package.manifest.engine.kind == "openvino"
        engine = (engine_threads or default_threads(cgroups.paid_cores()) or physical_cores()) if on_cpu else 0
        start = tritonserver_threads(places) + _MODEL_THREADS + engine
        tokens = places * (limits.max_seq_len if limits else 1)
        return cls(
            start_threads=start,
            threads=start + min(places, MOST_CALLS),
            files=_FILES + places,  # over HTTP; over gRPC many callers share a connection
            shared_memory=PYTHON_MODELS * _REGION + tokens * _BYTES_PER_TOKEN,
        )


@dataclass(frozen=True)
class Tasks:
    """A limit on the number of threads.

    Attributes:
        name: What sets it, for people to read.
        most: What it allows.
        used: What exists now of those that it counts.
        remedy: How to raise it.
    """

    name: str
    most: int
    used: int
    remedy: str

    @property
    def left(self) -> int:
        """How many more there may be."""
        return max(0, self.most - self.used)


def require(need: Need) -> None:
    """Refuse a start that could not succeed.

    Raises:
        SetupError: something is lacking; the message says what and where to get it.
    """
    check_threads(need)
    check_files(need)
    check_shared_memory(need)


def check_threads(need: Need, limit: Tasks | None = None) -> str:
    """Compare the threads of a server with the limit that leaves the fewest.

    Args:
        need: What it takes.
        limit: None looks for it.

    Returns:
        What was found, for people to read.

    Raises:
        SetupError: the server could not start.
    """
    limit = limit or tasks_left()
    found = f"{limit.name} allows {limit.most}, {limit.used} exist"
    if limit.left < need.start_threads:
        raise SetupError(
            f"Too few threads: {found}, and this server starts {need.start_threads}; with calls of 'unary' in every "
            f"place it has {need.threads}. {limit.remedy}"
        )
    if limit.left < need.threads:
        return Look(f"{found}; with calls of 'unary' in every place this server has {need.threads}. {limit.remedy}")
    return f"{found}; this server takes {need.start_threads} at rest, at most {need.threads}"


def check_files(need: Need, most: int | None = None) -> str:
    """Compare the files and connections of a server with what one process may open; see `check_threads`."""
    most = open_files() if most is None else most
    remedy = (
        f"Raise it: 'ulimit -n {max(need.files, _SOME_FILES)}', LimitNOFILE= in systemd, --ulimit nofile= for docker."
    )
    found = f"{most} allowed for a process (ulimit -Hn)"
    if most < need.start_files:
        raise SetupError(f"Too few open files: {found}, and Triton opens {need.start_files} to start. {remedy}")
    if most < need.files:
        return Look(f"{found}, with a connection for each request that the package admits {need.files}. {remedy}")
    return f"{found}; this server opens at most {need.files}"


def check_shared_memory(need: Need, free: int | None = None) -> str:
    """Compare the shared memory of a server with what is free; see `check_threads`."""
    if free is None:
        try:
            free = shutil.disk_usage(SHARED_MEMORY).free
        except OSError as error:
            raise SetupError(
                f"{SHARED_MEMORY}: {error.strerror}, expected a tmpfs for the models' shared memory."
            ) from error
    least, most = need.start_shared_memory // _MIB, -(-need.shared_memory // _MIB)
    found = f"{SHARED_MEMORY} has {free // _MIB} MiB free"
    remedy = f"Give a container more with --shm-size={max(256, 2 * least)}m."
    if free < need.start_shared_memory:
        raise SetupError(f"{found}, expected {least} MiB or more for the models of this server. {remedy}")
    if free < need.shared_memory:
        return Look(
            f"{found}; the longest prompts in every place take {most} MiB. Above it requests fail, the server goes on"
        )
    return f"{found}; this server takes {least} MiB at rest, at most {most}"


def tasks_left() -> Tasks:
    """The limit on threads that leaves the fewest, of those that can be seen."""
    return min(_task_limits(), key=lambda limit: limit.left)


def open_files() -> int:
    """Files that Triton may have open: the hard limit, to which its soft one is raised, up to what is enough."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return _ENOUGH_FILES if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH_FILES)


def raise_open_files(pid: int) -> None:
    """Let a process open as many files as it may; those that it starts inherit it.

    Without a file left for a new connection, Triton's HTTP server tries again and again and writes each try to its log.
    """
    with suppress(OSError):  # it has ended
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        if soft < open_files():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_files(), hard))


def cause_of_failure(log: str, before: cgroups.Events) -> str:
    """What was lacking when a start failed, and where to get it; empty if nothing shows it.

    Args:
        log: What the server wrote.
        before: What the control groups had counted before the start.
    """
    return next(_causes(log, before), "")


def cause_of_death(before: cgroups.Events) -> str:
    """What to add to a process's death, in brackets: that the kernel has killed for memory; empty if it has not.

    Args:
        before: What the control groups had counted before the start.
    """
    killed = cgroups.events().killed - before.killed
    return f" (killed by the kernel for want of memory in this container or unit: {killed})" if killed > 0 else ""


def _causes(log: str, before: cgroups.Events) -> Iterator[str]:
    now = cgroups.events()
    if now.killed > before.killed:
        limit = cgroups.memory_limit()
        allowed = f" ({limit / _GIB:.2f} GiB)" if limit else ""
        yield (
            f"The kernel ended one of its processes for want of memory: its container or unit has no more{allowed}. "
            "Give it more, or take a smaller --kv-cache-gib or a package in a smaller precision."
        )
    tasks = tasks_left()
    if now.tasks_refused > before.tasks_refused or tasks.left <= _FEW_TASKS or _NO_THREADS.search(log):
        yield f"It got no more threads: {tasks.name} allows {tasks.most}, {tasks.used} exist now. {tasks.remedy}"
    if _NO_FILES.search(log):
        yield f"It could open no more files than {open_files()} (ulimit -Hn). Raise it to {_SOME_FILES} or more."
    if _NO_SHARED_MEMORY.search(log):
        yield f"{SHARED_MEMORY} is full. Free some of it, or give a container more with --shm-size=256m."
    if _NO_DISK.search(log):
        yield "A disk is full: free some of TMPDIR (by default /tmp) or of --log-dir."
    space = resource.getrlimit(resource.RLIMIT_AS)[0]
    if space != resource.RLIM_INFINITY:
        yield f"Its processes may have no more than {space / _GIB:.2f} GiB of addresses (ulimit -v). Lift that limit."
    if _NO_MEMORY.search(log):
        yield f"It got no more memory; {cgroups.available_memory() / _GIB:.2f} GiB are available now."


def _task_limits() -> Iterator[Tasks]:
    if limit := cgroups.tasks_left():
        yield Tasks(str(limit.file), limit.most, limit.used, _RAISE_PIDS)
    everybody = _all_tasks()
    for name in ("threads-max", "pid_max"):
        try:
            most = int((_KERNEL / name).read_text())
        except OSError:  # a sandbox that hides them, such as gVisor
            most = _MOST_PIDS
        yield Tasks(f"kernel.{name}", most, everybody, f"Raise it with 'sysctl kernel.{name}=N'.")
    soft = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if os.getuid() and soft != resource.RLIM_INFINITY:  # does not hold for root
        yield Tasks("ulimit -u", soft, _own_tasks(), "Raise it with 'ulimit -u', or LimitNPROC= in systemd.")


def _all_tasks() -> int:
    try:
        return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    except OSError:
        return 0


def _own_tasks() -> int:
    user, count = os.getuid(), 0
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.uids().real == user:
                count += process.num_threads()
    return count
