"""Whether this process is alive, and whether requests would be answered."""

from __future__ import annotations

import asyncio
import time

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nemotron_front.errors import not_ready, shutting_down
from nemotron_front.exchange import Front

PROBED = ("/health", "/v1/health/live", "/v1/health/ready")
"""What probes ask, every few seconds."""

# One that starts is noticed soon: nemotron-serve waits for it.
_FRESH_S = {True: 1.0, False: 0.1}


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
        async with self._asking:
            if time.monotonic() >= self._fresh_until:
                self._known = await self._front.client.is_ready()
                self._fresh_until = time.monotonic() + _FRESH_S[self._known]
        if not self._known:
            raise not_ready()


def health_routes(front: Front) -> list[Route]:
    """The routes that probes ask, in the forms of NIM and of vLLM."""
    readiness = Readiness(front)

    async def live(_: Request) -> Response:
        return JSONResponse({"object": "health.response", "message": "Service is live.", "status": "live"})

    async def ready(_: Request) -> Response:
        await readiness.check()
        return JSONResponse({"object": "health.response", "message": "Service is ready.", "status": "ready"})

    return [Route(path, answer) for path, answer in zip(PROBED, (live, live, ready), strict=True)]
