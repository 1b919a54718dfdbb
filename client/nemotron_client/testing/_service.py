"""What the fake server does with a request, whichever way it came."""

from __future__ import annotations

import collections
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nemotron_client._contract import ENSEMBLE, GENERATING_MODEL
from nemotron_client._request import READY_ID
from nemotron_client.testing._player import Faulted, LeftError, Player, Values
from nemotron_client.testing._replies import Fault, RecordedRequest
from nemotron_client.testing._script import Scripted, UnscriptedRequestError

DESCRIPTION: dict[str, Any] = {"name": "triton", "version": "2.51.0", "extensions": ["parameters", "statistics"]}
"""What a server of this kind says of itself."""

_MAX_ID_CHARACTERS = 256


@dataclass(frozen=True)
class Arrival:
    """A request to one of the models, with inputs of the right types.

    Attributes:
        model: `ensemble` or `tensorrt_llm`.
        request_id: The caller's name for it.
        inputs: Values and lists by input name.
        headers: Names in lower case.
    """

    model: str
    request_id: str
    inputs: Mapping[str, Any]
    headers: Mapping[str, str]


class Service:
    """Answers requests from a script. Thread-safe."""

    def __init__(self, script: Scripted) -> None:
        self.script = script
        self._players: set[Player] = set()
        self._closed = False
        self._lock = threading.Lock()

    def begin(self, arrival: Arrival) -> Running:
        """Take a request.

        Raises:
            Faulted: it is refused.
        """
        if arrival.request_id == READY_ID:
            return Running(iter([{"finish_reason": ""}]))
        if arrival.model == GENERATING_MODEL:
            stopped = self.script._stop(arrival.request_id)
            return Running(iter([{"finish_reason": "cancelled" if stopped else ""}]))
        _check(arrival)
        request = RecordedRequest(arrival.request_id, arrival.inputs, arrival.headers)
        try:
            reply = self.script._take(request)
        except UnscriptedRequestError as error:
            raise Faulted(Fault.invalid(str(error))) from None
        except Exception as error:
            raise Faulted(Fault.internal(f"The script's function has raised {error!r}")) from error
        player = Player(self.script, request, reply)
        with self._lock:
            self._players.add(player)
            if self._closed:
                player.leave()
        return Running(self._play(player), player)

    def close(self) -> None:
        """End all that runs, and what may still come."""
        with self._lock:
            self._closed = True
            for player in self._players:
                player.leave()

    def _play(self, player: Player) -> Iterator[Values]:
        try:
            yield from player
        except LeftError:
            raise Faulted(Fault.close()) from None
        finally:
            with self._lock:
                self._players.discard(player)


@dataclass(frozen=True)
class Running:
    """A request that is being answered.

    Attributes:
        responses: All outputs, each response when it is due. Raises Faulted.
    """

    responses: Iterator[Values]
    _player: Player | None = None

    def leave(self) -> None:
        """The caller has gone."""
        if self._player is not None:
            self._player.leave()


def unknown_model(name: str) -> str:
    """Triton's message."""
    return f"Request for unknown model: '{name}' is not found"


def is_ready(script: Scripted, model: str) -> bool:
    """Whether a model, or for "" the server, takes requests."""
    return script.ready and model in ("", ENSEMBLE, GENERATING_MODEL)


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
