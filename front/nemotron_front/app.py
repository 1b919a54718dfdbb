"""The front as an ASGI application."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from nemotron_client import AsyncClient, NemotronError
from nemotron_front import info
from nemotron_front.answering import Api, Channel, answer
from nemotron_front.ask import Ask
from nemotron_front.body import CallerLeft, read_json
from nemotron_front.chat import CHAT
from nemotron_front.errors import ApiError, from_client
from nemotron_front.models import Models
from nemotron_front.options import FrontOptions
from nemotron_front.page import files

APIS = (CHAT,)
"""Every way to ask for text."""


class Generating:
    """POST to one of `APIS`."""

    def __init__(self, api: Api, client: AsyncClient, models: Models, options: FrontOptions) -> None:
        self._api = api
        self._client = client
        self._models = models
        self._options = options

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        request_id = uuid.uuid4().hex
        channel = Channel(receive, send, request_id)
        try:
            body = await read_json(receive, self._options.max_body_bytes)
            ask = await self._read(body)
            await answer(self._client, ask, self._api.shape(ask, request_id), channel, request_id)
        except ApiError as error:
            await channel.whole(self._api.error_json(error), error.status, error.headers)
        except CallerLeft:
            pass

    async def _read(self, body: dict[str, object]) -> Ask:
        try:
            body["model"] = await self._models.resolve(body.get("model"))
        except NemotronError as error:
            raise from_client(error) from error
        return self._api.read(body)


def make_app(options: FrontOptions, client: AsyncClient | None = None) -> ASGIApp:
    """The application.

    Args:
        options: What it is started with.
        client: Talks to the servers; None makes one for `options.urls`, which the application closes.
    """
    own = client or AsyncClient(options.urls, max_retries=0)
    models = Models(own, options.served_model_names)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await own.close()

    generating = [Route(api.path, Generating(api, own, models, options), methods=["POST"]) for api in APIS]
    return Starlette(
        routes=[*files.routes(), *generating, *info.routes(models)],
        exception_handlers={ApiError: _refused, NemotronError: _refused},
        lifespan=lifespan,
    )


async def _refused(_: Request, error: Exception) -> Response:
    told = from_client(error) if isinstance(error, NemotronError) else error
    assert isinstance(told, ApiError)  # noqa: S101 - no other comes here
    return Response(told.json(), told.status, told.headers, "application/json")
