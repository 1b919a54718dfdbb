from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from nemotron_serving.errors import PackageError
from nemotron_serving.launcher.engine_library import check_engine_library
from nemotron_serving.launcher.errors import SetupError
from nemotron_serving.package import EngineSpec

NOWHERE = Path("nowhere")


def spec(kind: str, version: str) -> EngineSpec:
    return EngineSpec(kind, version, "cpu", "any", "int4")


def test_the_installed_release_fits() -> None:
    installed = metadata.version("openvino-genai")
    assert check_engine_library(spec("openvino", installed), NOWHERE) == f"openvino-genai {installed}"


def test_another_release_is_refused() -> None:
    with pytest.raises(PackageError, match=r"openvino 2020\.1"):
        check_engine_library(spec("openvino", "2020.1"), NOWHERE)


def test_a_library_that_is_not_installed() -> None:
    with pytest.raises(SetupError, match=r"needs tensorrt-llm 1\.2\.1, which is not installed.*trtllm-python-py3"):
        check_engine_library(spec("tensorrt_llm", "1.2.1"), NOWHERE)


def test_the_simulated_engine_needs_none() -> None:
    assert "none needed" in check_engine_library(spec("simulated", "1"), NOWHERE)
