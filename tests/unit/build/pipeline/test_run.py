"""Stages run once, again when what they depend on changes, and appear only when they are finished."""

from __future__ import annotations

import errno
import io
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from nemotron_build.errors import BuildError, DiskSpaceError, VerificationError
from nemotron_build.pipeline.run import Interrupted, run_alone, run_stages
from nemotron_build.pipeline.stage import Cost, Tools
from nemotron_build.pipeline.work import WorkDirectory, opened
from nemotron_build.steps import Steps


@dataclass
class Writes:
    """A stage that writes one file, and counts how often."""

    name: str
    text: str = "x"
    option: str = "1"
    failure: BaseException | None = None
    disk_bytes: int = 0
    runs: int = 0
    seen: list[list[str]] = field(default_factory=list)
    before_writing: Callable[[Path], None] = lambda _: None

    @property
    def title(self) -> str:
        return f"Doing {self.name}"

    def inputs(self) -> Mapping[str, str]:
        return {"option": self.option}

    def cost(self) -> Cost:
        return Cost(self.disk_bytes, 1)

    def commands(self, output: Path) -> list[list[str]]:
        return [["write", str(output)]]

    def run(self, output: Path, tools: Tools) -> None:
        self.runs += 1
        self.seen.append([entry.name for entry in output.iterdir()])
        self.before_writing(output)
        (output / "deep").mkdir()
        (output / "deep" / "file").write_text(self.text)
        if self.failure:
            raise self.failure
        tools.report("writing", 1, 1)


def stages(**of_second: object) -> list[Writes]:
    return [Writes("check"), Writes("convert", **of_second), Writes("compile")]  # type: ignore[arg-type]


def run(one: list[Writes], work: Path, steps: Steps) -> list[int]:
    with opened(work) as directory:
        run_stages(one, directory, steps)
    return [stage.runs for stage in one]


def test_finished_stages_are_not_redone_and_this_is_said(tmp_path: Path, steps: Steps, said: io.StringIO) -> None:
    assert run(stages(), tmp_path / "w", steps) == [1, 1, 1]
    assert "finished before" not in said.getvalue()
    assert run(stages(), tmp_path / "w", steps) == [0, 0, 0]
    assert said.getvalue().count("finished before") == 3
    assert (tmp_path / "w/convert/files/deep/file").read_text() == "x"


def test_changed_inputs_redo_a_stage_and_what_follows_if_its_files_change(tmp_path: Path, steps: Steps) -> None:
    run(stages(), tmp_path / "w", steps)
    assert run(stages(option="2", text="y"), tmp_path / "w", steps) == [0, 1, 1]
    # The same files under another option: what follows has nothing to redo.
    assert run(stages(option="3", text="y"), tmp_path / "w", steps) == [0, 1, 0]


def test_a_change_is_seen_through_a_stage_that_always_writes_the_same(tmp_path: Path, steps: Steps) -> None:
    run([Writes("a", text="1"), Writes("b"), Writes("c")], tmp_path / "w", steps)
    assert run([Writes("a", text="2", option="2"), Writes("b"), Writes("c")], tmp_path / "w", steps) == [1, 1, 1]


@pytest.mark.parametrize("damage", ["remove", "cut", "record"])
def test_damaged_files_of_a_finished_stage_redo_it(tmp_path: Path, steps: Steps, damage: str) -> None:
    run(stages(), tmp_path / "w", steps)
    file = tmp_path / "w/convert/files/deep/file"
    if damage == "remove":
        file.unlink()
    elif damage == "cut":
        file.write_text("")
    else:
        (tmp_path / "w/convert/stage.json").write_text("{")
    assert run(stages(), tmp_path / "w", steps) == [0, 1, 0]


@pytest.mark.parametrize("failure", [BuildError("no"), OSError("no"), SystemExit(143)])
def test_a_failed_stage_leaves_nothing_and_the_others_stay(
    tmp_path: Path, steps: Steps, failure: BaseException
) -> None:
    with pytest.raises(type(failure)):
        run(stages(failure=failure), tmp_path / "w", steps)
    assert sorted(entry.name for entry in (tmp_path / "w").iterdir()) == ["check", "nemotron-build.lock"]
    assert run(stages(), tmp_path / "w", steps) == [0, 1, 1]


def test_what_was_killed_in_the_middle_is_cleared_and_never_used(tmp_path: Path, steps: Steps) -> None:
    run(stages(), tmp_path / "w", steps)
    shutil.move(tmp_path / "w/compile", tmp_path / "w/.partial-compile")
    again = stages()
    assert run(again, tmp_path / "w", steps) == [0, 0, 1]
    assert again[2].seen == [[]]
    assert not (tmp_path / "w/.partial-compile").exists()


