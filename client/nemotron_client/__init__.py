"""Talk to a Nemotron Nano server from Python.

from nemotron_client import Client

with Client("grpc://127.0.0.1:8001") as client:
    reply = client.chat([{"role": "user", "content": "What is 2 + 2?"}], thinking=True)
    print(reply.reasoning_content, reply.content, reply.usage)
"""

from nemotron_client._client import ChatStream, Client
from nemotron_client._errors import (
    ConnectError,
    InvalidRequestError,
    NemotronError,
    OverloadedError,
    RequestTimeoutError,
    ServerError,
)
from nemotron_client._types import ContentDelta, Event, ReasoningDelta, Reply, ToolCall, ToolCallDelta, Usage

__all__ = [
    "ChatStream",
    "Client",
    "ConnectError",
    "ContentDelta",
    "Event",
    "InvalidRequestError",
    "NemotronError",
    "OverloadedError",
    "ReasoningDelta",
    "Reply",
    "RequestTimeoutError",
    "ServerError",
    "ToolCall",
    "ToolCallDelta",
    "Usage",
]
