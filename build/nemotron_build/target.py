"""The directory a package is written to: what may be replaced, and how it appears all at once."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nemotron_build.errors import BuildError
from nemotron_serving.errors import PackageError
from nemotron_serving.package import CHAT_TEMPLATE, ENGINE_DIR, SERVING, TOKENIZER, Package
from nemotron_serving.paths import MANIFEST

_PACKAGE_CONTENT = {MANIFEST, SERVING, TOKENIZER, CHAT_TEMPLATE, ENGINE_DIR}


class Workplace:
    """Where a package is made, beside its target so that moving it there is one rename.

    Attributes:
        package: The future package, with an empty engine directory.
        scratch: For files that do not belong to it.
    """

    def __init__(self, work: Path, target: Path) -> None:
        self.package = work / "package"
        self.scratch = work / "scratch"
        self._aside = work / "replaced"
        self._target = target
        (self.package / ENGINE_DIR).mkdir(parents=True)
        self.scratch.mkdir()

    def finish(self) -> None:
        """Move the package to its target; what was there is put back if that fails."""
        try:
            if self._target.exists():
                os.rename(self._target, self._aside)
            os.rename(self.package, self._target)
        except BaseException:  # a ctrl-C too, wherever between the two it comes
            if self._aside.exists() and not self._target.exists():
                os.rename(self._aside, self._target)
            raise


def holds_package(target: Path) -> bool:
    """Whether something is at `target` that has the shape of a package, whole or not.

    Raises:
        BuildError: it is a file, or a directory with other files in it. Not even --force may delete those.
    """
    if not target.exists():
        refuse_file_above(target)
        return False
    if not target.is_dir():
        raise BuildError(f"{target} is a file. Name a directory with -o.")
    names = sorted(entry.name for entry in target.iterdir())
    foreign = [name for name in names if name not in _PACKAGE_CONTENT]
    if foreign:
        raise BuildError(f"{target} is not a package: {foreign[0]} is in it. Name another directory with -o.")
    return bool(names)


def refuse_file_above(target: Path) -> None:
    """Make sure that a directory can be made where nothing is yet.

    Raises:
        BuildError: a part of its path is a file.
    """
    above = next(place for place in target.absolute().parents if place.exists())
    if not above.is_dir():
        raise BuildError(f"{above} is a file, so {target} cannot be made in it. Name another directory with -o.")


def refuse_existing(target: Path, *, force: bool) -> None:
    """Refuse to replace what is there, unless that was asked for.

    Raises:
        BuildError: a package is there, or what not even --force may replace; see `holds_package`.
    """
    if holds_package(target) and not force:
        raise BuildError(f"{target} is there already. Pass --force to replace it, or name another with -o.")


def good_package(target: Path) -> Package | None:
    """The package at `target`, every byte of it checked; None where there is nothing.

    Raises:
        BuildError: something else is there, or the package is damaged.
    """
    if not holds_package(target):
        return None
    try:
        package = Package.load(target)
        package.verify_files()
    except PackageError as error:
        raise BuildError(f"{error} Pass --force to replace it.") from None
    return package


@contextmanager
def staged(target: Path) -> Iterator[Workplace]:
    """Make a package beside `target`; `Workplace.finish` puts it there.

    However the block ends, ctrl-C included, nothing half-written stays behind.

    Raises:
        BuildError: see `holds_package`.
    """
    holds_package(target)
    target = target.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield Workplace(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
