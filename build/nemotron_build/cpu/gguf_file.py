"""A GGUF file and its fields, with its faults told in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gguf import GGUFReader

from nemotron_build.errors import CheckpointError

_MAGIC = b"GGUF"
_ABSENT = object()
_KINDS: dict[type, str] = {int: "an integer", str: "a text", list: "a list"}


class GgufFile:
    """A GGUF file, mapped into memory.

    Attributes:
        path: Where it lies.
        tensors: By the names they have in it.
        fields: Names of all its fields.
    """

    def __init__(self, path: Path) -> None:
        """Read fields and the list of tensors.

        Raises:
            CheckpointError: it is missing, not GGUF, cut short, or one of several files of a split model.
        """
        self.path = path
        try:
            with path.open("rb") as file:
                found = file.read(len(_MAGIC))
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror}. Name a .gguf file.") from error
        if found != _MAGIC:
            begins = f"starts with {found!r}, expected {_MAGIC!r}" if found else "is empty"
            raise CheckpointError(f"{path} cannot be read as GGUF: it {begins}. Name a .gguf file.")
        try:
            self._reader = GGUFReader(path)
        # Past the end of the file the reader's arrays come out short, which shows in many ways.
        except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
            raise CheckpointError(
                f"{path} cannot be read as GGUF: it is cut short or damaged. Download it again."
            ) from error
        self.tensors = {tensor.name: tensor for tensor in self._reader.tensors}
        self.fields = tuple(self._reader.fields)
        if self.value("split.count", 1, kind=int) > 1:
            raise CheckpointError(f"{path} is one part of a model. Join the parts with 'llama-gguf-split --merge'.")

    def value(self, field: str, default: Any = _ABSENT, *, kind: type | None = None) -> Any:
        """Content of a field.

        Args:
            field: Its name.
            default: What it is where it is not there.
            kind: `int`, `str` or `list`, which it has to be; None where the caller looks himself.

        Raises:
            CheckpointError: it is not there and has no default, or is of another kind.
        """
        reader = self._reader.get_field(field)
        if reader is None and default is _ABSENT:
            raise CheckpointError(
                f"{self.path.name} has no field {field}; a Llama-shaped GGUF with its tokenizer is needed."
            )
        if reader is None:
            return default
        found = reader.contents()
        if kind and (not isinstance(found, kind) or isinstance(found, bool)):
            raise CheckpointError(
                f"{self.path.name}: {field} is {found!r}, expected {_KINDS[kind]}. Download it again."
            )
        return found
