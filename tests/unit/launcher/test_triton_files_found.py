from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nemotron_serving.launcher import triton_files
from nemotron_serving.launcher.errors import SetupError
from nemotron_serving.launcher.triton_files import PYTHON_VERSION, STUB_NAME, check_stub, find_triton


def installation(root: Path, *, stub: bytes = f"libpython{PYTHON_VERSION}.so.1.0".encode()) -> Path:
    """A Triton as in the container: one stub, beside the Python backend."""
    python = root / "backends" / "python"
    python.mkdir(parents=True)
    (python / "libtriton_python.so").touch()
    (python / STUB_NAME).write_bytes(stub)
    (root / "bin").mkdir()
    (root / "bin" / "tritonserver").write_text("#!/bin/sh\n")
    (root / "bin" / "tritonserver").chmod(0o755)
    return root


@pytest.mark.parametrize("given", [".", "bin/tritonserver"])
def test_given_as_directory_or_as_program(tmp_path: Path, given: str) -> None:
    root = installation(tmp_path / "triton")
    triton = find_triton(root / given)
    assert triton.binary == root / "bin" / "tritonserver"
    assert triton.stub == root / "backends" / "python" / STUB_NAME


def test_given_but_not_there(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"--tritonserver .*/nowhere: no Triton there. Expected the program"):
        find_triton(tmp_path / "nowhere")


def test_the_container_comes_before_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_files, "CONTAINER_ROOT", installation(tmp_path / "container"))
    assert find_triton().binary == tmp_path / "container" / "bin" / "tritonserver"


def test_the_wheel_brings_its_libraries_and_a_stub_for_this_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triton_files, "CONTAINER_ROOT", tmp_path / "none")
    triton = find_triton()
    assert triton.stub.parent.name == PYTHON_VERSION
    assert triton.library_dirs[0].name == "nvidia_pytriton.libs"
    assert "pytriton" not in sys.modules, "its code is not needed, and it wants a lot"


def test_nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_files, "CONTAINER_ROOT", tmp_path / "none")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SetupError, match=r"Triton was not found.*pip install"):
        find_triton()


def test_a_stub_for_another_python(tmp_path: Path) -> None:
    root = installation(tmp_path / "triton", stub=b"\0libpython3.8.so.1.0\0")
    with pytest.raises(SetupError, match=rf"runs models of Python 3\.8, this is Python {PYTHON_VERSION}"):
        find_triton(root)


def test_no_python_backend(tmp_path: Path) -> None:
    root = installation(tmp_path / "triton")
    (root / "backends" / "python" / "libtriton_python.so").unlink()
    with pytest.raises(SetupError, match="has no Python backend"):
        find_triton(root)


def test_a_missing_libpython_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = (
        b"stub: error while loading shared libraries: libpython3.11.so.1.0: cannot open shared object file: "
        b"No such file or directory\n"
    )
    monkeypatch.setattr("subprocess.run", lambda *_, **__: subprocess.CompletedProcess([], 127, b"", message))
    with pytest.raises(SetupError, match=r"error while loading shared libraries: libpython3\.11.*--enable-shared"):
        check_stub(find_triton(installation(tmp_path / "triton")), {})
