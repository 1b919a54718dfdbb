"""nemotron-chat: the command line."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from nemotron_client import _defaults
from nemotron_client._client import Client
from nemotron_client._errors import NemotronError
from nemotron_client._timeouts import Timeouts
from nemotron_client._transports import Tls
from nemotron_client.chat import answering, transcript
from nemotron_client.chat.safe_text import encodable, safe
from nemotron_client.chat.session import ChatError, Session, Settings

_EPILOG = """\
examples:
  nemotron-chat
      chat with the server on this machine (nemotron-serve packages/demo starts one); /help lists the commands
  nemotron-chat grpcs://llm.example:8001 --tls-ca ca.pem --header authorization="Bearer $TOKEN"
      chat with a server elsewhere
  nemotron-chat --thinking --budget 512
      let it think before it answers, for about 512 tokens at most
  nemotron-chat --once "What is the capital of France?"
      one answer, and nothing else on stdout
  git diff | nemotron-chat --once "Write a commit message for this change."
      what is piped in follows the question; without --once it is the question
  nemotron-chat --once "Solve x*x = 2" --thinking --json | jq -r .reasoning_content
      everything about the answer, as one JSON object

while an answer comes:
  Ctrl-C cancels it, on the server too. Ctrl-N ends its thinking, and the answer follows at once.

what scripts get:
  The answer is on stdout, exactly as the model wrote it, but for control characters, which are shown as escapes.
  Thinking goes to stderr where that is a terminal, else nowhere. Notes and errors are on stderr.

exit status:
  0    an answer came (one that --max-tokens has cut is one)
  1    the server failed
  2    the command line, or a file it names, is at fault
  3    no server can be reached, it is shutting down, or its model is not loaded
  4    the server refused the request, or wants credentials
  5    the server is full, or an answer took too long: try again later
  129  the terminal was closed
  130  interrupted with Ctrl-C
  141  nobody reads the output any more
  143  ended by SIGTERM
