"""What NVIDIA's own clients and connectors send and read, with nothing changed for this server.

They are end_to_end_grpc_client.py and inflight_batcher_llm_client.py of tensorrtllm_backend v0.19 and TensorRT-LLM 1.2,
and llama-index-llms-nvidia-triton 0.6. docs/clients.md says which of them were run themselves.
"""

from __future__ import annotations

import json
import queue
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from nemotron_serving.contract import ENSEMBLE_OUTPUTS, OCCASIONAL_OUTPUTS
from tests.integration.conftest import Server
from tests.integration.triton_calls import tensor, tensors

STOCK: dict[str, Any] = json.loads((Path(__file__).parents[1] / "contract" / "stock_ensemble.json").read_text())
QUESTION = "What is the capital of France?"
PROMPT_IDS = [50, 51, 52]
FIRST = {output.name for output in ENSEMBLE_OUTPUTS if output.sent == "first"}


def ask(server: Server, model: str, inputs: list[Any], outputs: tuple[str, ...] = (), **more: Any) -> list[Any]:
    """All responses to one request on a stream, as NVIDIA's clients send it; an error is raised."""
    replies: queue.Queue[Any] = queue.Queue()
    wanted = [grpcclient.InferRequestedOutput(name) for name in outputs] or None
    responses = []
    with grpcclient.InferenceServerClient(server.grpc_address) as client:
        client.start_stream(lambda result, error: replies.put((result, error)))
        client.async_stream_infer(model, inputs, outputs=wanted, enable_empty_final_response=True, **more)
        final = False
        while not final:
            result, error = replies.get(timeout=60)
            if error is not None:
                raise error
            responses.append(result)
            final = result.get_response().parameters["triton_final_response"].bool_param
    return responses


def text_of(responses: list[Any]) -> str:
    """The answer as these clients read it: the element of the tensor is the bytes."""
    arrays = [response.as_numpy("text_output") for response in responses]
    return "".join(array[0].decode() for array in arrays if array is not None)


def ensemble_inputs(**more: Any) -> list[Any]:
    return tensors(text_input=QUESTION, max_tokens=12, **more)


def token_inputs(**more: Any) -> list[Any]:
    ids = grpcclient.InferInput("input_ids", [1, len(PROMPT_IDS)], "INT32")
    ids.set_data_from_numpy(np.array([PROMPT_IDS], np.int32))
    return [ids, *tensors(input_lengths=len(PROMPT_IDS), request_output_len=6, **more)]


@pytest.mark.parametrize("stream", [True, False])
def test_the_text_is_the_first_element(simulated_server: Server, stream: bool) -> None:
    plain = simulated_server.generate(text_input=QUESTION, max_tokens=12)["text_output"]
    responses = ask(simulated_server, "ensemble", ensemble_inputs(stream=stream), ("text_output",))
    assert text_of(responses) == plain != ""


def test_the_prompt_is_in_front_of_the_answer_unless_it_is_streamed(simulated_server: Server) -> None:
    """With `exclude_input_in_output` false, which end_to_end_grpc_client.py sends if it is told nothing."""
    plain = text_of(ask(simulated_server, "ensemble", ensemble_inputs()))
    echo = {"exclude_input_in_output": False}
    assert text_of(ask(simulated_server, "ensemble", ensemble_inputs(**echo))) == QUESTION + plain
    assert text_of(ask(simulated_server, "ensemble", ensemble_inputs(stream=True, **echo))) == plain
    answer = simulated_server.generate(text_input=QUESTION, max_tokens=12, exclude_input_in_output=False)
    assert (answer["text_output"], answer["content"]) == (QUESTION + plain, plain)


