"""Find Triton, the Python stub that fits this interpreter, and the shared libpython that the stub loads."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nemotron_serving.launcher.errors import SetupError

CONTAINER_ROOT = Path("/opt/tritonserver")
STUB_NAME = "triton_python_backend_stub"
PYTHON_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
_LOADER_FAILED = 127


@dataclass(frozen=True)
class Triton:
    """An installation of Triton.

    Attributes:
        binary: The program tritonserver.
        python_backend: Directory with libtriton_python.so.
        stub: The program that runs Python models, linked against this interpreter's version.
        library_dirs: What LD_LIBRARY_PATH must hold.
    """

    binary: Path
    python_backend: Path
    stub: Path
    library_dirs: tuple[Path, ...]


def find_triton(given: Path | None = None) -> Triton:
    """Find Triton: the one given, else the container's, else the one in the nvidia-pytriton wheel.

    Args:
        given: The program tritonserver, or the directory that holds bin/tritonserver.

    Raises:
        SetupError: nothing there, no Python backend, or no stub for this Python.
    """
    root, wheel_libraries = _root(given)
    python_backend = root / "backends" / "python"
    if not (python_backend / "libtriton_python.so").is_file():
        raise SetupError(f"{root} has no Python backend: {python_backend}/libtriton_python.so is missing.")
    return Triton(
        root / "bin" / "tritonserver", python_backend, _stub(root), (*wheel_libraries, *libpython_directories())
    )


def libpython_directories() -> tuple[Path, ...]:
    """Directories with the shared libpython of this interpreter; none if the system's loader must find it."""
    name = f"libpython{PYTHON_VERSION}.so.1.0"
    library = Path(sysconfig.get_config_var("LIBDIR") or "")
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    # A relocated Python (uv, conda) still reports the LIBDIR that it was built with.
    candidates = (Path(sys.base_prefix) / "lib", library, library / multiarch)
    return tuple(dict.fromkeys(path for path in candidates if (path / name).is_file()))[:1]


def check_stub(triton: Triton, environment: Mapping[str, str]) -> None:
    """Refuse a stub that the system cannot load.

    Args:
        triton: The installation.
        environment: What Triton will run with.

    Raises:
        SetupError: the stub's shared libraries, above all libpython, were not found.
    """
    # Without arguments a stub that loads complains about its arguments and ends.
    result = subprocess.run([triton.stub], env=environment, capture_output=True, check=False, timeout=30)
    if result.returncode == _LOADER_FAILED:
        reason = result.stderr.decode(errors="replace").strip().rpartition(": error while ")[2]
        raise SetupError(
            f"Triton cannot run Python {PYTHON_VERSION} models: error while {reason}. "
            f"Use a Python with a shared libpython: the system's with its libpython{PYTHON_VERSION} package, "
            "one from uv or conda, or one built with --enable-shared."
        )


def _root(given: Path | None) -> tuple[Path, tuple[Path, ...]]:
    if given is not None:
        root = given if given.is_dir() else given.absolute().parent.parent
        if not _has_server(root):
            raise SetupError(
                f"--tritonserver {given}: no Triton there. Expected the program tritonserver in a directory bin, "
                f"or the directory above, such as {CONTAINER_ROOT}."
            )
        return root.absolute(), _libraries_beside(root.absolute())
    for root in _usual_places():
        if _has_server(root):
            return root, _libraries_beside(root)
    raise SetupError(
        f"Triton was not found: there is no {CONTAINER_ROOT}, and the nvidia-pytriton wheel is not installed. "
        "Install it in this project's checkout: pip install '.[server]' (Python 3.11 or 3.12, x86-64), "
        "or name an installation with --tritonserver PATH."
    )


def _usual_places() -> Iterator[Path]:
    yield CONTAINER_ROOT
    # The specification of a top-level package is found without running any of its code.
    wheel = importlib.util.find_spec("pytriton")
    for location in (wheel.submodule_search_locations or []) if wheel else []:
        yield Path(location) / "tritonserver"


def _libraries_beside(root: Path) -> tuple[Path, ...]:
    wheel = root.parent.parent / "nvidia_pytriton.libs"
    return tuple(path for path in (wheel, root / "lib") if path.is_dir())


def _has_server(root: Path) -> bool:
    binary = root / "bin" / "tritonserver"
    return binary.is_file() and os.access(binary, os.X_OK)


def _stub(root: Path) -> Path:
    ours = root / "python_backend_stubs" / PYTHON_VERSION / STUB_NAME
    if ours.is_file():
        return ours
    only = root / "backends" / "python" / STUB_NAME
    versions = _linked_python(only) if only.is_file() else _shipped_versions(root)
    if PYTHON_VERSION in versions:
        return only
    raise SetupError(
        f"The Triton at {root} runs models of Python {', '.join(versions) or '(none)'}, "
        f"this is Python {PYTHON_VERSION}. Run nemotron-serve with a Python that it has."
    )


def _linked_python(stub: Path) -> list[str]:
    return sorted({found.decode() for found in re.findall(rb"libpython(3\.\d+)\.so", stub.read_bytes())})


def _shipped_versions(root: Path) -> list[str]:
    versions = [path.parent.name for path in root.glob(f"python_backend_stubs/*/{STUB_NAME}")]
    return sorted(versions, key=lambda version: int(version.partition(".")[2]))
