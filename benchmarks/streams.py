"""Streams as applications run them: through the ensemble with plain tritonclient, over a session with AsyncClient."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import numpy as np
import tritonclient.grpc as grpcclient
import tritonclient.grpc.aio as aioclient

from nemotron_client import AsyncClient

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
        Tokens and tokens/s of all streams, responses/s, the time to the first token of the first stream, and the
        interval of the responses of a stream.
    """
    return asyncio.run(_run(address, prompts, {"max_tokens": max_tokens, **inputs}))


def run_session(address: str, prompts: Sequence[str], max_tokens: int, **options: Any) -> dict[str, float]:
    """The same over a session, for the caller of AsyncClient: a response is one of its events."""
    greedy = {"temperature": 0.0, "repetition_penalty": 1.0}
    return asyncio.run(_run_session(address, prompts, {"max_tokens": max_tokens, **greedy, **options}))


async def _run(address: str, prompts: Sequence[str], inputs: Mapping[str, Input]) -> dict[str, float]:
    async with aioclient.InferenceServerClient(address) as client:
        await client.is_server_live()
        begin = time.perf_counter()
        streams = [_stream(client, {"text_input": prompt, **inputs}) for prompt in prompts]
        return _of_all(begin, await asyncio.gather(*streams))


async def _run_session(address: str, prompts: Sequence[str], options: Mapping[str, Any]) -> dict[str, float]:
    async with AsyncClient(f"grpc://{address}") as client:
        await client.chat([{"role": "user", "content": "Hi"}], max_tokens=1)  # opens the session
        begin = time.perf_counter()
        return _of_all(begin, await asyncio.gather(*(_events(client, prompt, options) for prompt in prompts)))


_Stream = tuple[int, list[float]]  # tokens, and when its responses came


def _of_all(begin: float, streams: Sequence[_Stream]) -> dict[str, float]:
    seconds = time.perf_counter() - begin
    tokens = sum(tokens for tokens, _ in streams)
    return {
        "tokens": tokens,
        "seconds": seconds,
        "tokens_per_s": tokens / seconds,
        "responses_per_s": sum(len(times) for _, times in streams) / seconds,
        "ttft_ms": 1000 * (streams[0][1][0] - begin),
        "interval_ms": statistics.median(
            1000 * (times[-1] - times[0]) / max(1, len(times) - 1) for _, times in streams
        ),
    }


async def _events(client: AsyncClient, prompt: str, options: Mapping[str, Any]) -> _Stream:
    times = []
    async with client.stream_chat([{"role": "user", "content": prompt}], **options) as stream:
        async for _ in stream:
            times.append(time.perf_counter())
        return (await stream.get_final()).usage.output_tokens, times


async def _stream(client: aioclient.InferenceServerClient, inputs: Mapping[str, Input]) -> _Stream:
    async def requests() -> AsyncIterator[dict[str, Any]]:
        values = {"temperature": 0.0, "repetition_penalty": 1.0, "stream": True, **inputs}
        tensors = [tensor(name, value) for name, value in values.items()]
        yield {"model_name": "ensemble", "inputs": tensors, "outputs": _OUTPUTS}

    times, tokens = [], 0
    async for result, error in client.stream_infer(requests()):
        if error is not None:
            raise error
        times.append(time.perf_counter())
        result.as_numpy("text_output").item().decode()
        tokens = int(result.as_numpy("num_output_tokens").item())
    return tokens, times
