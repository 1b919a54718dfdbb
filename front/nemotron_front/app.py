"""The front as an ASGI application."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from starlette.routing import Match, Route, Router
from starlette.types import Receive, Scope, Send

from nemotron_client import AsyncClient, NemotronError, Timeouts, Tls
from nemotron_front import tokens
from nemotron_front.access import Access
from nemotron_front.answering import Api, answer
from nemotron_front.anthropic import MESSAGES
from nemotron_front.body import CallerLeft
from nemotron_front.chat import CHAT
from nemotron_front.completions import COMPLETIONS
from nemotron_front.errors import (
    ApiError,
    from_client,
    overloaded,
    shutting_down,
    unexpected,
    unknown_url,
    wrong_method,
)
from nemotron_front.exchange import EXCHANGE, Exchange, Front
from nemotron_front.health import Readiness, health_routes
from nemotron_front.metrics import Metrics, log_request
from nemotron_front.models import Models
from nemotron_front.openapi import openapi_route
from nemotron_front.options import FrontOptions
from nemotron_front.page import files
from nemotron_front.page.rendering import Rendering
from nemotron_front.responses import RESPONSES
from nemotron_front.telemetry import carried_on, span

APIS = (CHAT, COMPLETIONS, RESPONSES, MESSAGES)
"""Every way to ask for text."""


class Generating:
    """POST to one of `APIS`."""

    def __init__(self, api: Api, models: Models, readiness: Readiness) -> None:
        self._api = api
        self._models = models
        self._readiness = readiness

    async def __call__(self, scope: Scope, _: Receive, __: Send) -> None:
        """Answer a request."""
        exchange: Exchange = scope[EXCHANGE]
        body = await exchange.json()
        await self._readiness.wait()
        body["model"] = await self._models.resolve(body.get("model"))
        ask = replace(self._api.read(body), reasoning_names=exchange.front.options.reasoning_names)
        await answer(exchange, ask, self._api.shape(ask, exchange.id))


class App:
    """What every request goes through: who may ask, whether there is room, the endpoint, and what goes wrong there.

    Attributes:
        front: What all requests share.
        access: Who may ask.
        readiness: Whether one of the servers takes requests, for all that want to know.
    """

    def __init__(self, front: Front) -> None:
        self.front = front
        self.access = Access(front.options)
        self._metrics = Metrics(front.options.max_requests)
        models = Models(front.client, front.options.served_model_name)
        self.readiness = Readiness(front)
        # Anybody may have these. All else is for who has a key, where keys are set.
        self._open = [*health_routes(self.readiness), *files.routes()]
        generating = [Route(api.path, Generating(api, models, self.readiness), methods=["POST"]) for api in APIS]
        self._rendering = Rendering()
        more = [*models.routes(), *tokens.routes(models, APIS), *self._rendering.routes(), *self._metrics.routes()]
        self._routes = [*self._open, *generating, *more]
        bodies = {**{api.path: api.fields for api in APIS}, **tokens.bodies(APIS)}
        self._routes.append(openapi_route(self._routes, bodies, [api.path for api in APIS]))
        self._lifespan = Router(lifespan=self._live)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's way in."""
        if scope["type"] != "http":
            await self._lifespan(scope, receive, send)
            return
        exchange = Exchange(self.front, scope, receive, send)
        self._metrics.began()
        try:
            await self._answer(exchange)
        finally:
            self.front.exchanges.discard(exchange)
            if exchange.error is not None and exchange.error.code == "not_ready":
                self.readiness.lost()
            seconds = time.perf_counter() - exchange.began_at
            self._metrics.over(exchange, seconds)
            log_request(exchange, seconds)

    def leave(self, *, at_once: bool) -> None:
        """Tell probes from now on that this is not ready, and, where it is at once, refuse new requests as well."""
        self.front.leaving, self.front.stopping = True, at_once
        self._metrics.drains()

    async def _answer(self, exchange: Exchange) -> None:
        try:
            try:
                await self._endpoint(exchange)
            except NemotronError as error:
                raise from_client(error, exchange.id) from error
        except CallerLeft:
            exchange.caller_left = True
        except ApiError as error:
            await exchange.refuse(error)
        except Exception as error:
            told = unexpected(error, exchange.id)
            if exchange.started:  # the connection ends where the answer does
                exchange.error = told
            else:
                await exchange.refuse(told)

    async def _endpoint(self, exchange: Exchange) -> None:
        scope, headers = exchange.scope, exchange.headers
        for api in APIS:
            if scope["path"] == api.path or scope["path"].startswith(f"{api.path}/"):
                exchange.error_json = api.error_json
        is_open = self._matching(self._open, scope)[0] is not None
        exchange.more_headers += self.access.check_origin(headers, is_open=is_open)
        if scope["method"] == "OPTIONS" and (answer := self.access.preflight(headers)) is not None:
            await exchange.whole(b"", 200, answer)
            return
        if not is_open:
            self.access.check_key(headers)
            # Not before: who has no key must not take the room of those who have one.
            if scope["path"] not in self._metrics.paths:  # who watches wants to see a full front, and its end
                self._admit(exchange)
        route, allowed = self._matching(self._routes, scope)
        if route is None:
            if allowed:
                raise wrong_method(scope["method"], scope["path"], ", ".join(sorted(allowed)))
            known = [one.path for one in self._routes if len(one.path) > 1 and "{" not in one.path]
            raise unknown_url(scope["method"], scope["path"], known)
        exchange.endpoint = route.path
        if trace := carried_on(exchange):
            exchange.client = self.front.client.with_options(headers=self.front.options.headers | trace)
        scope[EXCHANGE] = exchange
        with span(exchange):
            await route.app(scope, exchange.receive, exchange.send)

    def _admit(self, exchange: Exchange) -> None:
        if self.front.stopping:
            raise shutting_down()
        if len(self.front.exchanges) >= self.front.options.max_requests:
            raise overloaded(self.front.options.max_requests)
        self.front.exchanges.add(exchange)

    @staticmethod
    def _matching(routes: Sequence[Route], scope: Scope) -> tuple[Route | None, set[str]]:
        """The route of a request; where there is none, the methods that its path takes."""
        allowed: set[str] = set()
        for route in routes:
            match, more = route.matches(scope)
            if match is Match.FULL:
                scope.update(more)
                return route, allowed
            if match is Match.PARTIAL:
                allowed |= route.methods or set()
        return None, allowed

    @asynccontextmanager
    async def _live(self, _: object) -> AsyncIterator[None]:
        yield
        await self._rendering.close()
        await self.front.client.close()


def make_app(options: FrontOptions, client: AsyncClient | None = None) -> App:
    """The application.

    Args:
        options: What it is started with.
        client: Talks to the servers; None makes one for `options.urls`. The application closes it.

    Raises:
        KeyFileError: there are no keys in the file that should have them.
        ValueError: a URL that is none.
    """
    return App(Front(options, client or make_client(options)))


def make_client(options: FrontOptions) -> AsyncClient:
    """What talks to the servers.

    Raises:
        ValueError: a URL that is none.
    """
    # The server ends an answer at its deadline, by itself; this is for a server that does not.
    limits = Timeouts(first_token=None, between_tokens=None, total=options.answer_seconds + 30)
    ca, cert, key = (str(one) if one else None for one in (options.tls_ca, options.tls_cert, options.tls_key))
    tls = Tls(ca, cert, key) if ca or cert or key else None
    return AsyncClient(
        options.urls or None,
        max_retries=0,
        timeouts=limits,
        headers=options.headers,
        tls=tls,
        sessions=options.sessions,
    )