"""
_NOBODY_READS = {errno.EPIPE: answering.BROKEN_PIPE, errno.EIO: answering.HUNG_UP}


def main(argv: list[str] | None = None) -> int:
    """Run nemotron-chat.

    Args:
        argv: Arguments without the program's name; None takes the process's.

    Returns:
        The exit status.
    """
    given = _parser().parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        with _ending_on_signals():
            return _run(given)
    except NemotronError as error:
        _complain(str(error))
        return answering.exit_status(error)
    except (ChatError, TypeError, ValueError) as error:
        _complain(str(error))
        return answering.USAGE
    except KeyboardInterrupt:
        return answering.INTERRUPTED
    except OSError as error:
        if error.errno not in _NOBODY_READS:
            _complain(f"The output cannot be written: {error.strerror}.")
        # Python would complain when it flushes stdout at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _NOBODY_READS.get(error.errno or 0, answering.FAILED)


def _run(given: argparse.Namespace) -> int:
    session = Session(_settings(given))
    question = _question(given)
    if given.json and question is None:
        raise ChatError("--json is for one answer: give --once, or pipe a question in.")
    with _client(given) as client:
        if question is not None:
            session.ask(question)
            return answering.answer(client, session, as_json=given.json)
        _chat(client, session)
    return 0


def _chat(client: Client, session: Session) -> None:
    # rich and prompt_toolkit take time to load, which scripts need not wait for.
    try:
        from rich.console import Console

        from nemotron_client.chat.interactive import Interactive, Prompt, history_path
        from nemotron_client.chat.screen import Screen
    except ImportError as error:
        library = (error.name or "A library").partition(".")[0]
        raise ChatError(f"{library} is missing. Install it in a clone of this project: pip install '.[chat]'") from None
    console = Console(highlight=False)
    screen = Screen(console, live=sys.stdout.isatty() and not console.is_dumb_terminal)
    Interactive(client, session, screen, Prompt(history_path())).run()


def _question(given: argparse.Namespace) -> str | None:
    """What to ask, or None to chat."""
    parts = [] if given.once is None else [given.once]
    if sys.stdin is not None and not sys.stdin.isatty():
        try:
            parts.append(sys.stdin.buffer.read().decode("utf-8-sig"))
        except UnicodeDecodeError:
            raise ChatError("What was piped in is no UTF-8 text.") from None
    elif given.once is None:
        return None
    question = "\n\n".join(part for part in map(str.strip, parts) if part)
    if not question:
        raise ChatError("There is no question: neither --once nor what was piped in has any text.")
    return question


def _settings(given: argparse.Namespace) -> Settings:
    if given.budget is not None and given.thinking is False:
        raise ChatError("--budget and --no-thinking contradict each other.")
    return Settings(
        thinking=True if given.budget is not None else given.thinking,
        budget=given.budget,
        system=given.system,
        temperature=given.temperature,
        max_tokens=given.max_tokens,
        tools=transcript.load_tools(given.tools) if given.tools else [],
    )


def _client(given: argparse.Namespace) -> Client:
    options: dict[str, Any] = {"headers": dict(given.header), "timeouts": Timeouts(total=given.timeout)}
    if given.tls_ca or given.tls_cert or given.tls_key:
        for path in (given.tls_ca, given.tls_cert, given.tls_key):
            if path and not os.path.isfile(path):
                raise ChatError(f"{path}: there is no such file.")
        options["tls"] = Tls(given.tls_ca, given.tls_cert, given.tls_key)
    return Client(given.url, **options)


@contextlib.contextmanager
def _ending_on_signals() -> Iterator[None]:
    """Leave in order when the terminal is closed or the process is ended: a running answer is then cancelled."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _complain(text: str) -> None:
    line = encodable(safe(text).strip().replace("\n", "\n  "), sys.stderr.encoding)
    sys.stderr.write(f"nemotron-chat: {line}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nemotron-chat",
        description="Chat with the model in the terminal, or get one answer for a script.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "url",
        metavar="URL",
        nargs="?",
        help=f"grpc://, grpcs://, http:// or https://HOST:PORT "
        f"(default: what {_defaults.URL_VARIABLE} names, else {_defaults.URL})",
    )
    asking = parser.add_argument_group("what is asked")
    asking.add_argument("--once", metavar="QUESTION", help="write the answer to this question and leave")
    asking.add_argument("--json", action="store_true", help="write one JSON object: the answer, its counts and times")
    asking.add_argument("--system", metavar="TEXT", default="", help="what the model is told before the chat")
    asking.add_argument("--tools", metavar="FILE", type=Path, help="functions it may call, JSON in OpenAI's shape")
    model = parser.add_argument_group("how it answers")
    model.add_argument(
        "--thinking", action=argparse.BooleanOptionalAction, help="think before the answer (default: the server's)"
    )
    model.add_argument(
        "--budget", metavar="N", type=_tokens, help="tokens after which the thinking is closed; turns it on"
    )
    model.add_argument(
        "--temperature", metavar="T", type=_number, help="0 is the likeliest answer (default: the server's)"
    )
    model.add_argument("--max-tokens", metavar="N", type=_tokens, help="of thinking and answer together")
    server = parser.add_argument_group("the server")
    server.add_argument(
        "--header",
        metavar="NAME=VALUE",
        type=_header,
        action="append",
        default=[],
        help="sent along; NAME=@FILE takes the value from a file, so that it is not seen in the list of processes",
    )
    server.add_argument("--tls-ca", metavar="FILE", help="authorities to trust, PEM (default: the system's)")
    server.add_argument("--tls-cert", metavar="FILE", help="certificate to show, PEM")
    server.add_argument("--tls-key", metavar="FILE", help="its private key, PEM")
    server.add_argument(
        "--timeout",
        metavar="S",
        type=_seconds,
        default=_defaults.TOTAL_TIMEOUT_S,
        help="seconds that an answer may take (default: %(default)g)",
    )
    return parser


def _tokens(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and 0 < int(text) < 2**31):
        raise argparse.ArgumentTypeError(f"{text!r} given, expected a whole number of tokens above 0")
    return int(text)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} given, expected a number of at least 0")
    return value


def _seconds(text: str) -> float:
    if not (value := _number(text)):
        raise argparse.ArgumentTypeError(f"{text!r} given, expected seconds above 0")
    return value


def _header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:  # never the text itself, which may be a secret
        raise argparse.ArgumentTypeError("expected NAME=VALUE or NAME=@FILE")
    if value.startswith("@"):
        try:
            value = Path(value[1:]).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", "it is no text")
            raise argparse.ArgumentTypeError(f"{value[1:]} cannot be read: {reason}") from error
    return name, value
