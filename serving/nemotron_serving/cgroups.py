"""What the control groups of a container, a service unit or a batch job leave to this process: memory, tasks, cores.

The machine's own figures say nothing of them. Versions 1 and 2 are read, and beside the process's own groups all that
they lie in, as far as they can be seen: a container sees its own alone, which is the one that was made for it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROCESS = Path("/proc/self")
# By version: the limit, what is used, and the statistic of that which the kernel gives up first.
_MEMORY_FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}
_MEMORY_EVENTS = {1: "memory.oom_control", 2: "memory.events"}
_FILESYSTEMS = {1: "cgroup", 2: "cgroup2"}
_NO_LIMIT = 1 << 60  # version 1 writes the largest number of pages instead of "max"
_ESCAPED = (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\"))  # how mountinfo writes paths


@dataclass(frozen=True)
class Limit:
    """A limit of a control group.

    Attributes:
        most: What all processes of the group may have together: bytes, or tasks (threads of processes).
        used: What they have now; memory without the file cache that the kernel would give up first.
        file: Where the limit stands.
    """

    most: int
    used: int
    file: Path

    @property
    def left(self) -> int:
        """What may still be taken, at least 0."""
        return max(0, self.most - self.used)


@dataclass(frozen=True)
class Events:
    """How often a limit has struck since the control groups were made.

    Attributes:
        tasks_refused: Threads or processes that were not made.
        killed: Processes that were killed for memory.
    """

    tasks_refused: int
    killed: int


def memory_limit(process: Path = _PROCESS) -> int | None:
    """The least number of bytes that a control group of a process allows; None where none has a limit.

    Args:
        process: The process's directory in /proc.
    """
    return min((limit.most for limit in _memory(process)), default=None)


def memory_left(process: Path = _PROCESS) -> Limit | None:
    """The limit of memory that leaves the least; None where there is none. For `process` see `memory_limit`."""
    return min(_memory(process), key=lambda limit: limit.left, default=None)


def tasks_left(process: Path = _PROCESS) -> Limit | None:
    """The limit of tasks, pids.max, that leaves the least; None where there is none. See `memory_limit`."""
    return min(_tasks(process), key=lambda limit: limit.left, default=None)


def cores(process: Path = _PROCESS) -> int:
    """How many cores a process may keep busy, at least 1: those it may run on, or what a group's quota allows."""
    own = len(os.sched_getaffinity(0))
    return min(own, paid_cores(process) or own)


def paid_cores(process: Path = _PROCESS) -> int | None:
    """How many cores the quotas of a process's groups are worth, rounded up; None where there is none."""
    quotas = [quota for version, group in _groups(process, "cpu") for quota in _quota(version, group)]
    return max(1, math.ceil(min(quotas))) if quotas else None


def events(process: Path = _PROCESS) -> Events:
    """What the groups of a process have counted; kernels before 4.13 count less. See `memory_limit`."""
    refused = sum(_statistic(group / "pids.events", "max") for _, group in _groups(process, "pids"))
    killed = sum(
        _statistic(group / _MEMORY_EVENTS[version], "oom_kill") for version, group in _groups(process, "memory")
    )
    return Events(refused, killed)


def available_memory(process: Path = _PROCESS) -> int:
    """Bytes that can be taken without swapping: what the machine has available, or what a control group leaves."""
    import psutil  # a build, which asks for limits alone, need not have it

    available = int(psutil.virtual_memory().available)
    limit = memory_left(process)
    return available if limit is None else min(available, limit.left)


def _memory(process: Path) -> Iterator[Limit]:
    for version, group in _groups(process, "memory"):
        most, used, cache = _MEMORY_FILES[version]
        for limit in _limit(group, most, used):
            yield Limit(limit.most, max(0, limit.used - _statistic(group / "memory.stat", cache)), limit.file)


def _tasks(process: Path) -> Iterator[Limit]:
    for _, group in _groups(process, "pids"):
        yield from _limit(group, "pids.max", "pids.current")


def _limit(group: Path, most: str, used: str) -> Iterator[Limit]:
    limit = _number(group / most)
    if limit is not None and limit < _NO_LIMIT:
        yield Limit(limit, _number(group / used) or 0, group / most)


def _quota(version: int, group: Path) -> Iterator[float]:
    names = ("cpu.max",) if version == 2 else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    numbers = " ".join(line for name in names for line in _lines(group / name)).split()
    if len(numbers) == 2 and all(map(str.isdigit, numbers)):
        quota, period = map(int, numbers)
        yield quota / period


def _groups(process: Path, controller: str) -> Iterator[tuple[int, Path]]:
    """Directories of a process's groups, the own one first, and the version that each is of."""
    for line in _lines(process / "cgroup"):
        _, controllers, path = line.split(":", 2)
        version = 1 if controllers else 2
        if controllers and controller not in controllers.split(","):
            continue
        for root, mount in _mounts(process, version, controller):
            # Where the process's path is not below what is mounted, the mount shows the process's own group alone.
            inside = Path(path).relative_to(root) if Path(path).is_relative_to(root) else Path()
            group = mount / inside
            yield version, group
            while group != mount:
                group = group.parent
                yield version, group


def _mounts(process: Path, version: int, controller: str) -> Iterator[tuple[Path, Path]]:
    """What is mounted of a hierarchy, and where."""
    for line in _lines(process / "mountinfo"):
        place, _, kind = line.partition(" - ")
        filesystem, _, options = kind.split(" ", 2)
        if filesystem == _FILESYSTEMS[version] and (filesystem == "cgroup2" or controller in options.split(",")):
            root, mount = place.split(" ")[3:5]
            yield _path(root), _path(mount)


def _path(text: str) -> Path:
    for escape, character in _ESCAPED:
        text = text.replace(escape, character)
    return Path(text)


def _statistic(file: Path, name: str) -> int:
    for line in _lines(file):
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0


def _number(file: Path) -> int | None:
    lines = _lines(file)
    return int(lines[0]) if lines and lines[0].isdigit() else None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:  # no such controller, or nobody may look
        return []
