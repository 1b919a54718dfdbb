"""The lines of JSON and the profile's part that docs/quantize.md shows can be read."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from nemotron_build.checkpoint.shape import LLAMA_31_8B, check_tp_size
from nemotron_build.convert.calibration import CALIBRATION_SET, read_conversations
from nemotron_build.convert.conversion import converted_bytes
from nemotron_build.errors import DiskSpaceError, UnsupportedError
from nemotron_build.profiles import load_profile
from nemotron_build.space import require_space

PAGE = (Path(__file__).parents[4] / "docs" / "quantize.md").read_text(encoding="utf-8")


def test_the_lines_shown_can_be_read(tmp_path: Path) -> None:
    (lines,) = re.findall(r"```jsonl\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "mine.jsonl").write_text(lines)
    assert len(read_conversations(tmp_path / "mine.jsonl")) == 3


def test_the_figures_are_those_of_the_code() -> None:
    assert f"{len(read_conversations(CALIBRATION_SET))} short conversations" in PAGE
    for name, words in (("h100-fp8", "GB for the 8B in FP8"), ("h100-bf16", "GB in BF16")):
        assert f"{converted_bytes(LLAMA_31_8B, load_profile(name)) / 1e9:.1f} {words}" in PAGE


def test_the_messages_are_those_of_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnsupportedError) as heads:
        check_tp_size(LLAMA_31_8B, 16)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=3_000_000_000))
    with pytest.raises(DiskSpaceError) as space:
        require_space(tmp_path, converted_bytes(LLAMA_31_8B, load_profile("h100-fp8")), "quantize", option="-o")
    shown = [message.strip("… ") for message in re.findall(r"^\| `(.*?)` \|", PAGE, re.MULTILINE)]
    for caught in (heads, space):
        assert any(message in str(caught.value) for message in shown)
