"""What the fake server does with a request, whichever way it came."""

from __future__ import annotations

import collections
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nemotron_client._contract import (
    CONTROL_INPUTS,
    CONTROL_OUTPUTS,
    ENSEMBLE,
    GENERATING_MODEL,
    MODELS,
    PREPROCESSING_MODEL,
    SESSION_MODEL,
    Tensor,
)
from nemotron_client._request import READY_ID
from nemotron_client.testing._player import Faulted, LeftError, Player, Running, Values
from nemotron_client.testing._replies import Fault, RecordedRequest, ScriptedReply
from nemotron_client.testing._script import Scripted, UnscriptedRequestError
from nemotron_client.testing._session import Session

Models = Mapping[str, tuple[Mapping[str, Tensor], Mapping[str, Tensor]]]
"""Inputs and outputs of each model."""

DESCRIPTION: dict[str, Any] = {"name": "triton", "version": "2.51.0", "extensions": ["parameters", "statistics"]}
"""What a server of this kind says of itself."""

_MODELS_WITHOUT_SESSIONS: Models = {
    ENSEMBLE: MODELS[ENSEMBLE],
    GENERATING_MODEL: ({"stop": CONTROL_INPUTS["stop"]}, CONTROL_OUTPUTS),
}
_MAX_ID_CHARACTERS = 256


@dataclass(frozen=True)
class Arrival:
    """A request to one of the models, with inputs of the right types.

    Attributes:
        model: `ensemble`, `session` or `tensorrt_llm`.
        request_id: The caller's name for it.
        inputs: Values and lists by input name.
        headers: Names in lower case.
    """

    model: str
    request_id: str
    inputs: Mapping[str, Any]
    headers: Mapping[str, str]


class Service:
    """Answers requests from a script. Thread-safe.

    Attributes:
        script: The script.
        models: Inputs and outputs of every model.
    """

    def __init__(self, script: Scripted, *, sessions: bool) -> None:
        self.script = script
        self.models: Models = MODELS if sessions else _MODELS_WITHOUT_SESSIONS
        self._players: set[Player] = set()
        self._sessions: dict[str, Session] = {}
        self._draining = self._closed = False
        self._lock = threading.Lock()

    def begin(self, arrival: Arrival) -> Running:
        """Take a request.

        Raises:
            Faulted: it is refused.
        """
        if arrival.model == GENERATING_MODEL:
            return self._control(arrival)
        if arrival.model == PREPROCESSING_MODEL:
            return Running(iter([self._tokenized(arrival)]))
        _check(arrival)
        self._check_open()
        session = self._session_of(arrival)
        if session is not None:
            session.check(arrival.request_id)
        inputs = {name: value for name, value in arrival.inputs.items() if name != "session"}
        key = "" if session is None else session.key
        request = RecordedRequest(arrival.request_id, inputs, arrival.headers, session=key)
        reply = self._reply_to(request)
        player = Player(self.script, request, reply)
        with self._lock:
            self._players.add(player)
            if self._closed:
                player.leave()
        running = Running(self._play(player), player.leave)
        if session is None:
            return running
        if reply.refuses:
            next(running.responses)  # raises that
        session.begin(arrival.request_id, running)
        return Running(iter([{"num_input_tokens": player.num_input_tokens}]))

    def is_ready(self, model: str) -> bool:
        """Whether a model, or for "" the server, takes requests."""
        return self.script.ready and (not model or model in self.models)

    def drain(self) -> None:
        """Take no new requests, and let those that run come to their end."""
        with self._lock:
            self._draining = True
            sessions = list(self._sessions.values())
        for session in sessions:
            session.drain()

    def resume(self) -> None:
        """Take new requests again; sessions that were told of the drain end all the same."""
        self._draining = False

    def close(self) -> None:
        """End all that runs, and what may still come."""
        with self._lock:
            self._closed = True
            for session in self._sessions.values():
                session.fail(Fault.close())
            for player in self._players:
                player.leave()

    def _tokenized(self, arrival: Arrival) -> Values:
        """What is asked of preprocessing itself: the tokens of a prompt, or the text of tokens."""
        try:
            if "input_ids" not in arrival.inputs:
                _check(arrival)
            return self.script._tokenized(arrival.inputs)
        except LookupError:
            raise Faulted(Fault.no_token(arrival.inputs["input_ids"])) from None

    def _control(self, arrival: Arrival) -> Running:
        """What is asked of the generating model itself."""
        inputs, request_id = arrival.inputs, arrival.request_id
        asked = [
            name
            for name in ("open_session", "stop", "end_thinking", "acknowledged")
            if inputs.get(name, False) is not False
        ]
        if len(asked) > 1:
            raise Faulted(Fault.invalid(f"{asked[1]}: given together with {asked[0]}; send a request for each"))
        session = self._session_of(arrival)
        if "open_session" in asked:
            self._check_open()
            return self._open_session()
        if session is not None and "acknowledged" in asked:
            session.acknowledge(inputs["acknowledged"])
            return Running(iter(()))
        if not asked:
            raise Faulted(Fault.invalid("input_ids: empty, expected the token ids of a prompt"))
        if not request_id:
            message = "id: missing, expected that of the request to stop, which needs one as well"
            raise Faulted(Fault.invalid(message))
        key = "" if session is None else session.key
        if "end_thinking" in asked:
            return Running(iter([{"thinking_ends": self.script._end_thinking(request_id, key)}]))
        if request_id == READY_ID:
            self._check_open()
            return Running(iter([{"finish_reason": ""}]))
        stopped = self.script._stop(request_id, key)
        if not stopped:
            self._check_open()
        return Running(iter([{"finish_reason": "cancelled" if stopped else ""}]))

    def _open_session(self) -> Running:
        session = Session()
        with self._lock:
            self._sessions[session.key] = session
            if self._closed:
                session.fail(Fault.close())
        return Running(self._frames(session), session.leave, opens_session=True)

    def _session_of(self, arrival: Arrival) -> Session | None:
        """The session that a request names; None for one that needs none."""
        if arrival.model != SESSION_MODEL and arrival.inputs.keys().isdisjoint(("session", "acknowledged")):
            return None
        key = arrival.inputs.get("session")
        if not key:
            message = "session: missing, expected the key that the first frame of a session has"
            raise Faulted(Fault.invalid(message))
        session = self._sessions.get(key)
        if session is None:
            message = "This session has ended, or is another server's; open a new one."
            raise Faulted(Fault("error", message, "UNAVAILABLE"))
        return session

    def _check_open(self) -> None:
        if self._draining:
            raise Faulted(Fault.shutting_down())

    def _reply_to(self, request: RecordedRequest) -> ScriptedReply:
        try:
            return self.script._take(request)
        except UnscriptedRequestError as error:
            raise Faulted(Fault.invalid(str(error))) from None
        except Exception as error:
            raise Faulted(Fault.internal(f"The script's function has raised {error!r}")) from error

    def _frames(self, session: Session) -> Iterator[Values]:
        try:
            yield from session.frames()
        finally:
            with self._lock:
                del self._sessions[session.key]

    def _play(self, player: Player) -> Iterator[Values]:
        try:
            yield from player
        except LeftError:
            raise Faulted(Fault.close()) from None
        finally:
            with self._lock:
                self._players.discard(player)


