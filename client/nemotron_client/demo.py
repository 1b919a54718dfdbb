"""Ask one question with thinking on and off, streaming: what `make demo` shows.

Talks to the server that NEMOTRON_URL names (nemotron-serve sets it), else to grpc://127.0.0.1:8001.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from nemotron_client._client import DEFAULT_URL, Client
from nemotron_client._errors import NemotronError
from nemotron_client._types import ContentDelta, Reply

_DIM, _PLAIN = "\033[2m", "\033[0m"


def main(argv: list[str] | None = None) -> int:
    """Run the demo; the exit status says whether both answers came."""
    parser = argparse.ArgumentParser(prog="python -m nemotron_client.demo", description=__doc__)
    parser.add_argument("question", nargs="?", default="What is the capital of France?")
    parser.add_argument("--url", default=os.environ.get("NEMOTRON_URL", DEFAULT_URL), help="default: %(default)s")
    options = parser.parse_args(argv)
    try:
        with Client(options.url) as client:
            for thinking in (True, False):
                _show(client, options.question, thinking)
    except (NemotronError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _show(client: Client, question: str, thinking: bool) -> None:
    _write(f"\n── thinking {'on' if thinking else 'off'} ──\nQ: {question}\n")
    begin = time.perf_counter()
    first = None
    was_answer = False
    with client.stream_chat([{"role": "user", "content": question}], thinking=thinking, max_tokens=160) as stream:
        for event in stream:
            first = first or time.perf_counter()
            is_answer = isinstance(event, ContentDelta)
            if is_answer and not was_answer:
                _write("A: " if not thinking else "\nA: ")
            _write(event.text if is_answer else _dim(event.text))
            was_answer = is_answer
        reply = stream.get_final()
    _write(f"\n{_dim(_summary(reply, begin, first or begin, time.perf_counter()))}\n")


def _summary(reply: Reply, begin: float, first: float, end: float) -> str:
    usage = reply.usage
    return (
        f"[{usage.prompt_tokens} prompt tokens, {usage.output_tokens} output tokens of which "
        f"{usage.reasoning_tokens} thinking; first token after {1000 * (first - begin):.0f} ms, "
        f"{usage.output_tokens / (end - begin):.0f} tokens/s; finish_reason {reply.finish_reason}]"
    )


def _dim(text: str) -> str:
    return f"{_DIM}{text}{_PLAIN}" if sys.stdout.isatty() else text


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
