"""nemotron-front: the command line."""

from __future__ import annotations

import argparse

import uvicorn

from nemotron_front.app import make_app
from nemotron_front.options import FrontOptions


def main(argv: list[str] | None = None) -> int:
    """Run nemotron-front.

    Args:
        argv: Arguments without the program's name; None takes the process's.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(prog="nemotron-front", description="OpenAI's API in front of Triton servers.")
    parser.add_argument("urls", metavar="URL", nargs="+", help="a Triton server, such as grpc://127.0.0.1:8001")
    parser.add_argument("--bind", default=FrontOptions.bind, help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=FrontOptions.port, help="0 picks a free one (default: %(default)s)")
    given = parser.parse_args(argv)
    options = FrontOptions(urls=tuple(given.urls), bind=given.bind, port=given.port)
    uvicorn.run(make_app(options), host=options.bind, port=options.port, log_level="warning")
    return 0
