"""Callers of one AsyncClient, each of which asks again and again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from nemotron_client import AsyncClient, NemotronError

RANDOM = [{"role": "user", "content": "[sim:random]"}]


class Callers:
    """What they have got so far.

    Attributes:
        answers: Finish reasons.
        errors: What was raised instead.
    """

    def __init__(self) -> None:
        self.answers: list[str] = []
        self.errors: list[NemotronError] = []
        self.over = False

    async def ask(self, client: AsyncClient, tokens: int) -> None:
        """Ask for so many tokens, until it is over."""
        while not self.over:
            try:
                reply = await client.chat(RANDOM, max_tokens=tokens)
            except NemotronError as error:
                self.errors.append(error)
            else:
                self.answers.append(reply.finish_reason)


@contextlib.asynccontextmanager
async def calling(client: AsyncClient, count: int, tokens: int) -> AsyncIterator[Callers]:
    """So many callers, until the block ends and each has its last answer."""
    callers = Callers()
    tasks = [asyncio.create_task(callers.ask(client, tokens)) for _ in range(count)]
    try:
        yield callers
        callers.over = True
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait until the condition holds, which is asked in a thread of its own; fail when it does not in time."""
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.1)
