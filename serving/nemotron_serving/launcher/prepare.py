"""Lay out what Triton wants to find: a backend directory with the right stub, and complete model directories."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import nemotron_serving
from nemotron_serving.launcher.errors import SetupError
from nemotron_serving.launcher.find import STUB_NAME, Triton
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
