"""Callers of one client, each of which asks again and again."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from nemotron_client import Client, NemotronError
from tests.integration.client.conftest import RANDOM, Driven


class Callers:
    """What they have got so far.

    Attributes:
        answers: Finish reasons.
        errors: What was raised instead.
    """

    def __init__(self, client: Client | Driven, tokens: int) -> None:
        self.answers: list[str] = []
        self.errors: list[NemotronError] = []
        self.over = threading.Event()
        self._client = client
        self._tokens = tokens

    def ask(self) -> None:
        """Ask for so many tokens, until it is over."""
        while not self.over.is_set():
            try:
                reply = self._client.chat(RANDOM, max_tokens=self._tokens)
            except NemotronError as error:
                self.errors.append(error)
            else:
                self.answers.append(reply.finish_reason)


@contextlib.contextmanager
def calling(client: Client | Driven, count: int, tokens: int) -> Iterator[Callers]:
    """So many callers, until the block ends and each has its last answer."""
    callers = Callers(client, tokens)
    threads = [threading.Thread(target=callers.ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield callers
    finally:
        callers.over.set()
        for thread in threads:
            thread.join()
