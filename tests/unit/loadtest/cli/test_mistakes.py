"""What is found before anything is sent is said in a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from nemotron_loadtest.cli import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "none.toml"], "none.toml: No such file or directory"),
        (["run", "{scenario}", "--slo", "fast"], "There is no SLO 'fast'"),
        (["run", "{scenario}", "--url", "grpc://a", "--url", "grpc://b", "--metrics-url", "http://c"], "2 servers"),
        (["sweep", "{scenario}", "--low", "1", "--high", "2"], "A sweep needs an SLO"),
        (["compare", "a", "b"], "a has no run"),
    ],
)
def test_what_cannot_be_done(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = tmp_path / "scenario.toml"
    scenario.write_text('url = "grpc://127.0.0.1:9"\n')
    status = main([one.format(scenario=scenario) for one in arguments])
    output, errors = capsys.readouterr()
    assert (status, output, len(errors.splitlines())) == (2, "", 1), errors
    assert message in errors
