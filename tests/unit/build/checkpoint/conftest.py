"""A whole checkpoint for each test to break, and how to break its JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.build.tiny import tiny_checkpoint, write_json

EditJson = Callable[..., None]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return tiny_checkpoint(tmp_path / "tiny")


@pytest.fixture
def edit(checkpoint: Path) -> EditJson:
    """Sets fields of a JSON file; None removes one."""

    def apply(name: str, **fields: Any) -> None:
        content = json.loads((checkpoint / name).read_text()) | fields
        write_json(checkpoint / name, {key: value for key, value in content.items() if value is not None})

    return apply
