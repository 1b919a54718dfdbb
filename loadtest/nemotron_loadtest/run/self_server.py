"""The server of the self-test, in a process of its own: `python -m nemotron_loadtest.run.self_server`.

Every reply has `TOKENS` tokens, `SHARED` in each response, at `TOKEN_S` a token, as a server under load sends them. It
serves until its standard input ends, so that it does not outlive who has started it.
"""

from __future__ import annotations

import sys

from nemotron_client import Usage
from nemotron_client.testing import FakeServer, ScriptedReply

TOKENS = 100
SHARED = 4
TOKEN_S = 0.04
TTFT_S = 0.05


def serve() -> None:
    """Write the URL as a line, and serve."""
    responses = TOKENS // SHARED
    reply = ScriptedReply(
        [" word" * SHARED] * responses, usage=Usage(1, TOKENS, 0), ttft_s=TTFT_S, token_s=SHARED * TOKEN_S
    )
    with FakeServer(lambda _: reply) as server:
        sys.stdout.write(f"{server.grpc_url}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    serve()
