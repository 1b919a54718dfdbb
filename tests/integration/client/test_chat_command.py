"""nemotron-chat against a real server: in a terminal, and in scripts."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nemotron_client.testing import FakeServer, ScriptedReply
from tests.integration.conftest import Server
from tests.waiting import wait_until

CHAT = [sys.executable, "-m", "nemotron_client.chat"]
LONG = "[sim:random]"  # tokens until max_tokens, 10 ms each
RUNNING = "nemotron_requests_running"
WAIT_S = 60
FREED_S = 60  # some milliseconds; an answer that is not ended takes 100 s
STYLE = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")


def runs(server: Server, count: int) -> Callable[[], bool]:
    return lambda: server.metric(RUNNING) == count


class Terminal:
    """A chat in a pseudo-terminal of its own."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self._master = master
        self._text = ""
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def wait_for(self, text: str) -> str:
        """Read until this was shown; what was shown since the last call."""
        deadline = time.monotonic() + WAIT_S
        while text not in self._text:
            ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{text!r} did not come: {self._text!r}"
            self._text += self._decode(os.read(self._master, 65536))
        shown, self._text = self._text[: self._text.index(text) + len(text)], self._text.partition(text)[2]
        return shown

    def status(self) -> int:
        """Read to the end; the exit status."""
        with contextlib.suppress(OSError):  # how a terminal says that nobody is left
            while data := os.read(self._master, 65536):
                self._text += self._decode(data)
        assert "Traceback" not in self._text
        return self.process.wait(WAIT_S)

    def hang_up(self) -> None:
        os.close(self._master)
        self._master = -1

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        if self._master >= 0:
            os.close(self._master)


