"""The files of a checkpoint's directory: those that are refused, those that count, and where they came from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from nemotron_build.errors import CheckpointError
from nemotron_build.steps import Report

_PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")
_BLOCK = 1 << 20
_REVISION = re.compile(r"[0-9a-f]{40}")
_DOWNLOADS = Path(".cache/huggingface/download")


def refuse_pickles(checkpoint: Path) -> None:
    """Refuse files that run code when they are loaded; what lies in subdirectories is never looked at.

    Raises:
        CheckpointError: naming the first.
    """
    found = sorted(path.name for path in checkpoint.iterdir() if path.suffix.lower() in _PICKLES and path.is_file())
    if not found:
        return
    whole = any(checkpoint.glob("*.safetensors"))
    remedy = "Remove it: the safetensors are all that is needed." if whole else "Download it as safetensors."
    raise CheckpointError(
        f"{checkpoint} holds {found[0]}{and_more(found)}: a pickle runs code when it is loaded. {remedy}"
    )


def and_more(names: Sequence[str]) -> str:
    """What to say after the first of some names."""
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def fingerprint_of(files: Sequence[Path], progress: Report | None = None) -> str:
    """SHA-256 (hex) over the names and contents of files.

    Args:
        files: In the same directory.
        progress: Told how many bytes of how many were read.
    """
    total, done = sum(file.stat().st_size for file in files), 0
    lines = []
    for path in sorted(files):
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                done += len(block)
                if progress:
                    progress(path.name, done, total)
        lines.append(f"{digest.hexdigest()}  {path.name}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def source_revision(checkpoint: Path, files: Iterable[Path]) -> str | None:
    """The commit of the hub's repository that the files were downloaded from, where the download left it.

    It is the name of the directory in Hugging Face's cache (`snapshots/COMMIT`). A download to a directory of one's own
    keeps it beside each file, in `.cache/huggingface/download`: the commit, the file's hash, the time.

    Returns:
        None where nothing says it, files are of different commits, or one was changed since.
    """
    real = checkpoint.resolve()
    if real.parent.name == "snapshots" and _REVISION.fullmatch(real.name):
        return real.name
    revisions = {_download_revision(real, file) for file in files}
    return revisions.pop() if len(revisions) == 1 else None


def _download_revision(checkpoint: Path, file: Path) -> str | None:
    try:
        commit, _, time = (checkpoint / _DOWNLOADS / f"{file.name}.metadata").read_text(encoding="utf-8").split()
        # The hub's own tolerance: the time of a file may be rounded.
        unchanged = file.stat().st_mtime - 1 <= float(time)
    except (OSError, ValueError):
        return None
    return commit if unchanged and _REVISION.fullmatch(commit) else None
