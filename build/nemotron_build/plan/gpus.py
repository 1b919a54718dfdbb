"""The GPUs that are known by name, and finding the one that is here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from nemotron_build.errors import UnsupportedError, UsageError
from nemotron_build.machine import InstalledGpu, detect
from nemotron_serving.errors import did_you_mean

Architecture = Literal["ampere", "ada", "hopper", "blackwell"]

_MIB = 2**20
# What NVML reports differs by a little between the variants of a card.
_MEMORY_TOLERANCE = 0.03


@dataclass(frozen=True)
class Gpu:
    """What a GPU has, per card.

    Attributes:
        name: As profiles and `--gpu` spell it.
        title: As NVIDIA's driver spells it.
        architecture: Decides which efficiencies hold, see `roofline`.
        compute_capability: FP8 needs (8, 9).
        memory_bytes: As nvidia-smi reports it.
        bandwidth: What its memory moves, bytes/s, from the data sheet.
        bf16_flops: Dense peak of the tensor cores with FP32 accumulation, from the data sheet.
        fp8_flops: Dense peak with FP8 inputs; None where the cores have none.
        link_bandwidth: To the other GPUs of a server, bytes/s in one direction: NVLink, else PCIe.
    """

    name: str
    title: str
    architecture: Architecture
    compute_capability: tuple[int, int]
    memory_bytes: int
    bandwidth: float
    bf16_flops: float
    fp8_flops: float | None
    link_bandwidth: float

    def flops(self, precision: str) -> float:
        """Peak for weights of this precision."""
        return self.fp8_flops if precision == "fp8" and self.fp8_flops else self.bf16_flops

    def runs_engines_of(self, installed: InstalledGpu) -> bool:
        """Whether an engine that is compiled on a GPU is one for this kind: the card itself, or a variant of it."""
        near = abs(installed.memory_bytes / self.memory_bytes - 1) <= _MEMORY_TOLERANCE
        same_capability = installed.compute_capability == ".".join(map(str, self.compute_capability))
        return installed.name == self.title or (near and same_capability)


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("h100", "NVIDIA H100 80GB HBM3", "hopper", (9, 0), 81559 * _MIB, 3352e9, 989.4e12, 1978.9e12, 450e9),
        Gpu("h200", "NVIDIA H200", "hopper", (9, 0), 143771 * _MIB, 4800e9, 989.4e12, 1978.9e12, 450e9),
        Gpu("a100", "NVIDIA A100-SXM4-80GB", "ampere", (8, 0), 81920 * _MIB, 2039e9, 312e12, None, 300e9),
        Gpu("l40s", "NVIDIA L40S", "ada", (8, 9), 46068 * _MIB, 864e9, 362e12, 733e12, 32e9),
        Gpu("rtx-3090", "NVIDIA GeForce RTX 3090", "ampere", (8, 6), 24576 * _MIB, 936e9, 71.2e12, None, 32e9),
        Gpu("rtx-4090", "NVIDIA GeForce RTX 4090", "ada", (8, 9), 24564 * _MIB, 1008e9, 165.2e12, 330.3e12, 32e9),
        Gpu("rtx-5090", "NVIDIA GeForce RTX 5090", "blackwell", (12, 0), 32607 * _MIB, 1792e9, 209.5e12, 419e12, 64e9),
    )
}


def find_gpu(name: str) -> Gpu:
    """Look a GPU up by name.

    Raises:
        UsageError: it is not in the table.
    """
    gpu = GPUS.get(name.lower())
    if gpu is None:
        meant = did_you_mean(name.lower(), GPUS)
        raise UsageError(f"There is no GPU {name!r} in the table{meant or '.'} Name one of {', '.join(GPUS)}.")
    return gpu


def detect_gpu() -> Gpu:
    """The first GPU of this machine that CUDA sees, with the memory that it reports.

    Raises:
        UnsupportedError: there is none, no driver, or one that is not in the table.
    """
    remedy = f"Name one with --gpu: {', '.join(GPUS)}."
    here = detect().gpus
    if not here:
        raise UnsupportedError(f"No NVIDIA GPU or driver was found on this machine. {remedy}")
    for gpu in GPUS.values():
        if gpu.title == here[0].name:
            return replace(gpu, memory_bytes=here[0].memory_bytes)
    raise UnsupportedError(f"This machine's {here[0].name} is not in the table. {remedy}")
