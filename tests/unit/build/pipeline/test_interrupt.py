"""Ctrl-C in each stage, sent to the real command: nothing half-made stays, what was finished does, no child lives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes import trtllm_build
from tests.unit.build.pipeline.pretend import alive, write_profile
from tests.waiting import wait_until

ROOT = Path(__file__).parents[4]
STAGES = ["check", "quantize", "verify", "compile", "package"]
CASES = [
    *((stage, signal.SIGINT) for stage in STAGES),
    *(("compile", number) for number in (signal.SIGTERM, signal.SIGHUP)),
]


@pytest.mark.parametrize(("stage", "number"), CASES)
def test_interrupted(stage: str, number: signal.Signals, tiny: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    hang = {"TRTLLM_BUILD_FAKE": "hang", "TRTLLM_BUILD_FAKE_PIDS": str(mark)}
    if stage != "compile":
        hang = {"PRETEND_HANG": stage, "PRETEND_HANG_MARK": str(mark)}
    target = tmp_path / "out" / "p"
    process = start(tiny, target, tmp_path, hang)
    try:
        wait_for(mark, process)
        process.send_signal(number)
        output, errors = process.communicate(timeout=90)
    finally:
        process.kill()
    assert (process.returncode, output) == (128 + number, "")
    assert "Traceback" not in errors
    finished = STAGES[: STAGES.index(stage)]
    said = [line for line in errors.splitlines() if line.startswith("nemotron-build: ")]
    assert len(said) == 1
    assert ("interrupted" if number == signal.SIGINT else "terminated") in said[0]
    if number == signal.SIGINT:
        assert (str(target.parent / ".p-build") in said[0]) == bool(finished)
    kept = sorted(entry.name for entry in (target.parent / ".p-build").glob("[!nl.]*"))
    assert kept == sorted(finished)
    assert [entry.name for entry in target.parent.iterdir()] == [".p-build"] * bool(finished)
    if stage == "compile":
        assert not any(alive(int(pid)) for pid in mark.read_text().split())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stage_alone_leaves_nothing(number: signal.Signals, tiny: Path, tmp_path: Path) -> None:
    mark, target = tmp_path / "mark", tmp_path / "out" / "q"
    process = start(tiny, target, tmp_path, {"PRETEND_HANG": "quantize", "PRETEND_HANG_MARK": str(mark)}, "quantize")
    try:
        wait_for(mark, process)
        process.send_signal(number)
        _, errors = process.communicate(timeout=90)
    finally:
        process.kill()
    assert process.returncode == 128 + number, errors
    assert list(target.parent.iterdir()) == []


def test_a_second_build_in_the_same_directory_is_refused(tiny: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    target = tmp_path / "out" / "p"
    first = start(tiny, target, tmp_path, {"PRETEND_HANG": "verify", "PRETEND_HANG_MARK": str(mark)})
    try:
        wait_for(mark, first)
        second = start(tiny, target, tmp_path, {})
        _, errors = second.communicate(timeout=90)
        assert second.returncode == 1
        assert "Another nemotron-build is at work" in errors
        assert first.poll() is None
    finally:
        first.kill()
        first.communicate()
    # What was killed outright holds no lock, and its half stage is cleared.
    third = start(tiny, target, tmp_path, {})
    _, errors = third.communicate(timeout=90)
    assert third.returncode == 0, errors
    assert errors.count("finished before") == 2
    assert sorted(entry.name for entry in target.parent.iterdir()) == ["p", "p.logs"]


def start(
    tiny: Path, target: Path, tmp_path: Path, environment: dict[str, str], command_name: str = "build"
) -> subprocess.Popen[str]:
    programs = trtllm_build.install(tmp_path / "bin")
    profile = write_profile(tmp_path)
    command = [sys.executable, "-m", "tests.unit.build.pipeline.pretend", command_name, str(tiny)]
    return subprocess.Popen(
        [*command, "--profile", str(profile), "-o", str(target)],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(mark: Path, process: subprocess.Popen[str]) -> None:
    def marked() -> bool:
        assert process.poll() is None, process.communicate()
        return mark.exists() and mark.read_text().endswith("\n")

    wait_until(marked, 60)
