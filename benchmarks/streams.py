"""Streams through the ensemble with plain tritonclient, as an application would run them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import numpy as np
import tritonclient.grpc as grpcclient
import tritonclient.grpc.aio as aioclient

_OUTPUTS = [grpcclient.InferRequestedOutput(name) for name in ("text_output", "finish_reason", "num_output_tokens")]
Input = str | int | bool | float
_DTYPES = {str: ("BYTES", np.object_), int: ("INT32", np.int32), bool: ("BOOL", np.bool_), float: ("FP32", np.float32)}


def tensor(name: str, value: Input) -> grpcclient.InferInput:
    """An input of shape [1, 1]."""
    wire, dtype = _DTYPES[type(value)]
    result = grpcclient.InferInput(name, [1, 1], wire)
    result.set_data_from_numpy(np.array([[value.encode() if isinstance(value, str) else value]], dtype))
    return result


def run_streams(address: str, prompts: Sequence[str], max_tokens: int, **inputs: Input) -> dict[str, float]:
    """Generate for all prompts at once.

    Args:
        address: HOST:PORT of the server's gRPC front.
        prompts: One for each stream.
        max_tokens: Of each stream.
        inputs: More inputs of the ensemble.

    Returns:
        Tokens and tokens/s of all streams, responses/s, and the time to the first token of the first stream.
    """
    return asyncio.run(_run(address, prompts, {"max_tokens": max_tokens, **inputs}))


async def _run(address: str, prompts: Sequence[str], inputs: Mapping[str, Input]) -> dict[str, float]:
    async with aioclient.InferenceServerClient(address) as client:
        await client.is_server_live()
        begin = time.perf_counter()
        results = await asyncio.gather(
            *(_stream(client, {"text_input": prompt, **inputs}, begin) for prompt in prompts)
        )
        seconds = time.perf_counter() - begin
    tokens, responses = (sum(result[key] for result in results) for key in ("tokens", "responses"))
    return {
        "tokens": tokens,
        "seconds": seconds,
        "tokens_per_s": tokens / seconds,
        "responses_per_s": responses / seconds,
        "ttft_ms": results[0]["ttft_ms"],
    }


async def _stream(
    client: aioclient.InferenceServerClient, inputs: Mapping[str, Input], begin: float
) -> dict[str, float]:
    async def requests() -> AsyncIterator[dict[str, Any]]:
        values = {"temperature": 0.0, "repetition_penalty": 1.0, "stream": True, **inputs}
        tensors = [tensor(name, value) for name, value in values.items()]
        yield {"model_name": "ensemble", "inputs": tensors, "outputs": _OUTPUTS}

    first, responses, tokens = 0.0, 0, 0
    async for result, error in client.stream_infer(requests()):
        if error is not None:
            raise error
        first = first or time.perf_counter() - begin
        responses += 1
        result.as_numpy("text_output").item().decode()
        tokens = int(result.as_numpy("num_output_tokens").item())
    return {"tokens": tokens, "responses": responses, "ttft_ms": 1000 * first}
