from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_serving.errors import PackageError
from nemotron_serving.host import CANCEL_FILE, CLOSE_FILE, DRAIN_FILE, ENGINE_FILE, HostOptions, RuntimeDir, plain_path

paths = st.sampled_from([Path("/packages/demo"), Path("relative"), Path("/with space/ä")])


@given(
    options=st.builds(
        HostOptions,
        package=paths,
        runtime_dir=st.none() | paths,
        engine_threads=st.none() | st.integers(1, 256),
        kv_cache_gib=st.none() | st.integers(1, 256),
        stream_interval_ms=st.none() | st.floats(0, 1e6),
    )
)
def test_the_environment_reads_back_as_the_options(options: HostOptions) -> None:
    assert HostOptions.from_environment(options.to_environment()) == options


def test_no_interval_at_all_is_not_the_same_as_none_given() -> None:
    environment = HostOptions(package=Path("p"), stream_interval_ms=0.0).to_environment()
    assert environment["NEMOTRON_STREAM_INTERVAL_MS"] == "0.0"


def test_the_package_is_enough_and_other_variables_do_not_matter() -> None:
    environment = {"NEMOTRON_PACKAGE": "packages/demo", "NEMOTRON_URL": "x", "PATH": "y", "NEMOTRON_KV_CACHE_GIB": ""}
    assert HostOptions.from_environment(environment) == HostOptions(package=Path("packages/demo"))


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({}, "missing required field `package`"),
        ({"NEMOTRON_PACKAGE": ""}, "missing required field `package`"),
        ({"NEMOTRON_PACKAGE": "p", "NEMOTRON_ENGINE_THREADS": "many"}, "engine_threads"),
        ({"NEMOTRON_PACKAGE": "p", "NEMOTRON_KV_CACHE_GIB": "1.5"}, "kv_cache_gib"),
        ({"NEMOTRON_PACKAGE": "p", "NEMOTRON_STREAM_INTERVAL_MS": "soon"}, "stream_interval_ms"),
    ],
)
def test_variables_that_do_not_fit_are_refused(environment: dict[str, str], problem: str) -> None:
    with pytest.raises(
        PackageError, match=rf"^NEMOTRON_\* variables: .*{problem}.*Start the server with nemotron-serve"
    ):
        HostOptions.from_environment(environment)


def test_a_path_that_libraries_cannot_be_told_gets_another_name(tmp_path: Path) -> None:
    directory = tmp_path / os.fsdecode(b"\xff")
    directory.mkdir()
    (directory / "file").write_text("text")
    plain = plain_path(directory)
    assert str(plain).isascii()
    assert (plain / "file").read_text() == "text"
    assert plain.samefile(directory)


def test_other_paths_stay(tmp_path: Path) -> None:
    for path in (tmp_path / "é", tmp_path / os.fsdecode(b"absent \xff")):
        assert plain_path(path) == path


def test_runtime_dir_follows_its_files(tmp_path: Path) -> None:
    runtime_dir = RuntimeDir(tmp_path)

    def said() -> list[bool]:
        return [runtime_dir.draining(), runtime_dir.cancelling(), runtime_dir.closing()]

    for number, name in enumerate((DRAIN_FILE, CANCEL_FILE, CLOSE_FILE)):
        assert said().count(True) == number
        (tmp_path / name).touch()
        assert said()[number]


def test_the_launcher_sees_whether_the_engine_is_open(tmp_path: Path) -> None:
    runtime_dir = RuntimeDir(tmp_path)
    runtime_dir.engine_opened()
    assert (tmp_path / ENGINE_FILE).exists()
    for _ in range(2):
        runtime_dir.engine_closed()
        assert not (tmp_path / ENGINE_FILE).exists()


def test_without_a_launcher_nothing_drains() -> None:
    runtime_dir = RuntimeDir(None)
    runtime_dir.engine_opened()
    assert not any((runtime_dir.draining(), runtime_dir.cancelling(), runtime_dir.closing()))

    assert (runtime_dir.draining(), runtime_dir.cancelling()) == (False, False)


def test_departures_are_told_once(tmp_path: Path) -> None:
    here, there = RuntimeDir(tmp_path), RuntimeDir(tmp_path)
    assert there.take_departures() == frozenset()
    assert here.report_departure(7) and here.report_departure(8) and here.report_departure(7)
    assert there.take_departures() == {7, 8}
    assert there.take_departures() == frozenset()
    (tmp_path / "departed" / "not ours").mkdir()
    assert here.report_departure(9)
    assert there.take_departures() == {9}


def test_a_departure_that_nobody_can_hear(tmp_path: Path) -> None:
    assert not RuntimeDir(None).report_departure(7)
    assert not RuntimeDir(tmp_path / "gone").report_departure(7)
    assert RuntimeDir(None).take_departures() == frozenset()
