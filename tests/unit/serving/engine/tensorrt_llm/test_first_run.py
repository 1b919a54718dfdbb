"""The script for the first run on a GPU, against the fake: that it runs through, and says all it should."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import importable
from tests.fakes.packages import make_package
from tests.gpu.first_run import main


@pytest.mark.parametrize(
    ("flow", "failures"),
    [("engine", ["log_probabilities: ValueError: logprobs needs LLM(gather_generation_logits=True)"]), ("pytorch", [])],
)
def test_it_runs_through(tmp_path: Path, capsys: pytest.CaptureFixture[str], flow: str, failures: list[str]) -> None:
    package = make_package(tmp_path / "package", flow)
    with importable():
        main([str(package.path)])
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert [text for item, text in lines if item == "!"] == failures
    expected = {"1", "2", "3", "4", "6", "7", "9", "12", "14"} | ({"5"} if flow == "engine" else {"13", "15"})
    assert {item for item, _ in lines} - {"!"} == expected
