from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from nemotron_loadtest.server.machine import Gpus, ServerProcesses, by_port, ports_of
from tests.waiting import wait_until

BUSY = "import time\nprint('up', flush=True)\nwhile True: pass"
PARENT = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BUSY!r}])"


@pytest.fixture
def busy_family() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits for a busy child."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        yield process
        os.killpg(process.pid, 9)


def test_cpu_and_memory_count_descendants(busy_family: subprocess.Popen[bytes]) -> None:
    (child,) = psutil.Process(busy_family.pid).children()
    processes = ServerProcesses(lambda: busy_family.pid)
    first_cores, memory_bytes = processes.read(0.0)
    begin = child.cpu_times().user
    wait_until(lambda: child.cpu_times().user > begin + 0.1, 60)
    cores, _ = processes.read(2.0)

    assert first_cores is None
    assert memory_bytes is not None
    assert memory_bytes > 5e6
    assert cores is not None
    assert 0.05 <= cores < 0.5  # the tenth of a second in the two that it is told, and what is used meanwhile


def test_no_process_is_no_value() -> None:
    processes = ServerProcesses(lambda: None)

    assert processes.read(0.0) == (None, None)
    assert processes.read(1.0) == (None, None)


def test_a_process_that_ended_is_looked_for_again() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as first:
        pids = iter([first.pid, os.getpid()])
        processes = ServerProcesses(lambda: next(pids))
        assert processes.read(0.0)[1]
        first.kill()
        first.wait()

        assert processes.read(1.0)[0] is None
        assert processes.read(2.0)[0] is not None


def test_found_by_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        assert by_port(f"grpc://127.0.0.1:{port}")() == os.getpid()
        assert by_port(f"http://localhost:{port}/metrics")() == os.getpid()


def test_the_port_of_another_machine_is_not_looked_for_here() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert by_port(f"grpc://triton.example:{server.getsockname()[1]}")() is None


def test_the_ports_of_a_server_are_those_of_its_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        port, beside = one.getsockname()[1], other.getsockname()[1]
        found = ports_of(f"grpc://127.0.0.1:{port}")
        assert beside in found[:-1]
        assert found[-1] == port
        assert ports_of(f"grpc://triton.example:{port}") == []


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    assert by_port(f"grpc://127.0.0.1:{port}")() is None


class NvmlError(Exception):
    pass


def nvml(**answers: Any) -> SimpleNamespace:
    """A library with two GPUs."""

    def no_power(_handle: object) -> int:
        raise NvmlError

    return SimpleNamespace(
        NVMLError=NvmlError,
        **{
            "nvmlInit": lambda: None,
            "nvmlDeviceGetCount": lambda: 2,
            "nvmlDeviceGetHandleByIndex": lambda at: at,
            "nvmlDeviceGetUtilizationRates": lambda at: SimpleNamespace(gpu=50 + at),
            "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(used=10, total=80),
            "nvmlDeviceGetPowerUsage": no_power,
            **answers,
        },
    )


def test_gpus_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(nvmlDeviceGetPowerUsage=lambda _: 300_000))
    first, second = Gpus().read()

    assert (first.busy, first.memory_bytes, first.memory_total_bytes, first.power_w) == (0.5, 10, 80, 300)
    assert (second.index, second.busy) == (1, 0.51)


def test_a_card_without_power_is_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml())

    assert [gpu.power_w for gpu in Gpus().read()] == [None, None]


def test_no_driver_means_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise NvmlError

    monkeypatch.setitem(sys.modules, "pynvml", nvml(nvmlInit=fail))

    assert Gpus().read() == ()


def test_no_library_means_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)

    assert Gpus().read() == ()
