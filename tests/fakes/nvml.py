"""A pynvml of a machine that is not here."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

from nemotron_build.machine import InstalledGpu


class NvmlError(Exception):
    """What NVML raises, as where there is no driver."""


def nvml(gpus: Sequence[InstalledGpu], **changes: object) -> SimpleNamespace:
    """What pynvml has of these GPUs, whose identifiers are `GPU-0`, `GPU-1` and so on.

    Args:
        gpus: What is in the machine.
        changes: Functions that behave otherwise, by their names.
    """
    functions = {
        "NVMLError": NvmlError,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: len(gpus),
        "nvmlDeviceGetHandleByIndex": lambda number: number,
        "nvmlDeviceGetUUID": lambda handle: f"GPU-{handle}",
        "nvmlDeviceGetName": lambda handle: gpus[handle].name,
        "nvmlDeviceGetCudaComputeCapability": lambda handle: tuple(
            int(part) for part in gpus[handle].compute_capability.split(".")
        ),
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(total=gpus[handle].memory_bytes),
        "nvmlSystemGetDriverVersion": lambda: "580.95",
        "nvmlSystemGetCudaDriverVersion_v2": lambda: 13010,
    }
    return SimpleNamespace(**(functions | changes))
