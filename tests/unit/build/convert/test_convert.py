"""Converting as a user meets it: a whole directory or none, a clean terminal, and errors that say what to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from nemotron_build import machine
from nemotron_build.checkpoint.check import Checkpoint, check_checkpoint
from nemotron_build.convert.modelopt import convert, converted_bytes, log_of
from nemotron_build.convert.worker import explained
from nemotron_build.errors import BuildError, CheckpointError, DiskSpaceError, UnsupportedError
from nemotron_build.profiles import Profile, load_profile
from tests.unit.build.tiny import tiny_checkpoint

pytestmark = pytest.mark.skipif(
    not all(map(find_spec, ("torch", "transformers", "modelopt"))), reason="needs the extra `quantize`"
)

FP8 = load_profile("h100-fp8")
BF16 = msgspec.structs.replace(FP8, precision="bf16")
TEXTS = ["<|begin_of_text|>What is the capital of France?", "<|begin_of_text|>The river rises."]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return check_checkpoint(tiny_checkpoint(tmp_path / "source"))


def _nothing_but_the_log(output: Path) -> bool:
    return {entry.name for entry in output.parent.iterdir()} <= {log_of(output).name}


def _silent(*_: object) -> None:
    pass


def test_fp8(checkpoint: Checkpoint, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "made" / "fp8"
    seen: list[tuple[str, int, int]] = []
    convert(checkpoint, FP8, output, calibration=TEXTS, report=lambda *progress: seen.append(progress))
    assert capfd.readouterr() == ("", "")
    assert "Inserted" in log_of(output).read_text()  # ModelOpt's own words
    assert sorted(entry.name for entry in output.iterdir()) == ["config.json", "rank0.safetensors"]
    assert sorted(entry.name for entry in output.parent.iterdir()) == ["fp8", "fp8.log"]
    assert seen[0] == ("Loading the model", 0, 0)
    assert [progress for progress in seen if progress[0].startswith("Calibrating")] == [
        ("Calibrating, prompt", done, 2) for done in range(3)
    ]
    assert seen[-1] == ("Converting, tensor", 24, 24)
    assert output.stat().st_mode & 0o777 == (tmp_path / "source").stat().st_mode & 0o777


@pytest.mark.parametrize(
    "profile",
    [BF16, msgspec.structs.replace(BF16, tp_size=2), msgspec.structs.replace(BF16, flow="pytorch")],
    ids=["tp1", "tp2", "pytorch"],
)
def test_the_size_is_known_beforehand(tmp_path: Path, profile: Profile) -> None:
    tied = profile.flow == "engine" and profile.tp_size == 2
    checkpoint = check_checkpoint(tiny_checkpoint(tmp_path / "source", tie=tied, vocab=2048))
    convert(checkpoint, profile, tmp_path / "out", calibration=[], report=_silent)
    found = sum(file.stat().st_size for file in (tmp_path / "out").glob("*.safetensors"))
    assert converted_bytes(checkpoint.shape, profile) == pytest.approx(found, rel=0.02)


def test_fp8_halves_the_linear_layers(checkpoint: Checkpoint) -> None:
    saved = converted_bytes(checkpoint.shape, BF16) - converted_bytes(checkpoint.shape, FP8)
    assert saved == checkpoint.shape.linear_parameters


def test_an_interrupt_leaves_nothing_running_or_half_written(checkpoint: Checkpoint, tmp_path: Path) -> None:
    def interrupt(what: str, done: int, total: int) -> None:  # noqa: ARG001
        if done == 3:
            raise KeyboardInterrupt

    output = tmp_path / "made" / "bf16"
    with pytest.raises(KeyboardInterrupt):
        convert(checkpoint, BF16, output, calibration=[], report=interrupt)
    assert _nothing_but_the_log(output)
    assert not psutil.Process().children()


def test_a_killed_child_speaks_of_memory(checkpoint: Checkpoint, tmp_path: Path) -> None:
    def kill(*_: object) -> None:
        for child in psutil.Process().children():
            child.kill()

    output = tmp_path / "made" / "bf16"
    with pytest.raises(UnsupportedError, match="was killed, most likely for want of memory"):
        convert(checkpoint, BF16, output, calibration=[], report=kill)
    assert _nothing_but_the_log(output)


def test_the_childs_error_is_raised_here(checkpoint: Checkpoint, tmp_path: Path) -> None:
    (file,) = checkpoint.path.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-100])
    output = tmp_path / "made" / "bf16"
    with pytest.raises(CheckpointError, match="cut short"):
        convert(checkpoint, BF16, output, calibration=[], report=_silent)
    assert _nothing_but_the_log(output)


def test_a_crash_names_the_log(checkpoint: Checkpoint, tmp_path: Path) -> None:
    (checkpoint.path / "tokenizer.json").write_text("{}")
    output = tmp_path / "made" / "fp8"
    with pytest.raises(BuildError, match=rf"failed with status 1: .*The log is {log_of(output)}"):
        convert(checkpoint, FP8, output, calibration=TEXTS, report=_silent)
    assert "Traceback" in log_of(output).read_text()
    assert _nothing_but_the_log(output)


def test_too_little_room_is_said_beforehand(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(DiskSpaceError, match=r"has 0\.0 GB free, .* takes 0\.0 GB\. Free 0\.0 GB there"):
        convert(checkpoint, BF16, tmp_path / "out", calibration=[], report=_silent)


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (OSError(28, "No space left on device"), DiskSpaceError, "/work is full"),
        (RuntimeError('IoError(Os { code: 28, kind: StorageFull, message: "…" })'), DiskSpaceError, "/work is full"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA"), UnsupportedError, "GPU's memory does not hold"),
        (ValueError("other"), ValueError, "other"),
    ],
)
def test_what_a_library_raises_is_explained(error: Exception, kind: type[Exception], says: str) -> None:
    found = explained(error, Path("/work/.out-1/converted"))
    assert type(found) is kind
    assert says in str(found)


def _exists(output: Path, _: pytest.MonkeyPatch) -> None:
    output.mkdir()


def _no_modelopt(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "find_spec", lambda name: None if name == "modelopt" else True)


@pytest.mark.parametrize(
    ("profile", "texts", "prepare", "kind", "says"),
    [
        (BF16, [], _exists, BuildError, "exists. Remove it"),
        (FP8, [], None, BuildError, "needs at least one calibration text"),
        (msgspec.structs.replace(BF16, kv_cache="fp8"), [], None, BuildError, "needs at least one calibration text"),
        (msgspec.structs.replace(BF16, tp_size=4), [], None, UnsupportedError, "tp_size 4 does not divide"),
        (FP8, TEXTS, _no_modelopt, UnsupportedError, r"needs modelopt, .*nemotron-build container.*\[quantize\]"),
    ],
)
def test_what_cannot_go_well_is_refused_at_once(
    checkpoint: Checkpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    profile: Profile,
    texts: list[str],
    prepare: Callable[[Path, pytest.MonkeyPatch], Any] | None,
    kind: type[BuildError],
    says: str,
) -> None:
    output = tmp_path / "out"
    if prepare:
        prepare(output, monkeypatch)
    with pytest.raises(kind, match=says):
        convert(checkpoint, profile, output, calibration=texts, report=_silent)
    assert not log_of(output).exists()
