from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from nemotron_loadtest.server.gpus import Gpus


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