def test_the_prompts_ids_are_in_front_of_the_outputs_unless_they_are_streamed(simulated_server: Server) -> None:
    def ids(**more: Any) -> list[int]:
        replies = ask(simulated_server, "tensorrt_llm", token_inputs(**more))
        arrays = [reply.as_numpy("output_ids") for reply in replies]
        return [int(one) for array in arrays if array is not None for one in array[0][0]]

    plain = ids()
    assert len(plain) == 6
    assert ids(exclude_input_in_output=True) == plain
    assert ids(exclude_input_in_output=False) == PROMPT_IDS + plain
    assert ids(exclude_input_in_output=False, streaming=True) == plain
    [response] = ask(simulated_server, "tensorrt_llm", token_inputs(exclude_input_in_output=False))
    assert response.as_numpy("sequence_length").tolist() == [[len(PROMPT_IDS) + 6]]


def test_names_before_1_0_and_what_connectors_send_with_them(simulated_server: Server) -> None:
    """llama-index's connector: top_p 0, a seed and penalties that ask nothing."""
    old = [
        tensor("random_seed", 0, "UINT64"),
        *tensors(top_k=1, top_p=0.0, temperature=1.0, length_penalty=1.0, repetition_penalty=1.0, beam_width=1),
        tensor("min_length", 1),
    ]
    assert text_of(ask(simulated_server, "ensemble", [*ensemble_inputs(stream=True), *old], ("text_output",)))
    both = [*ensemble_inputs(), tensor("random_seed", 0, "UINT64"), tensor("seed", 0, "UINT64")]
    with pytest.raises(InferenceServerException, match="random_seed: seed was given as well"):
        ask(simulated_server, "ensemble", both)


def stop_inputs() -> list[Any]:
    return [*tensors(input_ids=0, input_lengths=0, request_output_len=0), tensor("stop", True)]


def test_a_stop_with_nvidias_parameter_ends_the_request(simulated_server: Server) -> None:
    """Both on one stream, as inflight_batcher_llm_client.py does with --stop-after-ms."""
    replies: queue.Queue[Any] = queue.Queue()
    with grpcclient.InferenceServerClient(simulated_server.grpc_address) as client:
        client.start_stream(lambda result, error: replies.put((result, error)))
        inputs = [*tensors(streaming=True), *token_inputs()[:1], *tensors(request_output_len=10_000)]
        client.async_stream_infer("tensorrt_llm", inputs, request_id="stopped-1")
        first, error = replies.get(timeout=60)
        assert error is None and first.as_numpy("output_ids") is not None
        client.async_stream_infer("tensorrt_llm", stop_inputs(), request_id="stopped-1", parameters={"Streaming": True})
        client.stop_stream()
    answers = [first, *(result for result, _ in list(replies.queue) if result is not None)]
    output_ids = [answer.as_numpy("output_ids") for answer in answers]
    assert sum(array.shape[2] for array in output_ids if array is not None) < 10_000


def test_a_stop_of_nothing_is_answered(simulated_server: Server) -> None:
    """Without token ids, which is how inflight_batcher_llm_client.py knows the answer to its stop."""
    [reply] = ask(simulated_server, "tensorrt_llm", stop_inputs(), request_id="1", parameters={"Streaming": True})
    assert reply.as_numpy("output_ids") is None


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["ensemble", "tensorrt_llm"])
def test_nvidias_parameter_may_say_what_the_input_says(simulated_server: Server, model: str, stream: bool) -> None:
    """An ensemble hands it to every step, also to those that have no such input."""
    inputs = token_inputs(streaming=stream) if model == "tensorrt_llm" else ensemble_inputs(stream=stream)
    replies = ask(simulated_server, model, inputs, parameters={"Streaming": stream})
    assert replies[-1].as_numpy("finish_reason").item() in (b"stop", b"length")


ALWAYS_HERE = {"num_input_tokens", "num_output_tokens"}  # from NVIDIA's models only on request


def test_a_stop_without_an_id_is_refused_as_nvidias_model_does(simulated_server: Server) -> None:
    with pytest.raises(InferenceServerException, match="id: missing"):
        ask(simulated_server, "tensorrt_llm", stop_inputs())


