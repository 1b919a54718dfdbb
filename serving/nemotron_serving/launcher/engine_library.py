"""Compare the engine's installed library with the one that wrote the package."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from nemotron_serving.engine.tensorrt_llm.files import IMAGE, TENSORRT_LLM, check_release
from nemotron_serving.launcher.errors import SetupError
from nemotron_serving.package import EngineSpec, check_engine_version

_DISTRIBUTIONS = {"openvino": "openvino-genai", "tensorrt_llm": "tensorrt-llm"}


def check_engine_library(spec: EngineSpec, engine_path: Path) -> str:
    """Refuse a package whose engine is not installed, or in another release.

    Args:
        spec: The package's engine.
        engine_path: Its files, which say what release a `tensorrt_llm` package needs.

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
        advice = f"Install it with: pip install '{distribution}=={spec.version}'."
        if spec.kind == "tensorrt_llm":
            advice = f"Serve in {IMAGE}, which has {TENSORRT_LLM}."
        raise SetupError(f"The package needs {distribution} {spec.version}, which is not installed. {advice}") from None
    if spec.kind == "tensorrt_llm":
        check_release(spec, engine_path, installed)
    else:
        check_engine_version(spec, installed)
    return f"{distribution} {installed}"
