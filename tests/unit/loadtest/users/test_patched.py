"""Sockets are patched, and gRPC gives way to other greenlets, before the client makes a channel. In fresh processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
REPORT = """
import grpc
made = grpc.insecure_channel
def counting(*args, **kwargs):
    print("channel", cygrpc.g_gevent_activated)
    return made(*args, **kwargs)
grpc.insecure_channel = counting
from grpc._cython import cygrpc
from gevent import monkey
from nemotron_client import Client
Client("grpc://127.0.0.1:9").close()
print("patched", monkey.is_module_patched("socket"), monkey.is_module_patched("threading"))
"""


def output_of(code: str) -> list[str]:
    """What a fresh process writes, in which it is an error when gevent warns of what was imported too early."""
    command = [sys.executable, "-c", f"import warnings\nwarnings.filterwarnings('error', 'Monkey-patching')\n{code}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=180, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "first",
    [
        "from nemotron_loadtest.users import patched",
        "from nemotron_loadtest.run.runner import run_scenario",
        "from nemotron_loadtest.run import workers",
        "from nemotron_loadtest.run import self_test",
        "import runpy; runpy.run_path('loadtest/locustfile.py')",
        "import nemotron_loadtest.cli; from nemotron_loadtest.run import runner",
    ],
)
def test_every_way_in_patches_before_the_first_channel(first: str) -> None:
    assert output_of(first + REPORT) == ["channel True", "patched True True"]


def test_the_client_fits_itself_to_patched_sockets() -> None:
    assert output_of("from gevent import monkey; monkey.patch_all()" + REPORT)[0] == "channel True"


def test_every_stream_has_a_thread_to_wait_in() -> None:
    code = """
from nemotron_loadtest.users.patched import allow_streams
import gevent, time
from gevent import monkey
sleep = monkey.get_original("time", "sleep")
allow_streams(30)
waiting = []
def wait():
    waiting.append(None)
    end = time.monotonic() + 30
    while len(waiting) < 30 and time.monotonic() < end:
        sleep(0.01)
    return len(waiting)
greenlets = [gevent.spawn(gevent.get_hub().threadpool.apply, wait) for _ in range(30)]
gevent.joinall(greenlets)
print({one.value for one in greenlets} == {30})
"""
    assert output_of(code) == ["True"]


def test_reading_results_does_not_load_locust() -> None:
    code = """
import sys, nemotron_loadtest.cli, nemotron_loadtest.run.record, nemotron_loadtest.users.asker
print([name for name in ("locust", "gevent", "matplotlib") if name in sys.modules])
"""
    assert output_of(code) == ["[]"]
