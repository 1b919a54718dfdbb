"""What is found on a machine, without importing anything heavy."""

from __future__ import annotations

import sys

import pytest

from nemotron_build.machine import InstalledGpu, detect, library_version, machine_memory, visible
from tests.fakes.nvml import NvmlError, nvml

UUIDS = ["GPU-aa", "GPU-bb"]
GPUS = (InstalledGpu("NVIDIA X0", "9.0", 80), InstalledGpu("NVIDIA X1", "9.0", 80))


def test_gpus_and_driver_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(GPUS))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_VERSION", raising=False)
    found = detect()
    assert found.gpus == GPUS
    assert (found.versions["driver"], found.versions["cuda"]) == ("580.95", "13.1")
    monkeypatch.setenv("CUDA_VERSION", "13.1.0.036")
    assert detect().versions["cuda"] == "13.1.0.036"


@pytest.mark.parametrize("function", ["nvmlInit", "nvmlDeviceGetCount", "nvmlSystemGetDriverVersion"])
def test_no_driver_or_one_that_does_not_answer_is_no_gpu(function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise NvmlError("Driver Not Loaded")

    monkeypatch.setitem(sys.modules, "pynvml", nvml(GPUS, **{function: fail}))
    found = detect()
    assert found.gpus == ()
    assert "driver" not in found.versions


@pytest.mark.parametrize(
    ("variable", "places"),
    [("0", [0]), ("1", [1]), ("1,0", [1, 0]), ("GPU-bb", [1]), ("", []), ("-1", []), ("0,7,1", [0])],
)
def test_hidden_gpus_do_not_count(variable: str, places: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert visible(UUIDS) == places


def test_versions_are_those_of_the_distributions() -> None:
    assert library_version("openvino") == detect().versions["openvino"]
    assert library_version("tensorrt_llm") is None


@pytest.mark.parametrize(("limit", "expected"), [(2**20, 2**20), (2**60, None), (None, None)])
def test_memory_is_what_the_container_may_have(
    limit: int | None, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nemotron_build.machine.memory_limit", lambda: None)
    all_of_it = machine_memory()
    monkeypatch.setattr("nemotron_build.machine.memory_limit", lambda: limit)
    assert machine_memory() == (expected or all_of_it)
