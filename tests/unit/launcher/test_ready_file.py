from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nemotron_serving.launcher.endpoints import Endpoints
from nemotron_serving.launcher.errors import SetupError
from nemotron_serving.launcher.health import ReadyFile

SERVER: Any = SimpleNamespace(
    endpoints=Endpoints("127.0.0.1", 8000, 8001, 8002, 8003, tls=False),
    pid=7,
    model_pids={"ensemble": 8},
    runtime_dir=Path("/tmp/run"),  # noqa: S108 - named, not made
    log=SimpleNamespace(path=Path("triton.log")),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "directory" / "ready.json"


@pytest.fixture
def ready_file(path: Path) -> ReadyFile:
    path.parent.mkdir()
    return ReadyFile(path)


def test_it_is_there_while_the_server_serves(ready_file: ReadyFile, path: Path) -> None:
    assert list(path.parent.iterdir()) == []
    ready_file.write(SERVER, 2, {"openai_url": "http://127.0.0.1:9000/v1"})
    found = json.loads(path.read_text())
    assert found["health_url"] == "http://127.0.0.1:8003"
    assert found["openai_url"] == "http://127.0.0.1:9000/v1"
    assert (found["pid"], found["triton_pid"], found["restarts"]) == (os.getpid(), 7, 2)
    ready_file.remove()
    ready_file.remove()
    assert list(path.parent.iterdir()) == []


def test_one_of_an_earlier_server_goes(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("old")
    ReadyFile(path)
    assert not path.exists()


def test_where_no_file_can_be_made_is_refused_at_once(path: Path) -> None:
    with pytest.raises(SetupError, match=r"--ready-file .*ready\.json: No such file or directory\. Expected"):
        ReadyFile(path)
    path.mkdir(parents=True)
    with pytest.raises(SetupError, match="directory"):
        ReadyFile(path)
    with pytest.raises(SetupError, match="name too long"):
        ReadyFile(path.with_name("a" * 254))


def test_a_full_disk_leaves_no_half_file(ready_file: ReadyFile, path: Path) -> None:
    with no_space(), pytest.raises(SetupError, match=r"--ready-file .*ready\.json cannot be written: "):
        ready_file.write(SERVER, restarts=0)
    assert list(path.parent.iterdir()) == []
    ready_file.write(SERVER, restarts=0)
    assert path.exists()


def test_a_directory_that_vanishes(ready_file: ReadyFile, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.parent.rmdir()
    with pytest.raises(SetupError, match="cannot be written: No such file or directory"):
        ready_file.write(SERVER, restarts=0)
    ready_file.remove()
    assert capsys.readouterr().err == ""


def test_what_cannot_be_removed_is_said_once(
    ready_file: ReadyFile, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path / "in the way").mkdir(parents=True)
    ready_file.remove()
    ready_file.remove()
    said = capsys.readouterr().err
    assert "ready.json cannot be removed: " in said
    assert said.count("\n") == 1


def test_nobody_has_to_be_told() -> None:
    nobody = ReadyFile(None)
    nobody.write(SERVER, restarts=0)
    nobody.remove()


@contextmanager
def no_space() -> Iterator[None]:
    """What a file can hold is less than what is to be written, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
