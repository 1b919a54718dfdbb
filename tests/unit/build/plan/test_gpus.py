"""The GPU table, and the GPU of this machine through NVML."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from nemotron_build.errors import UnsupportedError
from nemotron_build.plan.gpus import GPUS, detect_gpu, find_gpu


class NvmlError(Exception):
    pass


def nvml(name: str, memory: int, *, driver: bool = True) -> Any:
    """A pynvml with one GPU, or without a driver."""

    def init() -> None:
        if not driver:
            raise NvmlError("Driver Not Loaded")

    return SimpleNamespace(
        NVMLError=NvmlError,
        nvmlInit=init,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda _: name,
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(total=memory),
    )


def test_memory_is_what_nvidia_smi_reports() -> None:
    mib = {"h100": 81559, "h200": 143771, "a100": 81920, "l40s": 46068}
    mib |= {"rtx-3090": 24576, "rtx-4090": 24564, "rtx-5090": 32607}
    assert {name: gpu.memory_bytes // 2**20 for name, gpu in GPUS.items()} == mib


def test_fp8_begins_at_compute_capability_8_9() -> None:
    for gpu in GPUS.values():
        assert (gpu.fp8_flops is not None) == (gpu.compute_capability >= (8, 9))


def test_names_are_found_in_any_case_and_unknown_ones_refused() -> None:
    assert find_gpu("H100") is GPUS["h100"]
    with pytest.raises(UnsupportedError, match=r"no GPU 'v100'.*Name one of h100, h200"):
        find_gpu("v100")


def test_the_gpu_that_is_here_with_the_memory_it_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml("NVIDIA L40S", 45_000 * 2**20))
    assert (detect_gpu().name, detect_gpu().memory_bytes) == ("l40s", 45_000 * 2**20)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (None, "No NVIDIA GPU or driver was found"),
        (nvml("", 0, driver=False), "No NVIDIA GPU or driver was found"),
        (nvml("NVIDIA T4", 16 * 2**30), "This machine's NVIDIA T4 is not in the table"),
    ],
)
def test_without_a_known_gpu_the_names_are_listed(module: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", module)
    with pytest.raises(UnsupportedError) as caught:
        detect_gpu()
    assert message in str(caught.value)
    assert "--gpu: h100, h200" in str(caught.value)
