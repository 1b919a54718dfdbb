"""Whether this process is alive, and whether requests would be answered."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nemotron_front.errors import not_ready, shutting_down
from nemotron_front.exchange import Front

PROBED = ("/health", "/v1/health/live", "/v1/health/ready")
"""What probes ask, every few seconds."""

# One that starts is noticed soon: nemotron-serve waits for it.
_FRESH_S = {True: 1.0, False: 0.1}
_PATIENCE_S = 1.0  # a connection that was refused is tried again after half a second


class Readiness:
    """Whether one of the servers takes requests. They are asked now and then, however many want to know."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._known = False
        self._fresh_until = 0.0
        self._asking = asyncio.Lock()

    async def check(self) -> None:
        """Return if requests would be answered.

        Raises:
            ApiError: they would be refused.
        """
        if self._front.leaving:
            raise shutting_down()
        await self._ask()
        if not self._known:
            raise not_ready()

    async def wait(self) -> None:
        """Wait a moment for a server, where none was found when one was last asked for, or asked.

        Each process of a front finds them by itself: where one says that it is ready, another one may not have yet.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                while not self._known:
                    await asyncio.sleep(max(self._fresh_until - time.monotonic(), 0))
                    await self._ask()

    def lost(self) -> None:
        """A request has found no server."""
        self._known, self._fresh_until = False, 0.0

    async def _ask(self) -> None:
        async with self._asking:
            if time.monotonic() >= self._fresh_until:
                self._known = await self._front.client.is_ready()
                self._fresh_until = time.monotonic() + _FRESH_S[self._known]


def health_routes(readiness: Readiness) -> list[Route]:
    """The routes that probes ask, in the forms of NIM and of vLLM."""

    async def live(_: Request) -> Response:
        return JSONResponse({"object": "health.response", "message": "Service is live.", "status": "live"})

    async def ready(_: Request) -> Response:
        await readiness.check()
        return JSONResponse({"object": "health.response", "message": "Service is ready.", "status": "ready"})

    return [Route(path, answer) for path, answer in zip(PROBED, (live, live, ready), strict=True)]
