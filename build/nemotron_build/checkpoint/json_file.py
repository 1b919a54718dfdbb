"""Reading one of a checkpoint's JSON files."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from nemotron_build.errors import CheckpointError

_T = TypeVar("_T")


def read_json(path: Path, kind: type[_T]) -> _T:
    """Read the fields of `kind`; others are passed over.

    Raises:
        CheckpointError: it is missing, not JSON, or a field has another type.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"{path} is missing. Download the checkpoint again, as a whole.") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be used: {error}. Download it again.") from error
