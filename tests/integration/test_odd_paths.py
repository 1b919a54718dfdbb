"""A server whose package, logs and temporary files lie below names that are more than letters."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import serving

NAMES = ["é 日本", "a b'c\"d;$e#f%g", "new\nline", os.fsdecode(b"no UTF-8 \xff")]


def test_any_name_of_a_directory_will_do(
    simulated_package: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them in one path, for one server: each has to come through every program that the path is given to."""
    directory = tmp_path.joinpath(*NAMES)
    temporary = directory / "temporary"
    temporary.mkdir(parents=True)
    package = simulated_package("--token-ms", "1").rename(directory / "package")
    monkeypatch.setenv("TMPDIR", str(temporary))
    with serving(package, directory, "--log-dir", str(directory / "logs")) as server:
        status, _ = server.post("/v2/models/ensemble/generate", {"text_input": "Hi", "max_tokens": 4})
        assert status == 200
        assert Path(server.info["log"]) == directory / "logs" / "triton.log"
    assert not server.ready_file.exists()
