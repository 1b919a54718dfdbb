"""Engines behind one interface. `open_engine` picks the one that a package names.

All that is common to engines is taken from here; what one engine alone has, from its own package.
"""

from __future__ import annotations

from nemotron_serving.engine.base import (
    Delta,
    Engine,
    EngineFinish,
    EngineLimits,
    EngineRequest,
    EngineStats,
    OnDelta,
    Sampling,
    TokenLogprob,
)
from nemotron_serving.errors import PackageError
from nemotron_serving.features import Feature
from nemotron_serving.host import HostOptions
from nemotron_serving.package import Package

__all__ = [
    "Delta",
    "Engine",
    "EngineFinish",
    "EngineLimits",
    "EngineRequest",
    "EngineStats",
    "Feature",
    "OnDelta",
    "Sampling",
    "TokenLogprob",
    "open_engine",
]


def open_engine(package: Package, options: HostOptions) -> Engine:
    """Load the engine of a package.

    Raises:
        PackageError: an engine that this version does not know, or files it cannot load.
    """
    kind = package.manifest.engine.kind
    if kind == "openvino":
        from nemotron_serving.engine.openvino.engine import OpenVINOEngine

        return OpenVINOEngine(package, options)
    if kind == "simulated":
        from nemotron_serving.engine.simulated import SimulatedEngine

        return SimulatedEngine(package)
    if kind == "tensorrt_llm":
        from nemotron_serving.engine.tensorrt_llm.engine import TensorRTLLMEngine

        return TensorRTLLMEngine(package, options)
    raise PackageError(
        f"{package.path}: engine kind {kind!r} is not known here, expected 'openvino', 'simulated' or 'tensorrt_llm'. "
        "Serve it with the version that built it, or build it again."
    )
