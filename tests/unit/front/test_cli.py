"""nemotron-front's command line."""

from __future__ import annotations

import argparse
import re
from dataclasses import fields
from pathlib import Path

import pytest

from nemotron_front.cli import main
from nemotron_front.options import FrontOptions, add_options


def read(*arguments: str) -> FrontOptions:
    parser = argparse.ArgumentParser()
    parser.add_argument("urls", nargs="*")
    add_options(parser, *(one.name for one in fields(FrontOptions) if one.metadata))
    return FrontOptions.of_arguments(parser.parse_args(arguments))


def test_without_arguments_all_is_as_it_is_by_default() -> None:
    assert read() == FrontOptions()


def test_what_may_be_given_several_times_is_in_order() -> None:
    options = read("grpc://a:1", "grpc://b:2", "--served-model-name", "x", "--served-model-name", "y")
    assert options.urls == ("grpc://a:1", "grpc://b:2")
    assert options.served_model_name == ("x", "y")
    assert read().served_model_name == ()


def test_help_has_every_option_and_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    for one in fields(FrontOptions):
        if one.metadata:
            assert f"--{one.name.replace('_', '-')}" in text
    for part in ("examples:", "stopping:", "exit status:", "(default: 9000)", "(default: 127.0.0.1)"):
        assert part in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "http"], "expected a whole number from 0 to 65535"),
        (["--port", "65536"], "'65536' given"),
        (["--workers", "0"], "expected a whole number from 1"),
        (["--drain-seconds", "0"], "expected seconds above 0"),
        (["--drain-seconds", "inf"], "expected seconds above 0"),
        (["--cors-origin", "chat.example"], "expected an origin such as https://chat.example"),
        (["--cors-origin", "https://chat.example/"], "expected an origin"),
        (["--served-model-name", ""], "expected a name"),
        (["--no-such"], "there is no option --no-such. See"),
        (["--woker", "2"], "there is no option --woker; did you mean --workers?"),
        (["--host", "::1"], "there is no option --host; did you mean --bind?"),
        (["--bind", ""], "expected a name"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("nemotron-front: ")
    assert said in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["127.0.0.1:8001"], "grpc://"),
        ([str(Path(__file__).parent)], "is a directory, expected a server's URL"),
        (["--api-key-file", "no-such-file"], "--api-key-file no-such-file: there is no such file"),
        (["grpcs://h:1", "--tls-cert", "no-such-file"], "no-such-file: there is no such file"),
        (["--bind", "no.such.host.invalid"], "an address or a name of this machine"),
        (["--bind", "192.0.2.1"], "an address or a name of this machine"),
    ],
)
def test_what_cannot_be_started_is_told_in_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith("nemotron-front: ")
    assert said in told
    assert told.count("\n") == 1


def test_a_key_on_the_command_line_is_no_file_and_never_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--api-key", "my-secret-key"])
    assert end.value.code == 2
    told = capsys.readouterr().err
    assert "there is no option --api-key; did you mean --api-key-file?" in told
    assert "secret" not in told


def test_a_file_without_keys_is_told_and_never_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "keys"
    file.write_text("my secret key\n")
    assert main(["--api-key-file", str(file)]) == 2
    told = capsys.readouterr().err
    assert "line 1" in told
    assert "secret" not in told
