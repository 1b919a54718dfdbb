"""What to say about a path that is not what a command wants: what lies there, and what to do instead.

Packages and checkpoints have their words here together, for people name the one where the other is expected.
"""

from __future__ import annotations

import difflib
import re
import shlex
from pathlib import Path

MANIFEST = "manifest.json"
"""The file that makes a directory a package."""

_CONFIG = "config.json"
_GGUF = ".gguf"
_GGUF_MAGIC = b"GGUF"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_PACKAGES = Path("packages")  # where the commands of the documentation put them
_SHOWN = 5


def no_package(path: Path) -> str:
    """Why a path is not a package, and what to do.

    Args:
        path: It has no manifest.json.
    """
    if not path.exists():
        return f"{_typed(path)} is not there. {_package_to_get(path)}"
    return _file_for_package(path) if path.is_file() else _directory_for_package(path)


def no_checkpoint(path: Path, *, gguf: bool = False) -> str:
    """Why a path is not the directory of a checkpoint, and what to do.

    Args:
        path: It has no config.json.
        gguf: Whether a GGUF file would do as well.
    """
    wanted = "a Hugging Face checkpoint's directory" + (" or a GGUF file" if gguf else "")
    if not path.exists():
        return f"{_typed(path)} is not there. {_checkpoint_to_get(path, wanted)}"
    return _file_for_checkpoint(path, wanted) if path.is_file() else _directory_for_checkpoint(path, wanted)


def hub_name(path: Path) -> str | None:
    """The name of a model on Hugging Face's hub, ORG/NAME, where a path that is not there looks like one."""
    name = _typed(path)
    owner = Path(name).parts[0] if name else ""
    looks = _HUB_NAME.fullmatch(name) is not None and Path(owner) != _PACKAGES
    return name if looks and not path.exists() and not Path(owner).exists() else None


def is_gguf(path: Path) -> bool:
    """Whether a file says by its name or its first bytes that it is GGUF."""
    if not path.is_file():
        return False
    if path.suffix == _GGUF:
        return True
    try:
        with path.open("rb") as file:
            return file.read(len(_GGUF_MAGIC)) == _GGUF_MAGIC
    except OSError:
        return False


def _package_to_get(path: Path) -> str:
    if not hub_name(path):
        return _packages_beside(path)
    # A misspelt directory looks like an organization.
    meant = f"{near} " if (near := _near_package(path)) else ""
    build = f"'nemotron-build build {_folder(path)} --profile P -o packages/{_folder(path)}'"
    return f"{meant}{_download(path)}, then {build}."


def _file_for_package(path: Path) -> str:
    shown = _typed(path)
    if is_gguf(path):
        return f"{shown} is a GGUF file, not a package. Make one of it: {_build_command(path, 'cpu-int4')}."
    if (path.parent / MANIFEST).is_file():
        return f"{shown} is a file of a package. Name its directory: {_quoted(path.parent)}."
    return f"{shown} is a file; a package is a directory that nemotron-build made. {_packages_beside(path)}"


def _directory_for_package(path: Path) -> str:
    shown = _typed(path)
    if (path / _CONFIG).is_file():
        return (
            f"{shown} is a checkpoint, not a package. Make one of it: {_build_command(path, 'P')}; "
            "'nemotron-build profiles' lists what P may be."
        )
    if inside := _packages_in(path):
        return f"{shown} is not a package, but holds some. Name one: {_listed(inside)}."
    if file := _gguf_in(path):
        return f"{shown} is not a package. Make one of the GGUF file in it: {_build_command(file, 'cpu-int4')}."
    return f"{path / MANIFEST} is missing: {shown} is not a package. {_packages_beside(path)}"


def _checkpoint_to_get(path: Path, wanted: str) -> str:
    if hub_name(path):
        return f"{_download(path)}, and name {_folder(path)} instead."
    near = _near(path)
    return f"Did you mean {near}?" if near else f"Name {wanted}."


def _file_for_checkpoint(path: Path, wanted: str) -> str:
    shown = _typed(path)
    if is_gguf(path):
        return f"{shown} is a GGUF file; expected is {wanted}."
    if (path.parent / _CONFIG).is_file():
        return f"{shown} is a file of a checkpoint. Name its directory: {_quoted(path.parent)}."
    return f"{shown} is a file, and no GGUF; expected is {wanted}."


def _directory_for_checkpoint(path: Path, wanted: str) -> str:
    if (path / MANIFEST).is_file():
        shown = _typed(path)
        return f"{shown} is a package, made already; expected is {wanted}. 'nemotron-serve {_quoted(path)}' serves it."
    if file := _gguf_in(path):
        return f"{path / _CONFIG} is missing, but there is a GGUF file. Name it: {_quoted(file)}."
    # A download of several models, or the snapshots of Hugging Face's cache.
    for pattern in (f"*/{_CONFIG}", f"snapshots/*/{_CONFIG}"):
        if found := sorted(path.glob(pattern)):
            return f"{path / _CONFIG} is missing. Name the checkpoint in it: {_listed([one.parent for one in found])}."
    return f"{path / _CONFIG} is missing. Name the directory of a downloaded Hugging Face checkpoint."


def _typed(path: Path) -> str:
    """A path as a person in this directory would write it."""
    return str(path.relative_to(Path.cwd())) if path.is_absolute() and path.is_relative_to(Path.cwd()) else str(path)


def _quoted(path: Path) -> str:
    return shlex.quote(_typed(path))


def _folder(path: Path) -> str:
    return shlex.quote(path.name)


def _download(path: Path) -> str:
    return (
        f"If it is a model on Hugging Face's hub, download it: 'hf download {hub_name(path)} --local-dir {path.name}'"
    )


def _build_command(path: Path, profile: str) -> str:
    name = path.stem if path.suffix == _GGUF else path.resolve().name
    return f"'nemotron-build build {_quoted(path)} --profile {profile} -o {shlex.quote(f'packages/{name}')}'"


def _near(path: Path) -> str | None:
    """What is called almost the same beside a path that is not there."""
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.exists()]
    except OSError:
        return None
    begun = [name for name in sorted(names) if name.startswith(path.name)]
    found = difflib.get_close_matches(path.name, names, 1) or begun
    return _quoted(path.parent / found[0]) if found else None


def _gguf_in(directory: Path) -> Path | None:
    return next((file for file in sorted(directory.glob(f"*{_GGUF}")) if file.is_file()), None)


def _packages_in(directory: Path) -> list[Path]:
    try:
        return sorted(entry for entry in directory.iterdir() if (entry / MANIFEST).is_file())
    except OSError:
        return []


def _packages_around(path: Path) -> list[Path]:
    """Those beside a path, and those where the documentation's commands put them."""
    places = dict.fromkeys([path.absolute().parent, Path.cwd() / _PACKAGES])
    return [package for place in places for package in _packages_in(place)]


def _near_package(path: Path) -> str:
    """Which of them has almost the same name, as a question; empty if none has."""
    found = {package.name: package for package in reversed(_packages_around(path))}
    near = difflib.get_close_matches(path.name, list(found), 1)
    return f"Did you mean {_quoted(found[near[0]])}?" if near else ""


def _packages_beside(path: Path) -> str:
    if near := _near_package(path):
        return near
    if found := _packages_around(path):
        return f"Packages near it: {_listed(found)}."
    return (
        "Make a package: 'nemotron-build demo' (a small model for this CPU, in packages/demo), or of a model of yours: "
        "'nemotron-build build CHECKPOINT --profile P -o PACKAGE'."
    )


def _listed(paths: list[Path]) -> str:
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return ", ".join(map(_quoted, paths[:_SHOWN])) + more
