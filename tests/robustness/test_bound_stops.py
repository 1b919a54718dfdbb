"""Stops that end only the sender's requests (`nemotron-serve --stops bound`), by every way into a real Triton."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc.aio as aioclient

from nemotron_client import Client, UserMessage
from tests.integration.conftest import Server, serving
from tests.integration.front.raw import CHAT, RawCaller, question
from tests.integration.triton_calls import tensors, values_of
from tests.robustness.conftest import PACKAGE
from tests.waiting import wait_until

HEADER = "nemotron-caller"
LONG = {"text_input": "[sim:random]", "max_tokens": 4000}  # for 4 s and more


def secret() -> str:
    return uuid.uuid4().hex


@pytest.fixture(scope="module")
def bound(tmp_path_factory: pytest.TempPathFactory, simulated_package: Callable[..., Path]) -> Iterator[Server]:
    with serving(simulated_package(*PACKAGE), tmp_path_factory.mktemp("bound"), "--stops", "bound") as server:
        yield server


class Way:
    """One way in: how a caller's request and its stop are sent, each on a connection of its own."""

    def __init__(self, name: str, server: Server) -> None:
        self.name = name
        self._server = server

    def ask(self, request_id: str, caller: str) -> str:
        """Send a long request and wait for its end; returns the finish reason."""
        return self._send("unary" if "infer" in self.name else "ensemble", request_id, caller, LONG)

    def stop(self, request_id: str, caller: str) -> str:
        """Send its stop; returns the finish reason, or what it was refused with."""
        return self._send("tensorrt_llm", request_id, caller, {"stop": True})

    def _send(self, model: str, request_id: str, caller: str, inputs: dict[str, Any]) -> str:
        if self.name.startswith("grpc"):
            return asyncio.run(self._over_grpc(model, request_id, caller, inputs))
        if "infer" in self.name and model == "unary":
            return self._infer(request_id, caller, inputs)
        named = {HEADER: caller} if caller else {}
        status, body = self._server.post(f"/v2/models/{model}/generate", {**inputs, **named, "id": request_id})
        answer = json.loads(body)
        return str(answer["finish_reason"] if status == 200 else answer["error"])

    def _infer(self, request_id: str, caller: str, inputs: dict[str, Any]) -> str:
        kinds = {str: "BYTES", int: "INT32"}
        values = [
            {"name": name, "shape": [1, 1], "datatype": kinds[type(value)], "data": [value]}
            for name, value in inputs.items()
        ]
        outputs = [{"name": "finish_reason"}]
        request = urllib.request.Request(
            f"{self._server.http_url}/v2/models/unary/infer",
            json.dumps({"id": request_id, "inputs": values, "outputs": outputs}).encode(),
            {"Nemotron-Caller": caller} if caller else {},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            return str(json.loads(response.read())["outputs"][0]["data"][0])

    async def _over_grpc(self, model: str, request_id: str, caller: str, inputs: dict[str, Any]) -> str:
        headers = {HEADER: caller} if caller else None
        async with aioclient.InferenceServerClient(self._server.grpc_address) as client:
            if model == "unary":
                result = await client.infer(model, tensors(**inputs), request_id=request_id, headers=headers)
                return str(values_of(result)["finish_reason"])

            async def requests() -> AsyncIterator[dict[str, Any]]:
                yield {"model_name": model, "inputs": tensors(**inputs), "request_id": request_id}

            reason = ""
            async for result, error in client.stream_infer(requests(), headers=headers):
                if error is not None:
                    return str(error)
                reason = values_of(result)["finish_reason"]
            return reason


@pytest.fixture(params=["grpc stream", "grpc infer", "http generate", "http infer"])
def way(request: pytest.FixtureRequest, bound: Server) -> Way:
    return Way(request.param, bound)


class Asked(threading.Thread):
    """A request that runs beside the test."""

    def __init__(self, way: Way, request_id: str, caller: str) -> None:
        super().__init__(daemon=True)
        self._way, self._name = way, (request_id, caller)
        self.reason = ""
        self.start()

    def run(self) -> None:
        self.reason = self._way.ask(*self._name)


def test_a_stop_ends_its_own_callers_request_and_no_other(bound: Server, way: Way) -> None:
    mine, others, request_id = secret(), secret(), "1"
    asked = [Asked(way, request_id, caller) for caller in (mine, others, "")]
    wait_until(lambda: bound.metric("nemotron_requests_running") == 3)
    assert way.stop(request_id, secret()) == ""
    refused = way.stop(request_id, "")
    assert "nemotron-caller: missing" in refused and "INVALID_ARGUMENT" in refused
    assert way.stop(request_id, mine) == "cancelled"
    asked[0].join(10)
    assert asked[0].reason == "cancelled"
    wait_until(lambda: bound.metric("nemotron_requests_in_flight") == 2)
    assert way.stop(request_id, others) == "cancelled"
    for one in asked:
        one.join(30)
    assert [one.reason for one in asked] == ["cancelled", "cancelled", "length"]


def test_a_parameter_beside_the_header_is_refused(bound: Server) -> None:
    """Or a caller could be another one than the gateway in front of it says."""

    async def ask() -> str:
        async with aioclient.InferenceServerClient(bound.grpc_address) as client:

            async def requests() -> AsyncIterator[dict[str, Any]]:
                inputs = tensors(text_input="Hi", max_tokens=1)
                yield {"model_name": "ensemble", "inputs": inputs, "parameters": {HEADER: secret()}}

            async for _, error in client.stream_infer(requests(), headers={HEADER: secret()}):
                return str(error)
        return ""

    assert "nemotron-caller: given twice" in asyncio.run(ask())


def test_our_client_names_itself(bound: Server) -> None:
    with Client(bound.grpc_url) as client, Client(bound.grpc_url) as other:
        with client.stream_chat([UserMessage("[sim:random]")], max_tokens=4000, request_id="2") as stream:
            next(iter(stream))
            other.cancel("2")
            time.sleep(0.5)
            assert bound.metric("nemotron_requests_in_flight") == 1
        wait_until(lambda: bound.metric("nemotron_requests_in_flight") == 0)


def test_a_caller_of_unary_that_leaves_is_noticed_without_a_name(bound: Server) -> None:
    async def leave() -> None:
        async with aioclient.InferenceServerClient(bound.grpc_address) as client:
            task = asyncio.create_task(client.infer("unary", tensors(**LONG)))
            while bound.metric("nemotron_requests_running") == 0:
                await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(leave())
    wait_until(lambda: bound.metric("nemotron_requests_in_flight") == 0)


def test_every_worker_of_a_front_may_end_what_another_has_asked_for(
    tmp_path: Path, simulated_package: Callable[..., Path]
) -> None:
    options = ["--stops", "bound", "--openai-port", "0", "--openai-options=--workers 2"]
    thinking = question("[sim:think]", stream=True, chat_template_kwargs={"thinking": True})
    with serving(simulated_package("--token-ms", "200"), tmp_path, *options) as server, ExitStack() as stack:
        url = server.info["openai_url"].removesuffix("/v1")
        for _ in range(8):
            asked = stack.enter_context(RawCaller(url, thinking))
            asked.read_until(b"\n\n")
            id_ = json.loads(asked.data[0])["id"]
            with RawCaller(url, {"id": id_, "action": "reasoning_end"}, f"{CHAT}/control") as caller:
                assert json.loads(caller.read_all().partition(b"\r\n\r\n")[2])["success"]
