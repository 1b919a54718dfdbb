"""Users who wait for the whole answer: Triton's `/generate`, which has no stream. They cannot see a first token."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

import httpx2

from nemotron_client import (
    Client,
    InvalidRequestError,
    NemotronError,
    OverloadedError,
    Reply,
    RequestTimeoutError,
    ServerError,
    ServerUnavailableError,
    Timings,
    ToolCall,
    Usage,
)
from nemotron_loadtest.run.clock import RunClock
from nemotron_loadtest.samples import Arrival
from nemotron_loadtest.users.asker import Answer, Asker, OnSample, Running
from nemotron_loadtest.workload import RequestSpec

_PATH = "/v2/models/ensemble/generate"
_TIMEOUT_S = 600.0
_OK = 200
# The ensemble's models end their messages with the status.
_BY_STATUS: dict[str, type[NemotronError]] = {
    "(INVALID_ARGUMENT)": InvalidRequestError,
    "(UNAVAILABLE)": OverloadedError,
}


class GenerateAsker(Asker):
    """All requests of a process share a pool of connections. The client is for cancels."""

    def __init__(self, client: Client, url: str, clock: RunClock, on_sample: OnSample, worker: str = "0") -> None:
        super().__init__("http_generate", clock, on_sample, worker)
        self._client = client
        self._url = url.rstrip("/")
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
        self._http = httpx2.Client(timeout=httpx2.Timeout(_TIMEOUT_S, pool=None), limits=limits, trust_env=False)

    def close(self) -> None:
        """See `Asker.close`."""
        self._http.close()
        self._client.close()

    def _send(self, spec: RequestSpec, running: Running, answer: Answer) -> None:
        cancelling = threading.Thread(target=self._client.cancel, args=[running.request_id], daemon=True)
        running.abort = cancelling.start
        if running.left is not None:  # before there was something to abort
            return
        begin = self._clock.now()
        values = self._post({"id": running.request_id, **_inputs(spec)})
        now = self._clock.now()
        answer.reply = reply = _reply(values, now - begin, running.request_id)
        answer.usage = reply.usage
        if reply.usage.output_tokens:
            answer.arrivals = (Arrival(now, reply.usage.output_tokens),)
        if reply.content or reply.tool_calls:
            answer.first_answer_s = now

    def _post(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        where = {"request_id": str(inputs["id"]), "url": self._url}
        try:
            response = self._http.post(self._url + _PATH, json=inputs)
        except httpx2.TimeoutException:
            raise RequestTimeoutError("No answer in time", phase="total", **where) from None
        except httpx2.TransportError as error:
            raise ServerUnavailableError(f"The server cannot be reached ({error})", **where) from None
        if response.status_code != _OK:
            kind = next((kind for word, kind in _BY_STATUS.items() if word in response.text), ServerError)
            raise kind(f"{self._url} answered HTTP status {response.status_code}", **where)
        values: dict[str, Any] = response.json()
        return values


def _inputs(spec: RequestSpec) -> dict[str, Any]:
    """The ensemble's inputs. What JSON has no array of numbers or texts for goes as JSON in a text."""
    if spec.prompt is not None:
        inputs: dict[str, Any] = {"text_input": spec.prompt, "raw_prompt": True}
    else:
        inputs = {"messages": json.dumps(spec.messages, ensure_ascii=False), "thinking": spec.thinking}
    for name, value in spec.options.items():
        structured = isinstance(value, Mapping) or name == "tools"
        inputs[name] = json.dumps(value, ensure_ascii=False) if structured else value
    return inputs


def _reply(values: Mapping[str, Any], total_s: float, request_id: str) -> Reply:
    cached = values["num_cached_tokens"]
    calls = json.loads(values["tool_calls"] or "[]")
    return Reply(
        content=values["content"],
        reasoning_content=values["reasoning_content"],
        tool_calls=tuple(ToolCall(call["id"], **call["function"]) for call in calls),
        finish_reason=values["finish_reason"],
        thinking_budget_reached=values["thinking_budget_reached"],
        usage=Usage(
            values["num_input_tokens"],
            values["num_output_tokens"],
            values["num_reasoning_tokens"],
            cached if cached >= 0 else None,
        ),
        timings=Timings(total_s),
        request_id=request_id,
    )
