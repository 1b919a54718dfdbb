"""nemotron-front: the command line."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import NoReturn

from nemotron_front.options import FrontOptions, add_options, path

_USAGE_STATUS = 2
_UNKNOWN = re.compile(r"unrecognized arguments: .*?(--[^\s=]+)")
_ELSEWHERE = {"--host": "--bind", "--api-key": "--api-key-file"}  # as other servers call them
_EPILOG = """\
examples:
  nemotron-front
      serve http://127.0.0.1:9000/v1 and a chat page at http://127.0.0.1:9000, in front of the server on this machine
      (nemotron-serve PACKAGE --openai-port 9000 starts both)
  nemotron-front grpc://gpu1:8001 grpc://gpu2:8001 --workers 2
      two servers behind one port, with two processes
  nemotron-front --bind 0.0.0.0 --api-key-file keys.txt
      serve other machines, with keys: one a line, such as 'openssl rand -hex 32' makes them
  nemotron-front --port 0 --ready-file front.json
      serve on a free port; front.json appears when it is ready, and holds the URL
  nemotron-front --served-model-name gpt-4o --cors-origin https://chat.example
      answer to another name as well, and to a web page from elsewhere

asking:
  curl http://127.0.0.1:9000/v1/chat/completions -d '{"messages": [{"role": "user", "content": "Hi"}]}'

stopping:
  The first ctrl-C or SIGTERM drains: /v1/health/ready answers 503, the ready file goes, new requests get 503 after
  --drain-delay-seconds, running ones have --drain-seconds to end, then they are cut off with an error. A second one
  stops at once.
  SIGHUP reads --api-key-file again.

exit status:
  0         stopped on request, after draining
  1         a worker process could not be started, again and again
  2         the command line, a file it names, the address or the port is at fault; nothing was started
  130, 143  stopped at once by a second ctrl-C or SIGTERM, or by one before it was ready
"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and which option was meant; the usage is a --help away."""

    def error(self, message: str) -> NoReturn:
        """Write the line and exit with status 2."""
        end = "."
        if found := _UNKNOWN.match(message):
            option = found[1]
            near = difflib.get_close_matches(option, self._option_string_actions, n=1)
            meant = _ELSEWHERE.get(option) or next(iter(near), "")
            message, end = f"there is no option {option}", f"; did you mean {meant}?" if meant else "."
        self.exit(_USAGE_STATUS, f"{self.prog}: {message}{end} See '{self.prog} --help'.\n")


def main(argv: list[str] | None = None) -> int:
    """Run nemotron-front.

    Args:
        argv: Arguments without the program's name; None takes the process's.

    Returns:
        The exit status.
    """
    given = _parser().parse_args(argv)
    with _early_signals():
        return _serve(FrontOptions.of_arguments(given), given)


@contextlib.contextmanager
def _early_signals() -> Iterator[None]:
    """While libraries load and until what serves has its own handlers: end at once, and leave SIGHUP for later.

    Not by KeyboardInterrupt, which libraries may take for an error of theirs. Nothing is there yet to be cleaned up.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {one: signal.signal(one, lambda number, _: os._exit(128 + number)) for one in numbers}
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.sigtimedwait({signal.SIGHUP}, 0)  # it came too late to be of use
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        for number, handler in before.items():
            signal.signal(number, handler)


def _serve(options: FrontOptions, given: argparse.Namespace) -> int:
    # The libraries take time to load, which --help need not wait for.
    from nemotron_front import run, workers

    run.log_to_stderr(options)
    try:
        run.check(options)
        listener = run.listen(options)
    except run.StartError as error:
        return _complain(str(error))
    run.allow_many_connections()
    url, ready_file = run.url_of(listener), run.ReadyFile(given.ready_file)

    def began(processes: Sequence[int]) -> None:
        servers = ", ".join(options.urls) or "the server on this machine"
        _say(f"ready at {url}/v1, chat page at {url}/, in front of {servers}. Ctrl-C stops.")
        ready_file.write(url, processes)

    def ends() -> None:
        ready_file.remove()
        delay = options.drain_delay_seconds
        begin = f"new requests are taken for {delay:g} s, then " if delay else ""
        _say(f"stopping: {begin}running requests have {options.drain_seconds:g} s.")

    try:
        if options.workers > 1:
            return workers.Workers(options, listener, began, ends).run()
        return run.work(options, listener, lambda: began([os.getpid()]), ends)
    finally:
        ready_file.remove()


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # nobody may be there to read, which must not end anything
        print(f"nemotron-front: {text}", file=sys.stderr, flush=True)  # noqa: T201 - the command's own voice


def _complain(text: str) -> int:
    _say(text)
    return _USAGE_STATUS


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="nemotron-front",
        usage="nemotron-front [URL ...] [options]",
        description="Serve OpenAI's and Anthropic's APIs and a chat page, in front of Triton servers.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # else `--api-key SECRET`, which other servers have, names a file
    )
    parser.add_argument(
        "urls",
        metavar="URL",
        nargs="*",
        help="a server, grpc://, grpcs://, http:// or https://HOST:PORT; several are used in turn "
        "(default: what NEMOTRON_URL names, else grpc://127.0.0.1:8001)",
    )
    where = parser.add_argument_group("where to listen")
    add_options(where, "bind", "port", "workers")
    where.add_argument(
        "--ready-file", metavar="FILE", type=path, help="write the URL and process ids, as JSON, while it serves"
    )
    add_options(parser.add_argument_group("the servers"), "sessions", "tls_ca", "tls_cert", "tls_key")
    add_options(parser.add_argument_group("answers"), "served_model_name", "reasoning_name")
    add_options(parser.add_argument_group("security"), "api_key_file", "cors_origin", "allowed_host")
    limits = parser.add_argument_group("limits")
    add_options(limits, "max_requests", "max_body_mib", "body_seconds", "answer_seconds", "write_seconds")
    add_options(limits, "keep_alive_seconds")
    running = parser.add_argument_group("running")
    add_options(running, "drain_delay_seconds", "drain_seconds", "hang_seconds", "access_log")
    return parser
