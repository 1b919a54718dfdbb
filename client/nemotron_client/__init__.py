"""Talk to a Nemotron Nano server from Python.

from nemotron_client import Client

with Client("grpc://127.0.0.1:8001") as client:
    reply = client.chat([{"role": "user", "content": "What is 2 + 2?"}], thinking=True)
    print(reply.reasoning_content, reply.content, reply.usage)
"""

import logging

from nemotron_client._async_client import AsyncClient
from nemotron_client._async_streams import AsyncChatStream
from nemotron_client._batch import BatchItem, BatchResult
from nemotron_client._client import Client
from nemotron_client._contract import Options
from nemotron_client._errors import (
    AuthenticationError,
    InvalidRequestError,
    ModelNotReadyError,
    NemotronError,
    OverloadedError,
    ParseError,
    RequestTimeoutError,
    ServerError,
    ServerUnavailableError,
    StreamClosedError,
    TlsError,
    TransportError,
)
from nemotron_client._streams import ChatStream
from nemotron_client._timeouts import Timeouts
from nemotron_client._tool_runs import ToolRun, run_tools, run_tools_async
from nemotron_client._tools import tool_from_function
from nemotron_client._transports import Tls
from nemotron_client._types import (
    AssistantMessage,
    ContentDelta,
    Event,
    LogprobsDelta,
    Message,
    ModelInfo,
    ReasoningDelta,
    Reply,
    ServerInfo,
    SystemMessage,
    Timings,
    TokenizedPrompt,
    ToolCall,
    ToolCallDelta,
    ToolCallError,
    ToolCallErrorDelta,
    ToolMessage,
    Usage,
    UserMessage,
)

__all__ = [
    "AssistantMessage",
    "AsyncChatStream",
    "AsyncClient",
    "AuthenticationError",
    "BatchItem",
    "BatchResult",
    "ChatStream",
    "Client",
    "ContentDelta",
    "Event",
    "InvalidRequestError",
    "LogprobsDelta",
    "Message",
    "ModelInfo",
    "ModelNotReadyError",
    "NemotronError",
    "Options",
    "OverloadedError",
    "ParseError",
    "ReasoningDelta",
    "Reply",
    "RequestTimeoutError",
    "ServerError",
    "ServerInfo",
    "ServerUnavailableError",
    "StreamClosedError",
    "SystemMessage",
    "Timeouts",
    "Timings",
    "Tls",
    "TlsError",
    "TokenizedPrompt",
    "ToolCall",
    "ToolCallDelta",
    "ToolCallError",
    "ToolCallErrorDelta",
    "ToolMessage",
    "ToolRun",
    "TransportError",
    "Usage",
    "UserMessage",
    "run_tools",
    "run_tools_async",
    "tool_from_function",
]

# A program that sets up no logging gets nothing on its stderr.
logging.getLogger(__name__).addHandler(logging.NullHandler())
