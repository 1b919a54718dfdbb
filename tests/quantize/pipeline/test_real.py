"""Builds that really convert, quantize and verify a tiny model, as far as a machine without a GPU can."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import pytest

from nemotron_build import machine
from nemotron_build.cli import main
from nemotron_build.convert import conversion
from nemotron_build.steps import Report
from nemotron_serving.engine.tensorrt_llm.files import read_engine_files
from nemotron_serving.package import Package
from tests.fakes import trtllm_build
from tests.fakes.nvml import nvml
from tests.unit.build.pipeline.pretend import H100, write_profile
from tests.unit.build.tiny import tiny_checkpoint

TEXTS = "\n\n".join(f"What is {number} plus {number}? Say it in one short sentence." for number in range(8))
LOOSE = """
[calibration]
samples = 8
max_tokens = 48

[accuracy]
min_top1_agreement = 0.5
max_mean_kl = 0.5
max_perplexity_ratio = 1.5
"""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("source") / "Tiny-Nemotron")


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = trtllm_build.install(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.txt").write_text(TEXTS)
    return tmp_path


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quantizing without a child, which takes seconds to import what it needs."""

    def run(job: conversion.Job, _: Path, report: Report) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what ModelOpt and what it imports say
            conversion.do(job, report)

    monkeypatch.setattr(conversion, "run_worker", run)


def build(tiny: Path, here: Path, flow: str) -> int:
    profile = write_profile(here, flow=flow)
    profile.write_text(profile.read_text() + LOOSE)
    texts = ["--calibration", "texts.txt", "--held-out", "texts.txt"]
    return main(["build", str(tiny), "--profile", str(profile), "-o", "p", *texts])


def test_a_checkpoint_for_the_pytorch_flow_needs_no_gpu(
    here: Path, tiny: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """ModelOpt runs in a child, and what it says stays out of the terminal."""
    assert build(tiny, here, "pytorch") == 0
    said = capfd.readouterr()
    assert said.out == "p\n"
    assert "Inserted" in (here / "p.logs/quantize.log").read_text()  # ModelOpt's own words
    assert "Inserted" not in said.err
    package = Package.load(here / "p")
    files = read_engine_files(package)
    assert (files.flow, files.max_seq_len) == ("pytorch", 256)
    engine, record = package.manifest.engine, package.manifest.build
    assert (engine.version, engine.machine) == ("1.2.1", "any")
    assert engine.device == "any GPU of compute capability 8.9 or newer"
    assert record is not None
    assert record.hardware.keys() == {"machine"}
    assert record.accuracy["top1_agreement"] > 0.5
    assert {"modelopt", "torch"} <= record.versions.keys()
    assert (here / "p/engine/model.safetensors").stat().st_mode & 0o777 == 0o644
    assert main(["verify", "p"]) == 0


@pytest.mark.usefixtures("compiler", "in_this_process")
def test_an_engine_of_what_was_really_quantized(here: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = machine.library_version
    monkeypatch.setitem(sys.modules, "pynvml", nvml([H100]))
    for variable in ("CUDA_VISIBLE_DEVICES", "CUDA_VERSION"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(machine, "library_version", lambda name: "1.2.1" if name == "tensorrt_llm" else installed(name))
    assert build(tiny, here, "engine") == 0
    package = Package.load(here / "p")
    assert read_engine_files(package).flow == "engine"
    assert package.manifest.engine.device == H100.name
    assert main(["verify", "p"]) == 0
    assert not os.path.lexists(here / ".p-build")
