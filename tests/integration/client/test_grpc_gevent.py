"""W13: with gevent's patches the client's calls give way to each other, without a word from the program."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.integration.conftest import Server

PROGRAM = """
from gevent import monkey
monkey.patch_all()
import sys, time
import gevent
from nemotron_client import Client, RequestTimeoutError

RANDOM = [{"role": "user", "content": "[sim:random]"}]
with Client(sys.argv[1]) as client:
    begin = time.perf_counter()
    calls = [gevent.spawn(client.chat, RANDOM, max_tokens=100) for _ in range(20)]
    gevent.joinall(calls, raise_error=True)
    assert [call.value.usage.output_tokens for call in calls] == [100] * 20
    together = time.perf_counter() - begin
    begin = time.perf_counter()
    client.chat(RANDOM, max_tokens=100)
    alone = time.perf_counter() - begin
    assert together < 10 * alone, (together, alone)
    try:
        client.with_options(timeouts=0.2).chat(RANDOM, max_tokens=100_000)
    except RequestTimeoutError as error:
        assert error.phase == "total"
    else:
        raise AssertionError("no timeout")
    stream = client.stream_chat(RANDOM, max_tokens=100_000)
    next(stream)
"""


def test_greenlets_share_a_client(server: Server) -> None:
    pytest.importorskip("gevent")
    subprocess.run([sys.executable, "-c", PROGRAM, server.grpc_url], check=True, timeout=180)
