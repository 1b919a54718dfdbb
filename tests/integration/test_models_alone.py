"""The models behind the ensemble, called by themselves: for callers with a pipeline of their own, and by attackers."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
import tritonclient.grpc.aio as aioclient

from tests.integration.conftest import Server
from tests.integration.test_failures import RANDOM, nothing_left, run_with
from tests.integration.triton_calls import Answer, ask, stream, tensor, tensors
from tests.waiting import wait_until


def text_of(client: grpcclient.InferenceServerClient, response: dict[str, Any]) -> str:
    """What postprocessing makes of a response of the generating model."""
    ids = grpcclient.InferInput("output_ids", list(response["output_ids"].shape), "INT32")
    ids.set_data_from_numpy(response["output_ids"])
    result = client.infer("postprocessing", [ids, tensor("stream_event", response["stream_event"].item())])
    return str(result.as_numpy("text_output").item().decode())


async def own_pipeline(address: str, **inputs: Any) -> list[dict[str, Any]]:
    """What the generating model answers to a caller that has called preprocessing itself."""
    async with aioclient.InferenceServerClient(address) as client:
        result = await client.infer("preprocessing", tensors(**inputs))
        ids = grpcclient.InferInput("input_ids", list(result.as_numpy("input_ids").shape), "INT32")
        ids.set_data_from_numpy(result.as_numpy("input_ids"))

        async def requests() -> Any:
            settings = tensor("request_settings", result.as_numpy("request_settings").item())
            yield {"model_name": "tensorrt_llm", "inputs": [ids, settings]}

        responses = []
        async for response, error in client.stream_infer(requests()):
            assert error is None, error
            names = [output.name for output in response.get_response().outputs]
            responses.append({name: response.as_numpy(name) for name in names})
        return responses


def test_the_models_can_be_called_one_after_the_other(simulated_server: Server) -> None:
    inputs: dict[str, Any] = {"text_input": "Hi", "stream": True, "max_tokens": 6}
    responses = asyncio.run(own_pipeline(simulated_server.grpc_address, **inputs))
    with grpcclient.InferenceServerClient(simulated_server.grpc_address) as client:
        text = "".join(text_of(client, response) for response in responses)
    assert text == asyncio.run(ask(simulated_server.grpc_address, **inputs)).text()
    wait_until(lambda: nothing_left(simulated_server))


def test_token_level_callers_get_no_stream_event(simulated_server: Server) -> None:
    inputs: dict[str, Any] = {"input_ids": [20, 21], "request_output_len": 2}

    async def use(client: aioclient.InferenceServerClient) -> list[dict[str, Any]]:
        return [response async for response in stream(client, model="tensorrt_llm", **inputs)]

    assert all("stream_event" not in response for response in run_with(simulated_server.grpc_address, use))


CALLS: dict[str, dict[str, Any]] = {
    "preprocessing": {"text_input": "Hi", "max_tokens": 2},
    "tensorrt_llm": {"input_ids": [20, 21], "request_output_len": 2},
    "ensemble": {"text_input": "Hi", "max_tokens": 2},
    "unary": {"text_input": "Hi", "max_tokens": 2},
}


@pytest.mark.parametrize("model", CALLS)
def test_each_output_can_be_asked_for_alone(roomy_server: Server, model: str) -> None:
    """Triton drops the others without Python's lock: freed there, they would take the model's process with them."""
    before = roomy_server.info["model_pids"]

    async def use(client: aioclient.InferenceServerClient) -> set[str]:
        metadata = await client.get_model_metadata(model)
        names = [output.name for output in metadata.outputs]

        async def requests() -> Any:
            for name in names:
                outputs = [grpcclient.InferRequestedOutput(name)]
                yield {"model_name": model, "inputs": tensors(**CALLS[model]), "outputs": outputs, "request_id": name}

        async for result, error in client.stream_infer(requests()):
            assert error is None, error
            response = result.get_response()
            assert {output.name for output in response.outputs} <= {response.id}
            answered.add(response.id)
        return set(names)

    answered: set[str] = set()
    asked = run_with(roomy_server.grpc_address, use)
    assert answered
    assert answered <= asked
    assert roomy_server.info["model_pids"] == before
    assert roomy_server.info["restarts"] == 0


def test_nobody_else_can_touch_a_stream(simulated_server: Server) -> None:
    """Postprocessing is callable, but takes only what the generating model has written, once and in its turn."""
    address = simulated_server.grpc_address
    inputs: dict[str, Any] = {"text_input": RANDOM, "stream": True, "max_tokens": 4}
    own = asyncio.run(own_pipeline(address, **inputs))
    with grpcclient.InferenceServerClient(address) as client:
        for response in own:  # at once, before any other stream, the watchdog's too, is given the same slot
            text_of(client, response)
    others = [asyncio.run(own_pipeline(address, **inputs)) for _ in range(20)]  # more than there is room for

    async def use(client: aioclient.InferenceServerClient) -> Answer:
        return Answer([one async for one in stream(client, text_input="[sim:think]", stream=True, max_tokens=200)])

    with grpcclient.InferenceServerClient(address) as client, ThreadPoolExecutor() as pool:
        victim = pool.submit(run_with, address, use)
        for responses in others:
            with contextlib.suppress(grpcclient.InferenceServerException):  # whose slot has a later stream
                text_of(client, responses[0])
        forged = b'{"slot":0,"number":4611686018427387904,"begins":{},"expires":1e15}'
        for event in (forged, b"0" * 32 + forged, others[0][1]["stream_event"].item()[:32] + forged, b"\xff" * 40):
            with pytest.raises(grpcclient.InferenceServerException, match=r"stream_event: .*INVALID_ARGUMENT"):
                text_of(client, own[0] | {"stream_event": np.array([[event]], np.object_)})
        for response in own:
            with pytest.raises(grpcclient.InferenceServerException, match=r"stream_event: .*INVALID_ARGUMENT"):
                text_of(client, response)
        with pytest.raises(grpcclient.InferenceServerException, match=r"stream_event: .*INVALID_ARGUMENT"):
            text_of(client, others[-1][1] | {"output_ids": own[0]["output_ids"] + 1})
        assert victim.result().text("content") == "The answer is 4."
    assert simulated_server.generate(text_input="Hi", max_tokens=2)["num_output_tokens"] == 2
    with grpcclient.InferenceServerClient(address) as client:
        for responses in others:  # those that have kept their place end now
            for response in responses[1:]:
                with contextlib.suppress(grpcclient.InferenceServerException):
                    text_of(client, response)
    wait_until(lambda: nothing_left(simulated_server))


def test_settings_are_taken_from_preprocessing_alone(simulated_server: Server) -> None:
    with grpcclient.InferenceServerClient(simulated_server.grpc_address) as client:
        result = client.infer("preprocessing", tensors(text_input="Hi", max_tokens=2))
    written = result.as_numpy("request_settings").item().decode()

    async def use(client: aioclient.InferenceServerClient, settings: str) -> list[dict[str, Any]]:
        inputs: dict[str, Any] = {"input_ids": [20, 21], "request_settings": settings}
        return [response async for response in stream(client, model="tensorrt_llm", **inputs)]

    for settings in (written[written.index("{") :], written.replace('"stream":false', '"stream":true'), "{}", ""):
        with pytest.raises(grpcclient.InferenceServerException, match="request_settings: it can only be passed on"):
            run_with(simulated_server.grpc_address, functools.partial(use, settings=settings))


MODELS: dict[str, dict[str, Any]] = {
    "ensemble": {"text_input": "Hi", "max_tokens": 2},
    "unary": {"text_input": "Hi", "max_tokens": 2},
    "preprocessing": {"text_input": "Hi", "max_tokens": 2},
    "tensorrt_llm": {"input_ids": [20, 21], "request_output_len": 2},
    "tensorrt_llm (stop)": {"stop": True},
    "postprocessing": {"output_ids": [[20]], "stream_event": "{}"},
}
ODD_MEMBERS = [
    (b'"id": "\xed\xa0\x80"', "id: not valid UTF-8 (INVALID_ARGUMENT)"),
    (b'"id": "\xff"', "id: not valid UTF-8 (INVALID_ARGUMENT)"),
    (b'"id": "' + b"1" * 300 + b'"', "id: 300 characters were given, expected at most 256 (INVALID_ARGUMENT)"),
    (b'"\xff": 1', "parameters: not valid JSON in UTF-8 (INVALID_ARGUMENT)"),
    (b'"colour": "\xff"', "parameters: not valid JSON in UTF-8 (INVALID_ARGUMENT)"),
    (b'"a\\nb": 1', r"'a\nb': this model has no such input"),
    (b'"' + b"k" * 5000 + b'": 1', "k…: this model has no such input"),
]


@pytest.mark.parametrize("model", MODELS)
def test_no_odd_request_makes_a_model_raise(simulated_server: Server, model: str) -> None:
    """What a model raises, Triton sends with the paths of the installed files."""
    logged = len(simulated_server.log.read_bytes())
    members = json.dumps(MODELS[model]).encode()[1:-1]
    for odd, expected in ODD_MEMBERS:
        path = f"/v2/models/{model.partition(' ')[0]}/generate"
        status, body = simulated_server.post(path, b"{" + members + b", " + odd + b"}")
        assert status == 400
        error = json.loads(body)["error"]
        assert len(error) < 1000
        if model != "postprocessing":  # which reads neither
            assert expected in error
    lines = simulated_server.log.read_bytes()[logged:].decode().splitlines()
    assert not [line for line in lines if "Traceback" in line]


def test_an_error_shows_of_a_long_value_only_the_beginning(simulated_server: Server) -> None:
    inputs = {"text_input": "Hi", "tools": [{"type": "function", "function": {"name": "f"}}]}
    choice = {"type": "function", "function": {"name": "g" * 50_000}}
    body = {**inputs, "tools": json.dumps(inputs["tools"]), "tool_choice": json.dumps(choice)}
    status, answer = simulated_server.post("/v2/models/ensemble/generate", body)
    assert status == 400
    error = json.loads(answer)["error"]
    assert "tool_choice: 'ggg" in error and error.endswith("ggg… (INVALID_ARGUMENT)") and len(error) < 3000


def test_a_million_values_are_refused_by_their_number(simulated_server: Server) -> None:
    """Which no model may look at one by one: while it does, everybody waits."""
    many = 1_000_000
    address = simulated_server.grpc_address
    words = grpcclient.InferInput("stop_words", [1, many], "BYTES")
    words.set_data_from_numpy(np.full((1, many), b"", np.object_))
    with grpcclient.InferenceServerClient(address) as client:
        for model in ("preprocessing", "unary"):
            with pytest.raises(grpcclient.InferenceServerException, match=rf"stop_words: {many} values were given"):
                client.infer(model, [tensor("text_input", "Hi"), words])
        with pytest.raises(grpcclient.InferenceServerException, match=f"output_ids: {many} were given"):
            text_of(client, {"output_ids": np.zeros((1, 1, many), np.int32), "stream_event": np.array([[b"{}"]])})

    async def use(client: aioclient.InferenceServerClient) -> None:
        ids = grpcclient.InferInput("input_ids", [1, many], "INT32")
        ids.set_data_from_numpy(np.full((1, many), 20, np.int32))

        async def requests() -> Any:
            yield {"model_name": "tensorrt_llm", "inputs": [ids, tensor("request_output_len", 1)]}

        async for _, error in client.stream_infer(requests()):
            assert f"input_ids: {many} were given" in str(error)

    run_with(address, use)
