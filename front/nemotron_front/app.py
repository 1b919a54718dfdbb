"""The front as an ASGI application."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from nemotron_client import AsyncClient
from nemotron_front.answering import Channel, answer
from nemotron_front.body import CallerLeft, read_json
from nemotron_front.chat import ChatShape, read_chat
from nemotron_front.errors import ApiError
from nemotron_front.options import FrontOptions


class ChatCompletions:
    """POST /v1/chat/completions."""

    def __init__(self, client: AsyncClient, options: FrontOptions) -> None:
        self._client = client
        self._options = options

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        request_id = uuid.uuid4().hex
        channel = Channel(receive, send, request_id)
        try:
            body = await read_json(receive, self._options.max_body_bytes)
            ask = read_chat(body, "nemotron")
            await answer(self._client, ask, ChatShape(ask, request_id), channel, request_id)
        except ApiError as error:
            await channel.whole(error.json, error.status, error.headers)
        except CallerLeft:
            pass


def make_app(options: FrontOptions, client: AsyncClient | None = None) -> ASGIApp:
    """The application.

    Args:
        options: What it is started with.
        client: Talks to the servers; None makes one for `options.urls`, which the application closes.
    """
    own = client or AsyncClient(options.urls, max_retries=0)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await own.close()

    chat = ChatCompletions(own, options)
    return Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])], lifespan=lifespan)
