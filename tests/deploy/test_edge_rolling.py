"""Both replicas behind the edge of deploy/envoy replaced, while callers with keys ask over gRPC and of the front."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from nemotron_client import Client
from tests.balancer.envoy import KEYS, Balancer, balancing
from tests.deploy.edge import CHAT, TEAM_A, Edge
from tests.integration.client.conftest import RANDOM
from tests.integration.conftest import Server, serving, simulated_package
from tests.running import repeating
from tests.waiting import wait_until

__all__ = ["simulated_package"]  # a fixture

CALLERS = 12  # of each kind
TOKENS = 20
LEAST = 600
PAUSE_S = 0.2  # of each caller: the servers that start beside them have the cores, too
ENTRY = f"        - {{client: team-a, key: {TEAM_A}}}\n"


@pytest.fixture
def serve(simulated_package: Callable[..., Path], tmp_path: Path) -> Iterator[Callable[[], Server]]:
    package = simulated_package("--ttft-ms", "30", "--token-ms", "3", "--max-batch-size", "32", "--max-waiting", "32")
    with contextlib.ExitStack() as stack:

        def start() -> Server:
            directory = tmp_path / f"replica-{len(list(tmp_path.iterdir()))}"
            directory.mkdir()
            return stack.enter_context(serving(package, directory, "--openai-port", "0", "--drain-delay-seconds", "5"))

        yield start


class Callers:
    """Each with a key of its own; none asks twice for the same answer."""

    def __init__(self) -> None:
        self.answered = {"gRPC": 0, "front": 0}
        self.lost: list[str] = []

    def over_grpc(self, client: Client) -> None:
        """One request."""
        with self._counted("gRPC"):
            assert client.chat(RANDOM, max_tokens=TOKENS).usage.output_tokens == TOKENS

    def of_the_front(self, the_edge: Edge, key: str) -> None:
        """One request."""
        with self._counted("front"):
            answer = the_edge.ask(CHAT, key=key, body=json.dumps({"messages": RANDOM, "max_tokens": TOKENS}).encode())
            assert answer.status == 200, answer
            assert answer.json["usage"]["completion_tokens"] == TOKENS

    @contextlib.contextmanager
    def _counted(self, way: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.lost.append(f"{way}: {error!r}")
        else:
            self.answered[way] += 1


@contextlib.contextmanager
def calling(balancer: Balancer) -> Iterator[Callers]:
    """So many of each kind, until the block ends."""
    callers, the_edge = Callers(), Edge(balancer, [])
    with contextlib.ExitStack() as stack:
        works: list[Callable[[], None]] = []
        for key in (f"key-{number}" for number in range(CALLERS)):
            headers = {"authorization": f"Bearer {key}"}
            client = stack.enter_context(Client(balancer.url, sessions=0, max_retries=0, headers=headers))
            works += [partial(callers.over_grpc, client), partial(callers.of_the_front, the_edge, key)]
        stack.enter_context(repeating(works, pause=PAUSE_S))
        yield callers


@pytest.mark.timeout(900)
def test_replacing_both_replicas_loses_nothing(
    serve: Callable[[], Server], tmp_path: Path, figure: Callable[[str], None]
) -> None:
    """The edge hears of it by `/ready` alone: an address is taken away when its replica has ended."""
    entries = "".join(f"        - {{client: team-{number}, key: key-{number}}}\n" for number in range(CALLERS))
    keys = KEYS.read_text().replace(ENTRY, entries)
    replicas = [serve(), serve()]
    (tmp_path / "edge").mkdir()
    with balancing(replicas, tmp_path / "edge", keys=keys) as balancer, calling(balancer) as callers:
        for _ in range(2):
            replicas.append(serve())
            balancer.set_replicas(replicas)
            leaving = replicas.pop(0)
            leaving.process.send_signal(signal.SIGTERM)
            assert leaving.process.wait(240) == 0
            balancer.set_replicas(replicas)
        before = dict(callers.answered)
        wait_until(lambda: all(callers.answered[way] > before[way] + CALLERS for way in before), 240)
        wait_until(lambda: sum(callers.answered.values()) >= LEAST, 240)
    asked = sum(callers.answered.values()) + len(callers.lost)
    figure(
        f"both replicas replaced under {CALLERS} callers over gRPC and {CALLERS} of the front, with keys and without "
        f"retries: {len(callers.lost)} lost of {asked}"
    )
    assert callers.lost == []