def unknown_model(name: str) -> str:
    """Triton's message."""
    return f"Request for unknown model: '{name}' is not found"


def metrics_page(script: Scripted) -> str:
    """The counters and the gauge that are watched most, in Prometheus' format."""
    outcomes = collections.Counter(request.outcome for request in script.requests)
    values = {
        'nv_inference_request_success{model="ensemble",version="1"}': outcomes["answered"] + outcomes["cancelled"],
        'nv_inference_request_failure{model="ensemble",reason="OTHER",version="1"}': outcomes["failed"],
        'nemotron_requests_in_flight{model="tensorrt_llm"}': script._in_flight(),
    }
    return "".join(f"{name} {value}\n" for name, value in values.items())


def _check(arrival: Arrival) -> None:
    """What the models refuse before they look at the conversation; they look at more than this."""
    inputs = arrival.inputs
    if len(arrival.request_id) > _MAX_ID_CHARACTERS:
        given = f"{len(arrival.request_id)} characters were given"
        raise Faulted(Fault.invalid(f"id: {given}, expected at most {_MAX_ID_CHARACTERS}"))
    if ("text_input" in inputs) == ("messages" in inputs):
        given = "both were given" if "messages" in inputs else "neither was given"
        raise Faulted(Fault.invalid(f"text_input: {given}; send either text_input or messages"))
    for name in ("messages", "tools", "response_format", "logit_bias"):
        if name in inputs:
            _check_json(name, inputs[name])
    if inputs.get("messages") and not json.loads(inputs["messages"]):
        raise Faulted(Fault.invalid("messages: the list is empty, expected at least one message"))


def _check_json(name: str, text: str) -> None:
    expected = list if name in ("messages", "tools") else dict
    try:
        fits = isinstance(json.loads(text), expected)
    except ValueError:
        fits = False
    if not fits:
        raise Faulted(Fault.invalid(f"{name}: expected a JSON {'list' if expected is list else 'object'}"))
