"""Free space: asked for before it is needed, and the same advice where it runs out all the same."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nemotron_build.errors import CheckpointError, DiskSpaceError, UnsupportedError, VerificationError

_FULL = (errno.ENOSPC, errno.EDQUOT)
# What libraries and programs write that hand on no error number.
_FULL_TEXTS = ("No space left on device", "Disk quota exceeded", "os error 28", "os error 122")
# What fails while less is free has failed for that: on a full disk a program cannot even write why it ended.
_LEAST_FREE_BYTES = 1_000_000
_OTHER_REASONS = (CheckpointError, UnsupportedError, VerificationError)


def require_space(directory: Path, needed: int, purpose: str, *, option: str) -> None:
    """Refuse to begin what the disk cannot hold.

    Args:
        directory: Where it will be written; it need not exist yet.
        needed: Bytes.
        purpose: What needs them, to be read before "needs".
        option: The command's option that names another disk, such as `--work`.

    Raises:
        DiskSpaceError: saying how much is free, how much is needed, and how much to free.
    """
    existing = _existing(directory)
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise DiskSpaceError(
            f"{existing} has {size(free)} free, {purpose} needs about {size(needed)}. "
            f"Free {size(needed - free)} there, or name another disk with {option}."
        )


@contextmanager
def full_disk_as_error(directory: Path, *, option: str) -> Iterator[None]:
    """Turn a full disk, however it shows, into the error that says so.

    What was written should still be there when the block ends, as it is what fills the disk.

    Args:
        directory: What is written to.
        option: The command's option that names another disk, such as `--work`.

    Raises:
        DiskSpaceError: the block failed because the disk is full.
    """
    try:
        yield
    except (DiskSpaceError, *_OTHER_REASONS):
        raise
    except Exception as error:
        free = shutil.disk_usage(directory).free
        if not is_full(error) and free >= _LEAST_FREE_BYTES:
            raise
        raise DiskSpaceError(
            f"The disk of {directory} ran full: {size(free)} are free now. "
            f"Free some room there, or name another disk with {option}; what was finished is kept."
        ) from error


def is_full(error: BaseException) -> bool:
    """Whether this error means that the disk is full."""
    return getattr(error, "errno", None) in _FULL or mentions_full(str(error))


def mentions_full(text: str) -> bool:
    """Whether a program's output says that the disk is full."""
    return any(sign in text for sign in _FULL_TEXTS)


def same_disk(one: Path, other: Path) -> bool:
    """Whether files can be linked from one place to the other; neither need exist yet."""
    return _existing(one).stat().st_dev == _existing(other).stat().st_dev


def directory_bytes(directory: Path) -> int:
    """Bytes of all files below a directory."""
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())


def size(count: int) -> str:
    """Bytes for people: `16.1 GB`, `3 MB`."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{-(-count // 1_000_000)} MB"


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.absolute().parents) if place.exists())