@pytest.mark.parametrize("return_log_probs", [False, True])
@pytest.mark.parametrize("model", ["ensemble", "tensorrt_llm", "unary"])
def test_every_stock_output_is_there_when_it_is_the_stocks_and_in_its_shape(
    simulated_server: Server, model: str, return_log_probs: bool
) -> None:
    inputs = (token_inputs if model == "tensorrt_llm" else ensemble_inputs)(return_log_probs=return_log_probs)
    if model == "unary":
        with grpcclient.InferenceServerClient(simulated_server.grpc_address) as client:
            response = client.infer(model, inputs)
    else:
        [response] = ask(simulated_server, model, inputs)
    recorded = STOCK["tensorrt_llm" if model == "tensorrt_llm" else "ensemble"]["outputs"]
    for output in recorded:
        array = response.as_numpy(output["name"])
        asked = output["when"] == "always" or (output["when"] == "return_log_probs" and return_log_probs)
        assert (array is not None) is (asked or output["name"] in ALWAYS_HERE), output["name"]
        if array is not None:
            assert len(array.shape) == len(output["shape"]), output["name"]
            pairs = zip(array.shape, output["shape"], strict=True)
            assert all(expected in (-1, size) for size, expected in pairs), output["name"]


def test_a_response_holds_only_what_was_asked_for(simulated_server: Server) -> None:
    names = {output.name for output in ENSEMBLE_OUTPUTS} - OCCASIONAL_OUTPUTS | FIRST
    [plain] = ask(simulated_server, "ensemble", ensemble_inputs())
    assert {output.name for output in plain.get_response().outputs} == names
    [more] = ask(simulated_server, "ensemble", ensemble_inputs(return_log_probs=True))
    assert {output.name for output in more.get_response().outputs} == names | {"cum_log_probs", "output_log_probs"}


def names_in(responses: list[Any]) -> list[set[str]]:
    """The names of the outputs of each response that has some."""
    found = [{output.name for output in response.get_response().outputs} for response in responses]
    return [names for names in found if names]


def test_an_output_that_a_request_names_is_in_every_response_and_no_other_is(simulated_server: Server) -> None:
    for output in ENSEMBLE_OUTPUTS:
        if output.name not in OCCASIONAL_OUTPUTS:
            inputs = ensemble_inputs(stream=True, temperature=0.0)
            responses = ask(simulated_server, "ensemble", inputs, (output.name,))
            assert names_in(responses) == [{output.name}] * len(names_in(responses)) != [], output.name
    both = ("cum_log_probs", "content")
    asked = names_in(ask(simulated_server, "ensemble", ensemble_inputs(stream=True, return_log_probs=True), both))
    assert asked == [set(both)] * len(asked) != []


def test_an_output_without_anything_to_say_may_be_named(simulated_server: Server) -> None:
    """NVIDIA's clients name some of these; what they read beside them comes all the same."""
    silent = tuple(sorted(OCCASIONAL_OUTPUTS - FIRST))
    responses = ask(simulated_server, "ensemble", ensemble_inputs(stream=True), ("text_output", *silent))
    assert names_in(responses) == [{"text_output"}] * len(names_in(responses)) != []
    assert names_in(ask(simulated_server, "ensemble", ensemble_inputs(stream=True), silent)) == []


def test_the_first_response_of_a_stream_alone_says_the_package(simulated_server: Server) -> None:
    responses = ask(simulated_server, "ensemble", ensemble_inputs(stream=True), ("finish_reason", "package"))
    first, *later = names_in(responses)
    assert first == {"finish_reason", "package"}
    assert later == [{"finish_reason"}] * len(later) != []


