"""Triton's files: the installation with the stub for this Python, and the directories that a server is started on."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import nemotron_serving
from nemotron_serving.launcher.errors import SetupError
from nemotron_serving.package import Package

PUBLIC_MODEL = "ensemble"
PYTHON_BACKEND = "python"
# The Python backend under a second name, for the one model that needs many of its threads: the number is an option of a
# backend, and each model of it gets as many.
WAITING_BACKEND = "python_waiting"
_WAITING_MODEL = "unary"
_MODEL_FILE = "model.py"
_ESCAPED = {"\\": "\\\\", '"': '\\"'}

_PLAIN = re.compile(r"[A-Za-z0-9/._+@=-]+")
_OTHER_TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - mkdtemp makes a directory of its own there
CONTAINER_ROOT = Path("/opt/tritonserver")
STUB_NAME = "triton_python_backend_stub"
PYTHON_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
_LOADER_FAILED = 127


def prepare_backends(triton: Triton, directory: Path, repository: Path) -> None:
    """Fill `directory` with the Python backend and the stub that fits this interpreter, as links.

    Args:
        triton: The installation.
        directory: Where to lay them out; it must not exist.
        repository: The model repository. Of a Python backend that is not named 'python', Triton wants the model's file
            beside it.
    """
    for name in (PYTHON_BACKEND, WAITING_BACKEND):
        backend = directory / name
        backend.mkdir(parents=True)
        for file in triton.python_backend.iterdir():
            if file.is_file() and file.name != STUB_NAME:
                (backend / file.name.replace(_library(PYTHON_BACKEND), _library(name))).symlink_to(file)
        (backend / STUB_NAME).symlink_to(triton.stub)
    (directory / WAITING_BACKEND / _MODEL_FILE).symlink_to(repository.resolve() / _WAITING_MODEL / "1" / _MODEL_FILE)


def prepare_repository(source: Path, directory: Path, about: Mapping[str, str] = {}) -> tuple[str, ...]:
    """Fill `directory` with the model repository, as links, and add what a checkout cannot hold.

    Triton refuses a model without a version directory, and git and wheels hold no empty directories. What is served is
    known now alone: it becomes the parameters of the public model's configuration, which callers may read.

    Args:
        source: The model repository.
        directory: Where to lay it out; it must not exist.
        about: Parameters, see `about`.

    Returns:
        The names of the models.
    """
    directory.mkdir()
    names = model_names(source)
    for name in names:
        shutil.copytree(
            source.resolve() / name,
            directory / name,
            copy_function=os.symlink,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        if not any(path.name.isdigit() for path in (directory / name).iterdir()):
            (directory / name / "1").mkdir()
    if about:
        _rewrite(directory / PUBLIC_MODEL, lambda text: text + "".join(map(_parameter, about.keys(), about.values())))
    if _WAITING_MODEL in names:
        used = f'backend: "{PYTHON_BACKEND}"'
        _rewrite(directory / _WAITING_MODEL, lambda text: text.replace(used, f'backend: "{WAITING_BACKEND}"'))
    return names


def about(package: Package) -> dict[str, str]:
    """What a client may know of the package that is served: the fields of its `ModelInfo`."""
    serving, engine, limits = package.serving, package.manifest.engine, package.serving.limits
    return {
        "name": serving.model_name,
        "package": package.manifest.name,
        "engine": engine.kind,
        "device": engine.device,
        "precision": engine.precision,
        "chat_format": serving.chat_format,
        "thinking": "true" if serving.thinking.default else "false",
        "max_tokens": str(serving.max_tokens),
        "max_seq_len": str(limits.max_seq_len),
        "max_batch_size": str(limits.max_batch_size),
        "max_waiting": str(limits.max_waiting),
    }


def _rewrite(model: Path, change: Callable[[str], str]) -> None:
    config = model / "config.pbtxt"
    content = config.read_text("utf-8")
    config.unlink()  # a link to the one for all packages
    config.write_text(change(content), "utf-8")


def _library(backend: str) -> str:
    return f"libtriton_{backend}.so"


def _parameter(name: str, value: str) -> str:
    escaped = "".join(_ESCAPED.get(character, character) for character in value if character.isprintable())
    return f'parameters {{ key: "{name}" value {{ string_value: "{escaped}" }} }}\n'


def model_names(repository: Path) -> tuple[str, ...]:
    """The models of a repository.

    Raises:
        SetupError: the directory is none, or has no model that callers could use.
    """
    names = tuple(sorted(path.parent.name for path in repository.glob("*/config.pbtxt")))
    if PUBLIC_MODEL not in names:
        raise SetupError(
            f"{repository} is no model repository for nemotron-serve: it has no {PUBLIC_MODEL}/config.pbtxt. "
            f"Models found: {', '.join(names) or 'none'}."
        )
    return names


def default_repository() -> Path:
    """The model repository of this installation: inside the wheel, or at the root of a checkout."""
    package = Path(nemotron_serving.__file__).resolve().parent
    installed = package / "model_repository"
    return installed if installed.is_dir() else package.parent.parent / "model_repository"


def keep_from_aging(directory: Path) -> int:
    """Keep programs that remove what is old, such as systemd-tmpfiles after ten days, from a temporary directory.

    They leave alone what somebody has locked. Without it a server that ran for long could not be started again.

    Returns:
        The file descriptor that holds the lock.
    """
    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    with suppress(OSError):  # a file system without locks
        fcntl.flock(held, fcntl.LOCK_SH)
    return held


def runtime_directory() -> Path:
    """A new directory for the models' repository.

    Triton starts the models' Python processes through a shell, with this path as it is, and hangs where the shell reads
    it otherwise.

    Raises:
        SetupError: no directory for temporary files has a path that means itself to a shell.
    """
    usual = tempfile.gettempdir()
    for place in (usual, *_OTHER_TEMPORARY):
        if _PLAIN.fullmatch(place) and os.access(place, os.W_OK | os.X_OK):
            return Path(tempfile.mkdtemp(prefix="nemotron-serve-", dir=place))
    raise SetupError(
        f"TMPDIR is {usual!r}, expected the path of a directory in the letters a to z, digits and any of /._-: Triton "
        "takes no other. Set TMPDIR to one that can be written to."
    )


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
