# ruff: noqa: E501 - the log lines are as Triton and its libraries write them
from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from nemotron_serving import cgroups
from nemotron_serving.cgroups import Events
from nemotron_serving.launcher.errors import SetupError
from nemotron_serving.launcher.limits import (
    Look,
    Need,
    Tasks,
    cause_of_death,
    cause_of_failure,
    check_files,
    check_shared_memory,
    check_threads,
    raise_open_files,
    tasks_left,
)
from nemotron_serving.package import Package
from tests.unit.serving.support import make_package, manifest

NEED = Need(start_threads=200, threads=300, files=150, shared_memory=64 << 20)
NOTHING = Events(tasks_refused=0, killed=0)


def allowing(left: int) -> Tasks:
    return Tasks("/sys/fs/cgroup/pids.max", most=left + 10, used=10, remedy="Raise it.")


CHECKS: list[tuple[Callable[[int], str], int, int, int, str]] = [
    (lambda left: check_threads(NEED, allowing(left)), 199, 299, 300, "/sys/fs/cgroup/pids.max allows"),
    (lambda most: check_files(NEED, most), 20, 149, 150, "ulimit -Hn"),
    (lambda mib: check_shared_memory(NEED, mib << 20), 2, 63, 64, "MiB free"),
]


@pytest.mark.parametrize(("check", "refused", "noted", "fine", "said"), CHECKS, ids=["threads", "files", "memory"])
def test_only_what_would_end_the_start_is_refused(
    check: Callable[[int], str], refused: int, noted: int, fine: int, said: str
) -> None:
    with pytest.raises(SetupError, match=said):
        check(refused)
    found = check(noted)
    assert isinstance(found, Look) and said in found
    found = check(fine)
    assert not isinstance(found, Look) and said in found


def test_more_places_need_more_of_everything_but_few_threads(tmp_path: Path) -> None:
    made = make_package(tmp_path / "package")

    def sized(batch: int, waiting: int) -> Need:
        limits = msgspec.structs.replace(made.serving.limits, max_batch_size=batch, max_waiting=waiting)
        serving = msgspec.structs.replace(made.serving, limits=limits)
        return Need.of(Package(made.path, manifest(kind="openvino"), serving), engine_threads=4)

    small, large, larger = sized(4, 8), sized(448, 256), sized(4480, 2560)
    assert small.start_threads < large.start_threads == larger.start_threads < 500
    assert large.threads < 1024
    assert small.files < large.files < larger.files
    assert small.shared_memory < large.shared_memory < larger.shared_memory
    assert Need.of(None).start_threads <= small.start_threads


def test_this_machine_has_a_limit_on_threads() -> None:
    limit = tasks_left()
    assert 0 < limit.used < limit.most
    assert limit.left == limit.most - limit.used


def test_a_process_may_open_as_many_files_as_the_hard_limit_allows() -> None:
    count = (
        "import resource, sys; print('started', flush=True); sys.stdin.read(); "
        "print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    soft = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 100)
    command = ["/bin/sh", "-c", f'ulimit -S -n {soft}; exec "$@"', "sh", sys.executable, "-c", count]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "started\n"
        raise_open_files(process.pid)
        said, _ = process.communicate()
    now, hard = map(int, said.split())
    assert soft <= now <= hard and now >= min(hard, 1024)


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        ("terminate called after throwing an instance of 'std::system_error'\n  what():  Resource temporarily unavailable\n", "no more threads"),
        ("E1 backend_model.cc:692] \"ERROR: Failed to create instance: RuntimeError: can't start new thread\\n\\nAt:\\n\"", "no more threads"),
        ('kind: IOError(Os { code: 11, kind: WouldBlock, message: \\"Resource temporarily unavailable\\" })', "no more threads"),
        ("[warn] Error from accept() call: Too many open files\n" * 3, "ulimit -Hn"),
        ("E1 model_lifecycle.cc:642] \"failed to load 'unary' version 1: Internal: Unable to initialize shared memory key 'nemotron-serve-x' to requested size (1048576 bytes). If you are running Triton inside docker, use '--shm-size' flag to control the shared memory region size. Each Python backend model instance requires at least 1 MB of shared memory. Error: No space left on device\"", "--shm-size"),
        ("OSError: [Errno 28] No space left on device: '/tmp/x'", "TMPDIR"),
        ("what():  std::bad_alloc\n", "memory"),
        ("nothing of the kind\n", ""),
    ],
    ids=["abort", "python", "rust", "files", "shared memory", "disk", "memory", "other"],
)  # fmt: skip
def test_the_log_shows_what_was_lacking(log: str, cause: str) -> None:
    found = cause_of_failure(f"I1 server.cc:1] started\n{log}", NOTHING)
    assert cause in found
    assert bool(found) == bool(cause)


@pytest.mark.parametrize(
    ("now", "cause"),
    [
        (Events(tasks_refused=0, killed=1), "The kernel ended one of its processes for want of memory"),
        (Events(tasks_refused=5, killed=0), "It got no more threads"),
        (NOTHING, ""),
    ],
)
def test_a_control_group_has_counted_what_no_log_says(monkeypatch: pytest.MonkeyPatch, now: Events, cause: str) -> None:
    monkeypatch.setattr("nemotron_serving.cgroups.events", lambda: now)
    assert cause_of_failure("", NOTHING).startswith(cause)
    assert cause_of_failure("", now) == "", "it was so before"


def test_a_death_is_the_kernels_where_it_has_counted_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nemotron_serving.cgroups.events", lambda: Events(tasks_refused=0, killed=3))
    assert cause_of_death(Events(tasks_refused=0, killed=1)).endswith(
        "for want of memory in this container or unit: 2)"
    )
    assert cause_of_death(Events(tasks_refused=0, killed=3)) == ""


def test_a_limit_on_addresses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {resource.RLIMIT_AS: 1 << 30}
    monkeypatch.setattr("resource.getrlimit", lambda kind: (limits.get(kind, -1), -1))
    said = cause_of_failure("terminate called after throwing: Invalid argument", NOTHING)
    assert "1.00 GiB of addresses (ulimit -v)" in said


def test_the_file_of_a_container_names_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = cgroups.Limit(64, 60, tmp_path / "pids.max")
    monkeypatch.setattr("nemotron_serving.cgroups.tasks_left", lambda: limit)
    assert tasks_left().name == str(tmp_path / "pids.max")
    with pytest.raises(SetupError, match=r"allows 64, 60 exist.*--pids-limit"):
        check_threads(NEED)