def test_http_has_the_same_outputs_in_every_response(simulated_server: Server) -> None:
    """/generate and /generate_stream name none, /infer may."""
    names = {output.name for output in ENSEMBLE_OUTPUTS} - OCCASIONAL_OUTPUTS
    request = {"text_input": QUESTION, "max_tokens": 12}
    about = {"model_name", "model_version", "sequence_id", "sequence_start", "sequence_end"}
    for wanted, more in ((names, {}), (names | {"cum_log_probs", "output_log_probs"}, {"return_log_probs": True})):
        assert simulated_server.generate(**request, **more).keys() == wanted | FIRST | about
        body = {**request, **more, "stream": True}
        status, text = simulated_server.post("/v2/models/ensemble/generate_stream", body)
        assert status == 200
        events = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line]
        assert events[0].keys() == wanted | FIRST | about
        assert [event.keys() for event in events[1:]] == [wanted | about] * (len(events) - 1) != []
    data = {"name": "text_input", "datatype": "BYTES", "shape": [1, 1], "data": [QUESTION]}
    outputs = [{"name": name} for name in ("finish_reason", "batch_index")]
    status, text = simulated_server.post("/v2/models/unary/infer", {"inputs": [data], "outputs": outputs})
    assert status == 200
    assert [output["name"] for output in json.loads(text)["outputs"]] == ["finish_reason"]


def test_log_probabilities_are_in_every_response_of_who_asked(simulated_server: Server) -> None:
    """The last one may have no token, and inflight_batcher_llm_client.py takes element 0 of both all the same."""
    stopped = [*token_inputs(streaming=True, return_log_probs=True, timeout_ms=1)]
    responses = ask(simulated_server, "tensorrt_llm", stopped)
    assert responses[-1].as_numpy("finish_reason").item() == b"timeout"
    for response in responses:
        tokens = response.as_numpy("output_ids").shape[2]
        assert response.as_numpy("output_log_probs").shape == (1, 1, tokens)
        assert response.as_numpy("cum_log_probs").shape == (1, 1)


STALL = {"text_input": "[stall]", "max_tokens": 1000}


def test_tritons_own_timeout_is_the_deadline(simulated_server: Server) -> None:
    """In microseconds; over gRPC Triton takes it out of the parameters, over /generate it does not."""
    [response] = ask(simulated_server, "ensemble", tensors(**STALL), timeout=200_000)
    assert response.as_numpy("finish_reason").item() == b"timeout"
    [response] = ask(simulated_server, "ensemble", tensors(**STALL, timeout_ms=200), timeout=60_000_000)
    assert response.as_numpy("finish_reason").item() == b"timeout"
    tokens = [*token_inputs()[:1], *tensors(request_output_len=10_000)]
    [response] = ask(simulated_server, "tensorrt_llm", tokens, timeout=200_000)
    assert response.as_numpy("finish_reason").item() == b"timeout"
    with grpcclient.InferenceServerClient(simulated_server.grpc_address) as client:
        answer = client.infer("unary", tensors(**STALL), timeout=200_000)
    assert answer.as_numpy("finish_reason").item() == b"timeout"
    assert simulated_server.generate(**STALL, timeout=200_000)["finish_reason"] == "timeout"


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"sequence_id": 7, "sequence_start": True}, "sequence_id"),
        ({"sequence_id": "mine", "sequence_end": True}, "sequence_id"),
        ({"parameters": {"Streaming": True}}, "Streaming"),
        ({"parameters": {"max_token": 5}}, "did you mean max_tokens"),
    ],
)
def test_a_parameter_without_meaning_here_is_refused_by_name(
    simulated_server: Server, more: dict[str, Any], named: str
) -> None:
    with pytest.raises(InferenceServerException, match=named):
        ask(simulated_server, "ensemble", ensemble_inputs(), **more)


def test_a_sequence_is_refused_over_http_too(simulated_server: Server) -> None:
    status, body = simulated_server.post("/v2/models/ensemble/generate", {"text_input": "Hi", "sequence_id": 4})
    assert status == 400
    assert "sequence_id: requests are independent of each other" in body
