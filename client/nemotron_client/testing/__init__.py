"""For the tests of programs that use this client: answers from a script in place of a model.

from nemotron_client import Client
from nemotron_client.testing import MockTransport

transport = MockTransport(["It is Paris."])
client = Client(transport=transport)
assert client.chat([{"role": "user", "content": "The capital of France?"}]).content == "It is Paris."
assert transport.requests[0].text == "The capital of France?"

`MockTransport` and `AsyncMockTransport` take the place of the network. `FakeServer` is a server in this process that
speaks gRPC and HTTP, for programs that make their clients themselves. All three play the same scripts.
"""

from nemotron_client.testing._fake_server import FakeServer
from nemotron_client.testing._mock import AsyncMockTransport, MockTransport
from nemotron_client.testing._replies import Fault, RecordedRequest, ScriptedReply, pieces, random_pieces, whole, words
from nemotron_client.testing._script import Scripted, UnscriptedRequestError

__all__ = [
    "AsyncMockTransport",
    "FakeServer",
    "Fault",
    "MockTransport",
    "RecordedRequest",
    "Scripted",
    "ScriptedReply",
    "UnscriptedRequestError",
    "pieces",
    "random_pieces",
    "whole",
    "words",
]
