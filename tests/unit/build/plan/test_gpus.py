"""The GPU table, and the GPU of this machine in it."""

from __future__ import annotations

import pytest

from nemotron_build.errors import UnsupportedError, UsageError
from nemotron_build.machine import InstalledGpu, Machine
from nemotron_build.plan.gpus import GPUS, detect_gpu, find_gpu


def test_memory_is_what_nvidia_smi_reports() -> None:
    mib = {"h100": 81559, "h200": 143771, "a100": 81920, "l40s": 46068}
    mib |= {"rtx-3090": 24576, "rtx-4090": 24564, "rtx-5090": 32607}
    assert {name: gpu.memory_bytes // 2**20 for name, gpu in GPUS.items()} == mib


def test_fp8_begins_at_compute_capability_8_9() -> None:
    for gpu in GPUS.values():
        assert (gpu.fp8_flops is not None) == (gpu.compute_capability >= (8, 9))


def test_names_are_found_in_any_case_and_unknown_ones_refused() -> None:
    assert find_gpu("H100") is GPUS["h100"]
    with pytest.raises(UsageError, match=r"no GPU 'v100'.*Name one of h100, h200"):
        find_gpu("v100")


def here(patch: pytest.MonkeyPatch, *gpus: InstalledGpu) -> None:
    patch.setattr("nemotron_build.plan.gpus.detect", lambda: Machine(gpus))


def test_the_gpu_that_is_here_with_the_memory_it_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    here(monkeypatch, InstalledGpu("NVIDIA L40S", "8.9", 45_000 * 2**20), InstalledGpu("NVIDIA T4", "7.5", 16 * 2**30))
    assert (detect_gpu().name, detect_gpu().memory_bytes) == ("l40s", 45_000 * 2**20)


@pytest.mark.parametrize(
    ("gpus", "message"),
    [
        ((), "No NVIDIA GPU or driver was found"),
        ((InstalledGpu("NVIDIA T4", "7.5", 16 * 2**30),), "This machine's NVIDIA T4 is not in the table"),
    ],
)
def test_without_a_known_gpu_the_names_are_listed(
    gpus: tuple[InstalledGpu, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here(monkeypatch, *gpus)
    with pytest.raises(UnsupportedError) as caught:
        detect_gpu()
    assert message in str(caught.value)
    assert "--gpu: h100, h200" in str(caught.value)
