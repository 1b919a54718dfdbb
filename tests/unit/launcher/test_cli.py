from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from nemotron_serving.launcher.cli import main
from nemotron_serving.launcher.errors import SetupError
from nemotron_serving.launcher.options import ADMIN_KEY_VARIABLE, admin_key_of
from nemotron_serving.package import Package, write_package
from tests.unit.serving.support import make_package, manifest


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nemotron-serve: nowhere is not there."),
        (["nowhere", "--tls-cert", "crt"], "--tls-cert alone cannot serve TLS: give both --tls-cert and --tls-key."),
        (["nowhere", "--tls-cert", "crt", "--tls-key", "key"], "--tls-cert crt: there is no such file."),
        (
            ["nowhere", "--tls-cert", __file__, "--tls-key", __file__],
            "cannot be used: not PEM. Expected a certificate",
        ),
        (["nowhere", "--", __file__], f"COMMAND {__file__}: it is not executable."),
        (["nowhere", "--bind", "no such host"], "--bind no such host: "),
        (["nowhere", "--openai-options", "--bind 0.0.0.0"], "--openai-options is for the front of --openai-port PORT"),
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
        (["p", "--engine-threads", "0"], "'0' given, expected a whole number from 1 to"),
        (["p", "--kv-cache-gib", "much"], "'much' given, expected a whole number from 1 to"),
        (["p", "--drain-seconds", "-1"], "'-1' given, expected a number of at least 0"),
        (["p", "--hang-seconds", "0.5"], "'0.5' given, expected 0 or a number from 1 to 86400"),
        (["p", "--hang-seconds", "1e11"], "'1e11' given, expected 0 or a number from 1 to 86400"),
        (["p", "--start-seconds", "nan"], "'nan' given, expected a number above 0"),
        ([], "the following arguments are required: PACKAGE"),
        ([""], "argument PACKAGE: '' given, expected a path"),
        (["p", "--engine-threads", "99999999999999999999"], "expected a whole number from 1 to 4096"),
        (["p", "q"], "'q' is one argument too many"),
        (["p", "--kv-cach-gib", "4"], "there is no option --kv-cach-gib; did you mean --kv-cache-gib?"),
        (["p", "--host", "::1"], "there is no option --host; did you mean --bind?"),
        (["p", "--api-key", "x"], "there is no option --api-key; did you mean --openai-options?"),
        (["check", "--kv-cach-gib=4"], "there is no option --kv-cach-gib; did you mean --kv-cache-gib?"),
        (["p", "--openai-port", "70000"], "argument --openai-port: '70000' given, expected a whole number from 0 to"),
        (["p", "--openai-options", "--name 'x"], "given, expected options as in a shell: No closing quotation"),
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


@pytest.fixture
def for_openvino(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """A package that says it is for OpenVINO, which says it is installed."""
    monkeypatch.setattr("nemotron_serving.launcher.engine_library.metadata.version", lambda _: "2026.4.1.0")
    made = make_package(tmp_path / "package")
    return write_package(made.path, manifest(kind="openvino", version="2026.4.1.0"), made.serving)


def test_check_engine_says_that_it_is_for_tensorrt_llm(
    for_openvino: Package, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(for_openvino.path), "--engine"]) == 0
    row = capsys.readouterr().out
    assert row.startswith("ok   openvino package ")
    assert "openvino-genai 2026.4.1.0; --engine compares TensorRT-LLM alone" in row
    assert main(["check", f"{for_openvino.path}s", "--engine"]) == 1
    assert capsys.readouterr().out.startswith("FAIL package ")


def test_a_kv_cache_that_no_memory_holds_is_refused_before_the_start(
    for_openvino: Package, capsys: pytest.CaptureFixture[str]
) -> None:
    free = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    package, much = str(for_openvino.path), ["--kv-cache-gib", "1000000"]
    assert main([package, *much, *free]) == 2
    said = capsys.readouterr().err
    assert "--kv-cache-gib 1000000: with the engine's files of 0.0 GiB that is more than the " in said
    assert said.count("\n") == 1
    assert main(["check", package, *much, *free]) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAIL")]
    assert len(failed) == 1
    assert "package memory" in failed[0] and "leave the option out" in failed[0].lower()


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [
        (OSError(24, "Too many open files"), 1, "nemotron-serve: [Errno 24] Too many open files. Nothing is left"),
        (KeyboardInterrupt(), 130, "Stopped at once."),
    ],
)
def test_what_nobody_foresaw_is_one_line_too(
    raised: BaseException,
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_: Path) -> Package:
        raise raised

    monkeypatch.setattr(Package, "load", fail)
    assert main(["package"]) == status
    error = capsys.readouterr().err
    assert error.startswith(said)
    assert error.count("\n") == 1


def asked(key: str | None = None, file: Path | None = None) -> argparse.Namespace:
    return argparse.Namespace(admin_key=key, admin_key_file=file)


def test_an_admin_key_may_be_in_a_file_or_a_variable(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("from-a-file\n")
    variable = {ADMIN_KEY_VARIABLE: "from-a-variable"}
    assert admin_key_of(asked("from-the-option", file), variable) == "from-the-option"
    assert admin_key_of(asked(file=file), variable) == "from-a-file"
    assert admin_key_of(asked(), variable) == "from-a-variable"
    assert admin_key_of(asked(), {}) is admin_key_of(asked(), {ADMIN_KEY_VARIABLE: ""}) is None


@pytest.mark.parametrize("content", [b"short", b"two words", b"", b"\xff\xfe-no-text"])
def test_what_is_no_admin_key_is_not_shown(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(SetupError) as refused:
        admin_key_of(asked(file=file), {})
    assert str(file) in str(refused.value)
    assert "short" not in str(refused.value) and "two" not in str(refused.value)


def test_an_admin_key_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="No such file"):
        admin_key_of(asked(file=tmp_path / "nothing"), {})
