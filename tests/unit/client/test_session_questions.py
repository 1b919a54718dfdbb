"""What the client asks about a request that rides on a session."""

from __future__ import annotations

from typing import Any

from tritonclient.grpc import service_pb2

from nemotron_client import NemotronError
from nemotron_client._contract import ACCEPTED_OUTPUTS
from nemotron_client._transports.base import Call
from tests.unit.client.test_session_pool import Pretend, Request, World

QUESTION = Call("tensorrt_llm", "0", {"end_thinking": True}, ("thinking_ended",))


def error(session: Pretend) -> None:
    """A question that the server does not know, as one that is older answers it."""
    response = service_pb2.ModelStreamInferResponse(error_message="unexpected inference input 'end_thinking'")
    response.infer_response.id = "0"
    session.take(response.SerializeToString())


def accepted(session: Pretend) -> None:
    response = service_pb2.ModelStreamInferResponse()
    response.infer_response.id = "0"
    response.infer_response.outputs.add().name = min(ACCEPTED_OUTPUTS)
    session.take(response.SerializeToString())


def riding() -> tuple[Pretend, Request]:
    world, request = World(), Request(0)
    world.pool.add(request)
    (session,) = world.made
    session.stands()
    session.message_for(request)
    return session, request


def test_a_server_that_does_not_know_the_question_goes_on_with_the_answer() -> None:
    session, request = riding()
    accepted(session)
    told: list[dict[str, Any]] = []
    request.ask(QUESTION, told.append)
    error(session)
    assert told == [{}]
    assert not request.over
    assert request.heard == []
    error(session)  # nothing was asked
    assert request.over


def test_a_request_that_is_refused_is_over_whatever_was_asked() -> None:
    session, request = riding()
    told: list[dict[str, Any]] = []
    request.ask(QUESTION, told.append)
    error(session)
    assert told == [{}]
    assert isinstance(request.heard[0], NemotronError)