def test_ctrl_c_says_what_is_kept_and_where(tmp_path: Path, steps: Steps) -> None:
    with pytest.raises(Interrupted, match=r"in convert\. What was finished \(check\) is kept in .*/w "):
        run(stages(failure=KeyboardInterrupt()), tmp_path / "w", steps)


def test_ctrl_c_in_the_first_stage_leaves_no_directory(tmp_path: Path, steps: Steps) -> None:
    with pytest.raises(Interrupted, match="Nothing was finished"):
        run([Writes("check", failure=KeyboardInterrupt())], tmp_path / "w", steps)
    assert list(tmp_path.iterdir()) == []


def test_space_is_asked_for_before_a_stage_begins(
    tmp_path: Path, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=3_000_000_000))
    needy = [Writes("check"), Writes("convert", disk_bytes=2_500_000_000), Writes("compile", disk_bytes=1_000_000_000)]
    with pytest.raises(
        DiskSpaceError, match=r"3.0 GB free, .*\(check, convert, compile\) needs .* 3.5 GB\. Free 500 MB"
    ):
        run(needy, tmp_path / "w", steps)
    assert [stage.runs for stage in needy] == [0, 0, 0]


def test_only_what_is_left_to_do_needs_space(tmp_path: Path, steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    run([Writes("check"), Writes("convert", disk_bytes=10**9)], tmp_path / "w", steps)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**6))
    both = [Writes("check"), Writes("convert", disk_bytes=10**9), Writes("compile", disk_bytes=10**6)]
    assert run(both, tmp_path / "w", steps) == [0, 0, 1]


@pytest.mark.parametrize(
    "failure",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_disk_that_runs_full_is_said_as_such(tmp_path: Path, steps: Steps, failure: Exception) -> None:
    with pytest.raises(DiskSpaceError, match=r"ran full.*disk with --work; what was finished is kept"):
        run(stages(failure=failure), tmp_path / "w", steps)
    assert run(stages(), tmp_path / "w", steps) == [0, 1, 1]


def test_a_stage_alone_names_its_own_option(tmp_path: Path, steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = stages(failure=OSError(errno.ENOSPC, "No space left on device"))[1]
    with pytest.raises(DiskSpaceError, match=r"ran full.*name another disk with -o; what"):
        run_alone(failing, tmp_path / "made", steps)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**6))
    with pytest.raises(DiskSpaceError, match=r"Free 999 MB there, or name another disk with -o\.$"):
        run_alone(Writes("convert", disk_bytes=10**9), tmp_path / "made", steps)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        # OpenVINO's words, and those for a child whose log is on the same disk.
        (RuntimeError("basic_ios::clear: iostream error"), DiskSpaceError),
        (BuildError("Converting failed with status 1: it printed nothing"), DiskSpaceError),
        (VerificationError("rope"), VerificationError),
    ],
)
def test_what_fails_on_a_full_disk_failed_for_that(
    tmp_path: Path, steps: Steps, monkeypatch: pytest.MonkeyPatch, failure: Exception, expected: type[Exception]
) -> None:
    def usage(path: Path) -> SimpleNamespace:
        half_done = list(Path(path).glob(".partial-*"))
        return SimpleNamespace(free=1000 if half_done else 10**9)  # it fills the disk, until it is removed

    failing = stages(failure=failure)
    monkeypatch.setattr(shutil, "disk_usage", usage)
    with pytest.raises(expected):
        run(failing, tmp_path / "w", steps)


def test_two_builds_in_one_directory_are_one_too_many(tmp_path: Path) -> None:
    with opened(tmp_path / "w"), pytest.raises(BuildError, match="Another nemotron-build"), opened(tmp_path / "w"):
        pass
    with opened(tmp_path / "w"):
        pass


def test_a_directory_of_other_files_is_never_used(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(BuildError, match="holds other files"), opened(tmp_path):
        pass
    with pytest.raises(BuildError, match="is a file"), opened(tmp_path / "thesis.tex"):
        pass


def test_removing_leaves_what_is_not_ours(tmp_path: Path, steps: Steps) -> None:
    run(stages(), tmp_path / "w", steps)
    run([Writes("check"), Writes("quantize")], tmp_path / "w", steps)
    (tmp_path / "w/notes.txt").write_text("mine")
    WorkDirectory(tmp_path / "w").remove()
    assert [entry.name for entry in (tmp_path / "w").iterdir()] == ["notes.txt"]
