"""Applications over a script in place of servers, for tests that run in one event loop with them."""

from __future__ import annotations

from typing import Any

from nemotron_client import AsyncClient
from nemotron_client.testing import AsyncMockTransport
from nemotron_front.app import App, make_app
from nemotron_front.options import FrontOptions

CHAT = "/v1/chat/completions"
HI = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
STREAM = {**HI, "stream": True}


def app_of(replies: Any = (), **options: Any) -> tuple[App, AsyncMockTransport]:
    """A front with these options, and what it sends its requests to."""
    transport = AsyncMockTransport(replies)
    client = AsyncClient(transport=transport, max_retries=0)
    known = {"urls": (transport.url,), "served_model_name": ("m",), **options}
    return make_app(FrontOptions(**known), client), transport
