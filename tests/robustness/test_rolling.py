"""Replicas that are replaced one after the other, behind nothing but readiness: no caller loses anything."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Server, serving
from tests.running import repeating
from tests.waiting import wait_until

CALLERS = 12
POLL_S = 0.2
GENERATE = "/v2/models/ensemble/generate"
COMPLETIONS = "/chat/completions"


class Routing:
    """Asks each replica whether it is ready, again and again, and sends a request to one of those that were.

    Attributes:
        replicas: Those to ask.
        path: Of the health port, or of the front's.
    """

    def __init__(self, replicas: list[Server], health: Callable[[Server], str]) -> None:
        self.replicas = replicas
        self._health = health
        self._ready: list[Server] = list(replicas)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._poll)

    def __enter__(self) -> Routing:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def choose(self) -> Server:
        return random.choice(self._ready)

    def has(self, replica: Server) -> bool:
        return replica in self._ready

    def _poll(self) -> None:
        while not self._over.wait(POLL_S):
            self._ready = [one for one in list(self.replicas) if answers(self._health(one))]


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False


class Callers:
    """What became of their requests. None asks twice for the same answer.

    Attributes:
        answered: Requests that were answered.
        lost: What the others got.
    """

    def __init__(self, routing: Routing, ask: Callable[[Server], None]) -> None:
        self.answered = 0
        self.lost: list[str] = []
        self._routing = routing
        self._ask = ask

    def ask(self) -> None:
        """One request."""
        try:
            self._ask(self._routing.choose())
        except Exception as error:
            self.lost.append(repr(error))
        else:
            self.answered += 1


def ask_triton(replica: Server) -> None:
    status, body = replica.post(GENERATE, {"text_input": "[sim:random]", "max_tokens": 30})
    assert (status, json.loads(body).get("num_output_tokens")) == (200, 30), body


def ask_front(replica: Server) -> None:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "[sim:random]"}], "max_tokens": 30}
    request = urllib.request.Request(f"{replica.info['openai_url']}{COMPLETIONS}", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=60) as response:
        assert json.load(response)["usage"]["completion_tokens"] == 30


@pytest.fixture
def serve(simulated_package: Callable[..., Path], tmp_path: Path) -> Iterator[Callable[[], Server]]:
    package = simulated_package("--ttft-ms", "30", "--token-ms", "3", "--max-batch-size", "32", "--max-waiting", "16")
    with contextlib.ExitStack() as stack:

        def start() -> Server:
            directory = tmp_path / f"replica-{len(list(tmp_path.iterdir()))}"
            directory.mkdir()
            options = ("--openai-port", "0", "--drain-delay-seconds", "3")
            return stack.enter_context(serving(package, directory, *options))

        yield start


@pytest.mark.parametrize(
    ("ask", "health"),
    [
        (ask_triton, lambda replica: f"{replica.info['health_url']}/ready"),
        (ask_front, lambda replica: f"{replica.info['openai_url']}/health/ready"),
    ],
    ids=["triton", "front"],
)
def test_replacing_both_replicas_loses_nothing(
    serve: Callable[[], Server], ask: Callable[[Server], None], health: Callable[[Server], str]
) -> None:
    replicas = [serve(), serve()]
    with Routing(replicas, health) as routing:
        callers = Callers(routing, ask)
        with repeating([callers.ask] * CALLERS):
            for _ in range(2):
                old, new = replicas[0], serve()
                replicas.append(new)
                wait_until(lambda new=new: routing.has(new), 60)  # type: ignore[misc]
                old.process.send_signal(signal.SIGTERM)
                wait_until(lambda old=old: not routing.has(old), 60)  # type: ignore[misc]
                assert old.process.poll() is None, "requests that were on their way are taken"
                assert old.process.wait(60) == 0
                replicas.remove(old)
            before = callers.answered
            wait_until(lambda: callers.answered > before + CALLERS, 60)
    assert callers.lost == []
    assert callers.answered > 100


def test_a_second_signal_ends_the_delay(serve: Callable[[], Server]) -> None:
    replica = serve()
    replica.process.send_signal(signal.SIGTERM)
    wait_until(lambda: not answers(f"{replica.info['health_url']}/ready"))
    replica.process.send_signal(signal.SIGTERM)
    assert replica.process.wait(30) == 128 + signal.SIGTERM
