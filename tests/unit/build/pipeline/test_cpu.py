"""Builds for a CPU: really converted, and packaged with nothing of the GPU's."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from gguf import GGMLQuantizationType

from nemotron_build.cli import main
from nemotron_build.cpu.to_openvino import ENGINE_FILES
from nemotron_build.profiles import load_profile
from nemotron_serving.package import ENGINE_DIR, Package
from tests.unit.build.cpu.gguf_models import write_gguf

PROFILE = """\
description = "for tests"
target = "openvino"
precision = "int8"

[limits]
max_batch_size = 4
max_seq_len = 512
max_num_tokens = 256
max_tokens = 64
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cpu.toml").write_text(PROFILE)
    return tmp_path


def test_a_checkpoint_becomes_a_package_for_cpus(here: Path, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", str(tiny), "--profile", "cpu.toml", "-o", "p", "--keep-work"]) == 0
    package = Package.load(here / "p")
    package.verify_files()
    engine, record = package.manifest.engine, package.manifest.build
    assert (engine.kind, engine.device) == ("openvino", "cpu")
    assert engine.precision.startswith("int8")
    assert {name for name in package.manifest.files if name.startswith(ENGINE_DIR)} == {
        f"{ENGINE_DIR}/{name}" for name in ENGINE_FILES
    }
    assert record is not None
    assert record.versions.keys() == {"openvino"}
    assert record.accuracy["top1_agreement"] > 0.8
    assert package.serving.chat_format == "nemotron"
    assert main(["verify", "p"]) == 0
    capsys.readouterr()
    assert main(["build", str(tiny), "--profile", "cpu.toml", "-o", "p", "--force"]) == 0
    assert capsys.readouterr().err.count("finished before") == 2


def test_the_stages_alone_make_the_same(here: Path, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(tiny), "--profile", "cpu.toml", "-o", "c"]) == 0
    assert main(["package", str(tiny), "--engine", "c", "--profile", "cpu.toml", "-o", "p"]) == 0
    assert Package.load(here / "p").manifest.engine.kind == "openvino"
    for figures in ("cpu.toml", "nothing.json"):
        capsys.readouterr()
        command = ["package", str(tiny), "--engine", "c", "--profile", "cpu.toml", "-o", "q", "--accuracy", figures]
        assert main(command) == 1
        assert f"{figures} cannot be used: " in capsys.readouterr().err.splitlines()[-1]
    # A copy, so that what is done to the one is not done to the other.
    assert (here / "c/openvino_model.bin").stat().st_ino != (here / "p/engine/openvino_model.bin").stat().st_ino


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["quantize", "TINY", "--profile", "cpu.toml", "-o", "c"], 2, "use 'nemotron-build convert'"),
        (["compile", "TINY", "--profile", "cpu.toml", "-o", "c"], 1, "has no engine to compile"),
        (["package", "TINY", "--engine", ".", "--profile", "cpu.toml", "-o", "p"], 1, "has no openvino_model.xml"),
        (
            ["package", "TINY", "--engine", "no", "--profile", "cpu.toml", "-o", "p"],
            1,
            "no is not there. Name with ",
        ),
        (["build", "TINY", "--profile", "cpu.toml", "-o", "cpu.gguf/p"], 1, "cpu.gguf is a file, so "),
        (["convert", "TINY", "--profile", "cpu.toml", "-o", "cpu.gguf/p"], 1, "cpu.gguf is a file, so "),
        (["build", "TINY", "--profile", "cpu.toml", "-o", "p", "--calibration", "t"], 2, "--calibration is for GPUs"),
        (["build", "nothing.gguf", "--profile", "cpu.toml", "-o", "p"], 3, "nothing.gguf is not there"),
        (["build", "cpu.gguf", "--profile", "cpu.toml", "-o", "p"], 3, "cannot be read as GGUF"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], status: int, message: str, here: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "cpu.gguf").write_text("no GGUF")
    assert main([str(tiny) if argument == "TINY" else argument for argument in arguments]) == status
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert not (here / "p").exists()


def test_a_gguf_files_values_are_not_scanned_apart(here: Path, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_gguf(tiny, here / "tiny.gguf", GGMLQuantizationType.Q8_0)
    assert main(["build", "tiny.gguf", "--profile", "cpu.toml", "-o", "p", "--scan-values"]) == 2
    error = capsys.readouterr().err
    assert "--scan-values reads a checkpoint's safetensors" in error
    assert "tiny.gguf is a GGUF file" in error


@pytest.mark.parametrize("profile", ["cpu-int8", "h100-bf16"])
def test_a_built_in_profile_takes_the_length_that_a_smaller_model_has(
    here: Path, tiny: Path, profile: str, capsys: pytest.CaptureFixture[str]
) -> None:
    limit = load_profile(profile).limits.max_seq_len
    note = f"max_seq_len is 512 instead of {limit} of profile {profile}: the model knows no more positions."
    assert main(["build", str(tiny), "--profile", profile, "-o", "p", "--dry-run"]) == 0
    assert f"# {note}" in capsys.readouterr().out.splitlines()
    assert main(["plan", str(tiny), "--profile", profile]) == 0
    assert note in " ".join(capsys.readouterr().out.split())
    if profile == "cpu-int8":
        write_gguf(tiny, here / "tiny.gguf", GGMLQuantizationType.Q8_0)
        assert main(["build", "tiny.gguf", "--profile", profile, "-o", "p"]) == 0
        assert note in capsys.readouterr().err
        serving = Package.load(here / "p").serving
        assert (serving.limits.max_seq_len, serving.max_tokens) == (512, 256)


def test_limits_are_options_of_every_stage(here: Path, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limits = ["--max-seq-len", "128", "--max-batch-size", "2"]
    assert main(["build", str(tiny), "--profile", "cpu-int8", "-o", "p", "--dry-run", *limits]) == 0
    said = capsys.readouterr()
    assert "instead of" not in said.out + said.err
    for line in [line for line in said.out.splitlines() if "--profile" in line]:
        assert " ".join(["--profile cpu-int8", *limits]) in line
        assert main(shlex.split(line)[1:]) == 0
    serving = Package.load(here / "p").serving
    assert (serving.limits.max_seq_len, serving.limits.max_batch_size, serving.max_tokens) == (128, 2, 64)
    capsys.readouterr()
    for wrong, status, message in (
        (["--max-seq-len", "513"], 4, "max_seq_len is 513, the model knows 512 positions"),
        (["--max-num-tokens", "64"], 2, "--max-num-tokens is for profiles that compile an engine"),
    ):
        assert main(["build", str(tiny), "--profile", "cpu-int8", "-o", "q", *wrong]) == status
        assert message in capsys.readouterr().err


def test_a_gguf_file_is_checked_by_its_fields(here: Path, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_gguf(tiny, here / "tiny.gguf", GGMLQuantizationType.Q8_0)
    assert main(["check", "tiny.gguf"]) == 0
    said = capsys.readouterr()
    assert said.out == "tiny.gguf\n"
    assert "Q8_0" in said.err and "512" in said.err
    assert main(["check", "tiny.gguf", "--scan-values"]) == 2
    assert "--scan-values reads a checkpoint's safetensors" in capsys.readouterr().err


def test_more_positions_than_the_model_knows_are_refused(
    here: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "cpu.toml").write_text(PROFILE.replace("max_seq_len = 512", "max_seq_len = 1024"))
    assert main(["build", str(tiny), "--profile", "cpu.toml", "-o", "p"]) == 4
    assert "the model knows 512 positions" in capsys.readouterr().err
