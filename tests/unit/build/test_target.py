"""A package appears at once or not at all, and nothing else is ever deleted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nemotron_build.errors import BuildError
from nemotron_build.target import good_package, holds_package, staged


def test_appears_when_finished_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "packages" / "new"
    with staged(target) as work:
        (work.package / "manifest.json").write_text("{}")
        (work.scratch / "large").write_text("x")
        assert not target.exists()
        work.finish()
    assert sorted(entry.name for entry in target.iterdir()) == ["engine", "manifest.json"]
    assert [entry.name for entry in target.parent.iterdir()] == ["new"]


def test_replaces_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "old"
    target.mkdir()
    (target / "serving.json").write_text("{}")
    with staged(target) as work:
        work.finish()
    assert [entry.name for entry in target.iterdir()] == ["engine"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, SystemExit, OSError])
def test_failure_leaves_everything_as_it_was(tmp_path: Path, failure: type[BaseException]) -> None:
    target = tmp_path / "old"
    target.mkdir()
    (target / "serving.json").write_text("{}")
    with pytest.raises(failure), staged(target) as work:
        (work.package / "manifest.json").write_text("{}")
        raise failure
    assert [entry.name for entry in target.iterdir()] == ["serving.json"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["old"]


def test_old_package_returns_when_the_last_rename_fails(tmp_path: Path) -> None:
    target = tmp_path / "old"
    target.mkdir()
    (target / "serving.json").write_text("{}")
    with pytest.raises(FileNotFoundError), staged(target) as work:
        work.package.rename(work.scratch / "lost")
        work.finish()
    assert [entry.name for entry in target.iterdir()] == ["serving.json"]


def test_old_package_returns_when_ctrl_c_comes_between_the_renames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "old"
    target.mkdir()
    (target / "serving.json").write_text("{}")
    rename, calls = os.rename, iter([True])

    def interrupted(source: Path, destination: Path) -> None:
        rename(source, destination)
        if next(calls, False):
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), staged(target) as work:
        work.finish()
    assert [entry.name for entry in target.iterdir()] == ["serving.json"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["old"]


def test_foreign_files_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(BuildError, match=r"is not a package: thesis.tex is in it"), staged(tmp_path):
        pass
    with pytest.raises(BuildError, match="is a file"):
        holds_package(tmp_path / "thesis.tex")


def test_empty_directory_is_no_package(tmp_path: Path) -> None:
    assert good_package(tmp_path) is None
    assert good_package(tmp_path / "absent") is None


def test_damaged_package_asks_for_force(tmp_path: Path) -> None:
    (tmp_path / "serving.json").write_text("{}")
    with pytest.raises(BuildError, match=r"manifest.json is missing.* --force"):
        good_package(tmp_path)
