"""What the command line refuses, before anything is sent."""

from __future__ import annotations

import io
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from nemotron_client.chat.cli import main


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What is written of a command line with status 2."""
    try:
        status = main(list(arguments))
    except SystemExit as end:
        status = int(end.code or 0)
    assert status == 2
    written = capsys.readouterr()
    assert written.out == ""
    return written.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "-1"], "whole number of tokens"),
        (["--budget", "1e3"], "whole number of tokens"),
        (["--temperature", "hot"], "a number of at least 0"),
        (["--temperature", "inf"], "a number of at least 0"),
        (["--timeout", "0"], "seconds above 0"),
        (["--nonsense"], "unrecognized arguments"),
        (["--once", "Hi", "--tls-cert", __file__], "cert and key belong together"),
        (["http://x", "--once", "Hi\ud800"], "half of a surrogate pair"),
        (["gopher://x", "--once", "Hi"], "gopher"),
    ],
)
def test_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert message in complaint(capsys, *arguments)


class _Refusing(BaseHTTPRequestHandler):
    """Wants other credentials, whatever comes."""

    got: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.got.append(self.headers["authorization"])
        self.send_error(401)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_a_header_may_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument is seen by all users of the machine."""
    file = tmp_path / "token"
    file.write_text("Bearer secret\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with ThreadingHTTPServer(("127.0.0.1", 0), _Refusing) as server, ThreadPoolExecutor() as pool:
        pool.submit(server.serve_forever)
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            assert main([url, "--once", "Hi", "--header", f"authorization=@{file}"]) == 4
        finally:
            server.shutdown()
    assert set(_Refusing.got) == {"Bearer secret"}


def test_a_header_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = complaint(capsys, "--header", f"authorization=@{tmp_path}/nothing")
    assert f"{tmp_path}/nothing cannot be read: No such file or directory" in said


def test_a_header_that_is_none_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    assert "secret" not in complaint(capsys, "--header", "secret")


def test_what_is_piped_in_has_to_be_text(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe")))
    assert "no UTF-8 text" in complaint(capsys)


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    for expected in ("examples:", "exit status:", "NEMOTRON_URL", "--once", "--json", "--no-thinking"):
        assert expected in shown
    assert max(map(len, shown.splitlines())) <= 120


def test_a_chat_without_its_libraries_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Keyboard(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Keyboard())
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert "rich is missing. Install it in a clone of this project: pip install '.[chat]'" in complaint(capsys)


def test_scripts_do_not_wait_for_the_terminals_libraries() -> None:
    code = (
        "import sys, nemotron_client.chat.cli as c; print([m for m in ('rich', 'prompt_toolkit') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=180)
    assert done.stdout == "[]\n"
