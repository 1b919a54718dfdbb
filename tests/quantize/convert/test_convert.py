"""Converting as the pipeline meets it: a clean terminal, no child left behind, and errors that say what to do."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from nemotron_build import machine
from nemotron_build.checkpoint.check import Checkpoint, check_checkpoint
from nemotron_build.convert import conversion
from nemotron_build.convert.conversion import Job, converted_bytes, do
from nemotron_build.errors import BuildError, CheckpointError, UnsupportedError
from nemotron_build.profiles import Profile, load_profile
from nemotron_build.steps import Report
from tests.unit.build.tiny import tiny_checkpoint

FP8 = load_profile("h100-fp8")
BF16 = msgspec.structs.replace(FP8, precision="bf16")
TEXTS = ["<|begin_of_text|>What is the capital of France?", "<|begin_of_text|>The river rises."]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return check_checkpoint(tiny_checkpoint(tmp_path / "source"))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "made").mkdir()
    return tmp_path / "made"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def _silent(*_: object) -> None:
    pass


def convert(checkpoint: Checkpoint, profile: Profile, output: Path, texts: list[str], report: Report = _silent) -> None:
    conversion.convert(checkpoint, profile, output, calibration=texts, log=output.with_name("log"), report=report)


def workers() -> list[psutil.Process]:
    """The children that convert. This process may have others: servers that other tests share."""
    children = [(child, child.as_dict(["cmdline"])["cmdline"]) for child in psutil.Process().children()]
    return [child for child, command in children if command and "nemotron_build.convert.conversion" in command]


def test_fp8(checkpoint: Checkpoint, output: Path) -> None:
    """In this process; pipeline/test_real.py quantizes in a child."""
    seen: list[tuple[str, int, int]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what ModelOpt and what it imports say
        do(Job(str(checkpoint.path), FP8, TEXTS, str(output)), lambda *progress: seen.append(progress))
    assert sorted(entry.name for entry in output.iterdir()) == ["config.json", "rank0.safetensors"]
    assert seen[0] == ("Loading the model", 0, 0)
    assert [progress for progress in seen if progress[0].startswith("Calibrating")] == [
        ("Calibrating, prompt", done, 2) for done in range(3)
    ]
    assert seen[-1] == ("Converting, tensor", 24, 24)


@pytest.mark.parametrize(
    "profile",
    [BF16, msgspec.structs.replace(BF16, tp_size=2), msgspec.structs.replace(BF16, flow="pytorch")],
    ids=["tp1", "tp2", "pytorch"],
)
def test_the_size_is_known_beforehand(tmp_path: Path, output: Path, profile: Profile) -> None:
    tied = profile.flow == "engine" and profile.tp_size == 2
    checkpoint = check_checkpoint(tiny_checkpoint(tmp_path / "source", tie=tied, vocab=2048))
    do(Job(str(checkpoint.path), profile, [], str(output)), _silent)
    found = sum(file.stat().st_size for file in output.glob("*.safetensors"))
    assert converted_bytes(checkpoint.shape, profile) == pytest.approx(found, rel=0.02)


def test_fp8_halves_the_linear_layers(checkpoint: Checkpoint) -> None:
    saved = converted_bytes(checkpoint.shape, BF16) - converted_bytes(checkpoint.shape, FP8)
    assert saved == pytest.approx(checkpoint.shape.linear_parameters, rel=0.01)


def test_an_interrupt_leaves_nothing_running(
    checkpoint: Checkpoint, output: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[str, int, int]] = []

    def interrupt(*progress: Any) -> None:
        seen.append(progress)
        if len(seen) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(checkpoint, BF16, output, [], interrupt)
    assert not workers()
    assert seen == [("Converting, tensor", done, 24) for done in range(4)]
    assert capfd.readouterr() == ("", "")


def test_a_killed_child_speaks_of_memory(checkpoint: Checkpoint, output: Path) -> None:
    def kill(*_: object) -> None:
        for child in workers():
            child.kill()

    with pytest.raises(UnsupportedError, match="was killed, most likely for want of memory"):
        convert(checkpoint, BF16, output, [], kill)


def test_the_childs_error_is_raised_here(checkpoint: Checkpoint, output: Path) -> None:
    (file,) = checkpoint.path.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cut short"):
        convert(checkpoint, BF16, output, [])


def test_a_crash_names_the_log(checkpoint: Checkpoint, output: Path, log: Path) -> None:
    (checkpoint.path / "tokenizer.json").write_text("{}")
    with pytest.raises(BuildError, match=rf"failed with status 1: .*The log is {log}"):
        convert(checkpoint, FP8, output, TEXTS)
    assert "Traceback" in log.read_text()


def test_a_child_that_dies_before_it_reads_a_large_job_is_told_of(
    checkpoint: Checkpoint, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(BuildError, match="failed with status 1: it printed nothing"):
        convert(checkpoint, FP8, output, ["word " * 100_000])


def _no_modelopt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "find_spec", lambda name: None if name == "modelopt" else True)


@pytest.mark.parametrize(
    ("profile", "texts", "prepare", "kind", "says"),
    [
        (FP8, [], None, BuildError, "needs at least one calibration text"),
        (msgspec.structs.replace(FP8, kv_cache="fp8"), [], None, BuildError, "needs at least one calibration text"),
        (msgspec.structs.replace(BF16, tp_size=4), [], None, UnsupportedError, "tp_size 4 does not divide"),
        (FP8, TEXTS, _no_modelopt, UnsupportedError, r"needs modelopt, .*nemotron-build container.*\[quantize\]"),
    ],
)
def test_what_cannot_go_well_is_refused_at_once(
    checkpoint: Checkpoint,
    output: Path,
    log: Path,
    monkeypatch: pytest.MonkeyPatch,
    profile: Profile,
    texts: list[str],
    prepare: Callable[[pytest.MonkeyPatch], Any] | None,
    kind: type[BuildError],
    says: str,
) -> None:
    if prepare:
        prepare(monkeypatch)
    with pytest.raises(kind, match=says):
        convert(checkpoint, profile, output, texts)
    assert not log.exists()
