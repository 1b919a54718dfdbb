"""Engines behind one interface. `open_engine` picks the one that a package names."""

from __future__ import annotations

import os

import msgspec

from nemotron_serving.engine.base import (
    Delta,
    Engine,
    EngineFinish,
    EngineLimits,
    EngineRequest,
    EngineStats,
    OnDelta,
    Sampling,
)
from nemotron_serving.errors import PackageError
from nemotron_serving.package import Package

__all__ = [
    "Delta",
    "Engine",
    "EngineFinish",
    "EngineLimits",
    "EngineRequest",
    "EngineStats",
    "HostOptions",
    "OnDelta",
    "Sampling",
    "open_engine",
]


class HostOptions(msgspec.Struct, frozen=True):
    """What depends on the machine that serves, not on the package. None means: from the machine.

    Attributes:
        threads: CPU threads of the engine.
        kv_cache_gib: Size of the KV cache in GiB.
    """

    threads: int | None = None
    kv_cache_gib: float | None = None

    @classmethod
    def from_environment(cls) -> HostOptions:
        """Read NEMOTRON_ENGINE_THREADS and NEMOTRON_KV_CACHE_GIB, which nemotron-serve sets from its options."""
        threads, kv_cache = os.environ.get("NEMOTRON_ENGINE_THREADS"), os.environ.get("NEMOTRON_KV_CACHE_GIB")
        return cls(int(threads) if threads else None, float(kv_cache) if kv_cache else None)


def open_engine(package: Package, options: HostOptions) -> Engine:
    """Load the engine of a package.

    Raises:
        PackageError: an engine that this version does not know, or files it cannot load.
    """
    kind = package.manifest.engine.kind
    if kind == "openvino":
        from nemotron_serving.engine.openvino import OpenVINOEngine

        return OpenVINOEngine(package, options)
    if kind == "simulated":
        from nemotron_serving.engine.simulated import SimulatedEngine

        return SimulatedEngine(package)
    raise PackageError(
        f"{package.path}: engine kind {kind!r} is not known here, expected 'openvino' or 'simulated'. "
        "Serve it with the version that built it, or build it again."
    )
