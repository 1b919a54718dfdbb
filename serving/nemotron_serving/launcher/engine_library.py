"""Compare the engine's installed library with the one that wrote the package."""

from __future__ import annotations

from importlib import metadata

from nemotron_serving.launcher.errors import SetupError
from nemotron_serving.package import EngineSpec, check_engine_version

_DISTRIBUTIONS = {"openvino": "openvino-genai", "tensorrt_llm": "tensorrt-llm"}


def check_engine_library(spec: EngineSpec) -> str:
    """Refuse a package whose engine is not installed, or in another release.

    Returns:
        What is installed, for people to read.

    Raises:
        SetupError: the engine's library is not installed.
        PackageError: it is another release.
    """
    distribution = _DISTRIBUTIONS.get(spec.kind)
    if distribution is None:
        return f"none needed for {spec.kind}"
    try:
        installed = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        raise SetupError(
            f"The package needs {distribution} {spec.version}, which is not installed. "
            f"Install it with: pip install '{distribution}=={spec.version}'."
        ) from None
    check_engine_version(spec, installed)
    return f"{distribution} {installed}"
