from __future__ import annotations

from pathlib import Path

import pytest

from nemotron_serving.launcher.cli import main


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nemotron-serve: nowhere is not there."),
        (["nowhere", "--tls-cert", "crt"], "--tls-cert alone cannot serve TLS: give both --tls-cert and --tls-key."),
        (["nowhere", "--tls-cert", "crt", "--tls-key", "key"], "--tls-cert crt: there is no such file."),
        (["nowhere", "--bind", "no such host"], "--bind no such host: "),
        (["nowhere", "--", "no-such-program"], "COMMAND no-such-program: there is no such program."),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("nemotron-serve: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["p", "--http-port", "70000"], "argument --http-port: '70000' given, expected a whole number from 0 to 65535"),
        (["p", "--engine-threads", "0"], "'0' given, expected a whole number of at least 1"),
        (["p", "--kv-cache-gib", "much"], "'much' given, expected a whole number of at least 1"),
        (["p", "--drain-seconds", "-1"], "'-1' given, expected a number of at least 0"),
        (["p", "--start-seconds", "nan"], "'nan' given, expected a number above 0"),
        ([], "the following arguments are required: PACKAGE"),
        (["p", "--admin-key", "a b"], "'a b' given, expected 8 or more letters, digits, - or _"),
    ],
)
def test_options_are_checked(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["check", "--help"]])
def test_help_teaches(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    help_text = capsys.readouterr().out
    assert "examples:" in help_text
    assert "exit status:" in help_text


def test_check_names_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    free = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    assert main(["check", *free]) == 0
    assert "FAIL" not in capsys.readouterr().out
    assert main(["check", str(tmp_path / "nowhere"), *free, "--model-repository", str(tmp_path)]) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAIL")]
    assert [line.split()[1] for line in failed] == ["model", "package"]
