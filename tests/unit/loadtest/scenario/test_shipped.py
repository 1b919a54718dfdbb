"""Scenarios by name."""

from __future__ import annotations

from pathlib import Path

import pytest

import nemotron_loadtest
from nemotron_loadtest.cli import main
from nemotron_loadtest.scenario import find_scenario, load_scenario, shipped_scenarios


def test_those_that_ship_lie_in_the_package() -> None:
    package = Path(nemotron_loadtest.__file__).parent
    assert shipped_scenarios()
    assert all(package in path.parents for path in shipped_scenarios())


def test_none_needs_what_is_not_shipped() -> None:
    assert [path.stem for path in shipped_scenarios() if load_scenario(path).package] == []


def test_a_name_or_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_scenario("quick").name == "quick.toml"
    assert find_scenario("own.toml") == Path("own.toml")
    (tmp_path / "quick").write_text("")
    assert find_scenario("quick") == Path("quick")


def test_they_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenarios"]) == 0
    listed = capsys.readouterr().out
    assert all(path.stem in listed and load_scenario(path).description in listed for path in shipped_scenarios())


def test_neither_name_nor_path(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "nope"]) == 2
    error = capsys.readouterr().err
    assert "nope: No such file" in error and "nemotron-bench scenarios" in error
