"""What this machine has: memory, GPUs, their driver, and the versions of the libraries that a build depends on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec

from nemotron_build.errors import UnsupportedError
from nemotron_serving.cgroups import memory_limit

_LIBRARIES = {
    "tensorrt_llm": "tensorrt-llm",
    "tensorrt": "tensorrt",
    "modelopt": "nvidia-modelopt",
    "torch": "torch",
    "transformers": "transformers",
    "openvino": "openvino-genai",
}


@dataclass(frozen=True)
class InstalledGpu:
    """A GPU as NVML names it.

    Attributes:
        name: Such as `NVIDIA H100 80GB HBM3`.
        compute_capability: Such as `9.0`.
        memory_bytes: All of its memory.
    """

    name: str
    compute_capability: str
    memory_bytes: int


@dataclass(frozen=True)
class Machine:
    """Attributes: the GPUs, and versions by name: those of libraries, and `driver` and `cuda` where there are."""

    gpus: tuple[InstalledGpu, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)


def detect() -> Machine:
    """Look at this machine. Nothing heavy is imported, and what is missing is left out."""
    versions = {name: version for name in _LIBRARIES if (version := library_version(name)) is not None}
    gpus, driver = _nvml()
    return Machine(gpus, {**versions, **driver})


def machine_memory() -> int:
    """RAM of this machine in bytes, or what the control groups of this container or unit allow of it."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(machine, memory_limit() or machine)


def library_version(name: str) -> str | None:
    """Version of an installed library, by the name that manifests use; None where it is not installed."""
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(_LIBRARIES[name])
    return None


def require_libraries(names: Sequence[str], purpose: str) -> None:
    """Make sure that libraries of the extra `quantize` can be imported.

    Args:
        names: What their modules are called.
        purpose: What needs them, to be read before "needs".

    Raises:
        UnsupportedError: naming the first that is missing.
    """
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise UnsupportedError(
            f"{purpose} needs {missing[0]}, which is not installed here. Run it in the serving image "
            "('nemotron-build container'), or install them in this project's checkout: pip install '.[quantize]'."
        )


def gpu_memory_too_small(purpose: str) -> UnsupportedError:
    """The error to raise where CUDA ran out of memory.

    Args:
        purpose: What the model was loaded for, to be read before "with".
    """
    return UnsupportedError(
        f"The GPU's memory does not hold the model in BF16, which {purpose} with. "
        "Stop what else runs on it, or hide it with CUDA_VISIBLE_DEVICES= to use the CPU."
    )


def visible(identifiers: Sequence[str]) -> list[int]:
    """Places of the GPUs that CUDA_VISIBLE_DEVICES leaves, which NVML knows nothing of.

    Args:
        identifiers: Such as `GPU-8c0d…`, of all GPUs.
    """
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return list(range(len(identifiers)))
    places: list[int] = []
    for name in wanted.split(","):
        found = [place for place, known in enumerate(identifiers) if name in (str(place), known)]
        if not found:
            break  # CUDA ignores what stands behind a wrong one
        places += found
    return places


def _nvml() -> tuple[tuple[InstalledGpu, ...], dict[str, str]]:
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no library, no driver, no GPU: each has an exception of its own
        return (), {}
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(pynvml.nvmlDeviceGetCount())]
        places = visible([pynvml.nvmlDeviceGetUUID(handle) for handle in handles])
        gpus = tuple(_gpu(handles[place]) for place in places)
        cuda = pynvml.nvmlSystemGetCudaDriverVersion_v2()
        versions = {
            "driver": pynvml.nvmlSystemGetDriverVersion(),
            # NVIDIA's images name their toolkit; else the newest that the driver runs.
            "cuda": os.environ.get("CUDA_VERSION") or f"{cuda // 1000}.{cuda % 1000 // 10}",
        }
        return gpus, versions
    except pynvml.NVMLError:  # a driver that does not answer
        return (), {}
    finally:
        pynvml.nvmlShutdown()


def _gpu(handle: object) -> InstalledGpu:
    import pynvml

    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    name = pynvml.nvmlDeviceGetName(handle)
    return InstalledGpu(name, f"{major}.{minor}", pynvml.nvmlDeviceGetMemoryInfo(handle).total)