@pytest.fixture
def chat(simulated_server: Server, tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Starts chats with the simulated server, or another one."""
    opened: list[Terminal] = []

    def start(*arguments: str, url: str = "", columns: int = 80, **environment: str) -> Terminal:
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        # The first terminal that the leader of a session opens is the one whose Ctrl-C it gets.
        opening = ["sh", "-c", 'exec "$@" <"$0" >"$0" 2>&1', os.ttyname(slave)]
        state = {"XDG_STATE_HOME": str(tmp_path), "PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm-256color"}
        process = subprocess.Popen(
            [*opening, *CHAT, url or simulated_server.grpc_url, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, **state, **environment},
        )
        os.close(slave)
        opened.append(Terminal(process, master))
        shown = opened[-1].wait_for("commands.")
        assert url or "no weights" in " ".join(
            STYLE.sub("", shown).split()
        )  # which model it is, wherever lines are broken
        opened[-1].wait_for(">")  # from here on keys are the prompt's
        return opened[-1]

    yield start
    for terminal in opened:
        terminal.stop()


def test_an_answer_is_streamed_and_its_thinking_folded(chat: Callable[..., Terminal]) -> None:
    terminal = chat("--thinking")
    terminal.type("[sim:think]\r")
    shown = terminal.wait_for("The answer is 4.")
    assert "thinking … " in shown
    thought = re.search(r"▸ thought for [\d.]+ s, (\d+) tokens", shown)
    assert thought
    terminal.type("/usage\r")
    terminal.wait_for(f"{thought[1]} of them thinking")
    terminal.wait_for("This chat: 1 answer, ")
    terminal.type("/quit\r")
    assert terminal.status() == 0


def test_ctrl_c_cancels_on_the_server_and_the_chat_goes_on(
    chat: Callable[..., Terminal], simulated_server: Server, tmp_path: Path
) -> None:
    terminal = chat("--max-tokens", "10000")
    terminal.type(f"{LONG}\r")
    wait_until(runs(simulated_server, 1), WAIT_S)
    while "waiting" in terminal.wait_for("\x1b[?2026l"):  # until a frame shows some of the answer
        pass
    terminal.type("\x03")
    terminal.type("\x03\x03")  # an impatient user does not leave by that
    terminal.wait_for("(cancelled)")
    wait_until(runs(simulated_server, 0), FREED_S)
    terminal.type(f"/save {tmp_path}/chat.json\r")
    terminal.wait_for("Saved 2 messages")
    assert json.loads((tmp_path / "chat.json").read_text())["messages"][1]["content"]
    terminal.type("/clear\r[sim:think]\r")
    terminal.wait_for("The answer is 4.")
    terminal.wait_for(">")
    terminal.type("\x04")
    assert terminal.status() == 0


def test_ctrl_n_ends_the_thinking_and_the_answer_follows(chat: Callable[..., Terminal]) -> None:
    reply = ScriptedReply("So be it.", reasoning_content="Hm. " * 10_000, token_s=0.02)
    with FakeServer(reply) as server:
        terminal = chat(url=server.grpc_url)
        terminal.type("Hi\r")
        terminal.wait_for("answer now)")
        terminal.type("\x0e\x0e")  # of which the second has no effect
        terminal.wait_for("So be it.")
        assert len(server.thinking_ends) >= 1
        terminal.wait_for(">")
        terminal.type("\x04")
        assert terminal.status() == 0


def test_ctrl_c_at_the_prompt_says_how_to_leave(chat: Callable[..., Terminal]) -> None:
    terminal = chat()
    terminal.type("half a question\x03")
    terminal.wait_for("Ctrl-D or /quit leaves.")
    terminal.wait_for(">")
    terminal.type("\x04")
    assert terminal.status() == 0


def test_a_terminal_that_is_closed_ends_the_answer(chat: Callable[..., Terminal], simulated_server: Server) -> None:
    terminal = chat("--max-tokens", "10000")
    terminal.type(f"{LONG}\r")
    wait_until(runs(simulated_server, 1), WAIT_S)
    terminal.hang_up()
    assert terminal.process.wait(WAIT_S) == 128 + signal.SIGHUP
    wait_until(runs(simulated_server, 0), FREED_S)


def test_a_terminal_that_is_closed_ends_the_chat(chat: Callable[..., Terminal]) -> None:
    terminal = chat()
    terminal.hang_up()
    assert terminal.process.wait(WAIT_S) == 128 + signal.SIGHUP


def test_the_user_gives_the_results_of_tools(chat: Callable[..., Terminal], tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
    (tmp_path / "tools.json").write_text(json.dumps(tools))
    terminal = chat("--max-tokens", "600")
    terminal.type(f"/tools {tmp_path}/tools.json\r")
    terminal.wait_for("get_weather")
    terminal.type("[sim:tool]\r")
    terminal.wait_for("The model calls get_weather(")
    terminal.wait_for("what get_weather returns>")
    terminal.type('{"sky": "sunny"}\r')
    terminal.type("/usage\r")
    terminal.wait_for("This chat: 2 answers, ")


def test_several_lines_are_one_question_and_the_history_is_private(
    chat: Callable[..., Terminal], tmp_path: Path
) -> None:
    terminal = chat()
    terminal.type("one\\\rtwo\x1b\r[sim:unicode]\r")
    terminal.wait_for("สวัสดีครับ")
    history = tmp_path / "nemotron-triton" / "chat_history"
    assert "+one\n+two\n+[sim:unicode]\n" in history.read_text()
    assert history.stat().st_mode & 0o777 == 0o600


def test_a_failed_answer_is_one_line_and_can_be_tried_again(chat: Callable[..., Terminal]) -> None:
    terminal = chat(columns=200)
    terminal.type("[sim:fail]\r")
    shown = terminal.wait_for("/retry asks it again")
    assert "The script fails" in shown
    terminal.type("/retry\r")
    terminal.wait_for("/retry asks it again")
    terminal.type("[sim:think]\r")
    terminal.wait_for("The answer is 4.")


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"NO_COLOR": "1"}, {"PYTHONIOENCODING": "ascii"}], ids=str)
def test_poor_terminals(chat: Callable[..., Terminal], environment: dict[str, str]) -> None:
    terminal = chat(columns=40, **environment)
    terminal.type("[sim:think]\r")
    terminal.wait_for("The answer is 4.")
    terminal.type("/quit\r")
    assert terminal.status() == 0


def once(server: Server, *arguments: str, piped: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(
        [*CHAT, server.grpc_url, *arguments],
        input=piped,
        capture_output=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )
    assert b"Traceback" not in done.stderr
    return done


@pytest.mark.parametrize(
    ("question", "piped"),
    [("[sim:think]", b""), (None, b"[sim:think]\n"), ("Look:", b"[sim:think]"), ("[sim:think]", b"a file\n")],
)
def test_scripts_get_the_answer_alone(simulated_server: Server, question: str | None, piped: bytes) -> None:
    arguments = [] if question is None else ["--once", question]
    done = once(simulated_server, *arguments, "--thinking", piped=piped)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"The answer is 4.\n", b"")


def test_an_answer_in_all_languages(simulated_server: Server) -> None:
    done = once(simulated_server, "--once", "[sim:unicode]")
    assert "สวัสดีครับ" in done.stdout.decode()
    assert "👩‍👩‍👧‍👦" in done.stdout.decode()
    poor = once(simulated_server, "--once", "[sim:unicode]", PYTHONIOENCODING="ascii")
    assert poor.returncode == 0
    poor.stdout.decode("ascii")


def test_json_has_everything(simulated_server: Server) -> None:
    done = once(simulated_server, "--once", "[sim:think]", "--thinking", "--json")
    value: dict[str, Any] = json.loads(done.stdout)
    assert value["content"] == "The answer is 4."
    assert value["reasoning_content"]
    assert value["tool_calls"] == []
    assert value["finish_reason"] == "stop"
    assert value["usage"]["output_tokens"] > value["usage"]["reasoning_tokens"] > 0
    assert value["timings"]["total_s"] > 0
    assert value["request_id"]
    assert done.stderr == b""


def test_json_has_the_calls(simulated_server: Server, tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
    (tmp_path / "tools.json").write_text(json.dumps(tools))
    arguments = ["--once", "[sim:tool]", "--tools", str(tmp_path / "tools.json"), "--json", "--max-tokens", "600"]
    value = json.loads(once(simulated_server, *arguments).stdout)
    assert value["tool_calls"][0]["function"]["name"] == "get_weather"
    assert value["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--once", "[sim:fail]"], 1, "The script fails"),
        (["--once", "Hi", "--budget", "0"], 2, "whole number of tokens"),
        (["--once", "Hi", "--budget", "5", "--no-thinking"], 2, "contradict"),
        (["--once", "  "], 2, "There is no question"),
        (["--once", "Hi", "--tools", "/does/not/exist"], 2, "No such file"),
        (["--once", "Hi", "--tls-ca", "/does/not/exist"], 2, "there is no such file"),
        (["--once", "Hi", "--max-tokens", "2000000000"], 4, "max_tokens"),
        (["--once", LONG, "--max-tokens", "10000", "--timeout", "0.3"], 5, "cancelled"),
        (["--once", LONG, "--max-tokens", "5"], 0, "cut off at the limit"),
    ],
)
def test_exit_statuses(simulated_server: Server, arguments: list[str], status: int, message: str) -> None:
    done = once(simulated_server, *arguments)
    assert done.returncode == status, done.stderr
    assert message in done.stderr.decode()
    wait_until(runs(simulated_server, 0), FREED_S)


@pytest.mark.parametrize("url", ["grpc://127.0.0.1:1", "http://127.0.0.1:1"])
def test_an_unreachable_server(url: str) -> None:
    command = [*CHAT, url, "--once", "Hi"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=180, check=False)
    assert done.returncode == 3
    assert done.stdout == b""
    assert done.stderr.startswith(b"nemotron-chat: ")
    assert b"Traceback" not in done.stderr


def test_not_a_url_is_a_usage_error() -> None:
    done = subprocess.run(
        [*CHAT, "ftp://x", "--once", "Hi"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("output", [[], ["--json"]], ids=["text", "json"])
def test_a_signal_ends_the_answer_on_the_server_too(
    simulated_server: Server, number: int, status: int, output: list[str]
) -> None:
    # A process that is started in the background has SIGINT ignored, and so have its children.
    chat = ["env", "--default-signal=INT", *CHAT]
    command = [*chat, simulated_server.grpc_url, "--once", LONG, "--max-tokens", "10000", *output]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            wait_until(runs(simulated_server, 1), WAIT_S)
            process.send_signal(number)
            _, errors = process.communicate(timeout=WAIT_S)
        finally:
            process.kill()
    assert (process.returncode, errors) == (status, b"")
    wait_until(runs(simulated_server, 0), FREED_S)


def test_a_full_disk(simulated_server: Server) -> None:
    command = [*CHAT, simulated_server.grpc_url, "--once", "[sim:think]"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False
        )
    assert done.returncode == 1
    assert done.stderr == b"nemotron-chat: The output cannot be written: No space left on device.\n"


def test_nobody_reads_any_more(simulated_server: Server) -> None:
    command = [*CHAT, simulated_server.grpc_url, "--once", LONG, "--max-tokens", "10000"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.read(1)
            process.stdout.close()
            assert process.wait(WAIT_S) == 141
            assert process.stderr.read() == b""
        finally:
            process.kill()
    wait_until(runs(simulated_server, 0), FREED_S)
