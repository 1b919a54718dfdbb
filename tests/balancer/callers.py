"""Callers of one client, each of which asks again and again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from nemotron_client import Client, NemotronError
from tests.integration.client.conftest import RANDOM, Driven
from tests.running import repeating


class Callers:
    """What they have got so far.

    Attributes:
        answers: Finish reasons.
        errors: What was raised instead.
    """

    def __init__(self, client: Client | Driven, tokens: int) -> None:
        self.answers: list[str] = []
        self.errors: list[NemotronError] = []
        self._client = client
        self._tokens = tokens

    def ask(self) -> None:
        """Ask for so many tokens."""
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
    with repeating([callers.ask] * count):
        yield callers
