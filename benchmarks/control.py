"""What the control of a generation costs: grammars, the switch from thinking to answer, reading the output."""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import tritonclient.grpc as grpcclient
import tritonclient.grpc.aio as aioclient
from tokenizers import Tokenizer

from benchmarks.contenders import OUTPUT_TOKENS, question, server
from benchmarks.streams import Input, run_streams, tensor
from nemotron_serving.output.assembler import Assembler, OutputRules, ToolRules
from nemotron_serving.output.detokenizer import Detokenizer, Vocabulary
from nemotron_serving.package import Package

_STREAMS = (1, 16)
# So many fields that no answer is complete within OUTPUT_TOKENS: all have just so many, as without a schema.
_FIELDS = {f"field_{number}": {"type": "string", "minLength": 4} for number in range(16)}
_SCHEMA = {"type": "object", "properties": _FIELDS, "required": list(_FIELDS), "additionalProperties": False}
_FORMAT = json.dumps({"type": "json_schema", "json_schema": {"name": "page", "schema": _SCHEMA}})
_BUDGET_TOKENS = 16
_CALLS = ", ".join(
    f'{{"name": "get_weather", "arguments": {{"city": "City {n}", "days": {n}, "units": "metric"}}}}' for n in range(60)
)


def measure_control(package: Path, rounds: int) -> dict[str, Any]:
    """All of it, on the package's own engine."""
    with server(package) as served:
        ratio = _structured_ratio(served.address, rounds)
    with server(package, "--stream-interval-ms", "0") as served:
        switch = _phase_switch(served.address, 4 * rounds)
    return {
        "structured_overhead_ratio": ratio,
        "budget_phase_switch_ms_p50": switch,
        **_reading(Package.load(package), rounds),
    }


def _structured_ratio(address: str, rounds: int) -> dict[str, float]:
    """Tokens/s with a schema over tokens/s without, in turn on the same prompts."""
    numbers = itertools.count(1)
    ratios: dict[str, float] = {}
    for streams in _STREAMS:
        found = []
        for _ in range(rounds * max(1, 4 // streams) + 1):
            prompts = [question(number) for number in itertools.islice(numbers, streams)]
            free = run_streams(address, prompts, OUTPUT_TOKENS, min_tokens=OUTPUT_TOKENS)
            guided = run_streams(address, prompts, OUTPUT_TOKENS, response_format=_FORMAT)
            found.append(guided["tokens_per_s"] / free["tokens_per_s"])
        ratios[str(streams)] = statistics.median(found[1:])
    return ratios


def _phase_switch(address: str, requests: int) -> float:
    """From the response that closes the thinking to the one with the answer's first token, in milliseconds."""

    async def one(client: aioclient.InferenceServerClient, number: int) -> float:
        async def request() -> AsyncIterator[dict[str, Any]]:
            values: dict[str, Input] = {
                "text_input": question(number), "thinking": True, "max_thinking_tokens": _BUDGET_TOKENS,
                "max_tokens": 64, "stream": True,
            }  # fmt: skip
            outputs = [grpcclient.InferRequestedOutput("thinking_budget_reached")]
            inputs = [tensor(name, value) for name, value in values.items()]
            yield {"model_name": "ensemble", "inputs": inputs, "outputs": outputs}

        closed_at = 0.0
        async for result, error in client.stream_infer(request()):
            if error is not None:
                raise error
            if closed_at:
                return 1000 * (time.perf_counter() - closed_at)
            if result.as_numpy("thinking_budget_reached").item():
                closed_at = time.perf_counter()
        raise RuntimeError("the budget did not close the thinking")

    async def run() -> list[float]:
        async with aioclient.InferenceServerClient(address) as client:
            return [await one(client, number) for number in range(requests + 1)]

    return statistics.median(asyncio.run(run())[1:])


def _reading(package: Package, rounds: int) -> dict[str, float]:
    vocabulary = Vocabulary.load(package.tokenizer_path)
    text = f"<think>\nLet me look.\n</think>\n\nHere: <tool_call>[{_CALLS}]</tool_call>"
    ids = Tokenizer.from_file(str(package.tokenizer_path)).encode(text, add_special_tokens=False).ids
    tools = ToolRules(("get_weather",), "<tool_call>", "</tool_call>")

    def read_calls() -> None:
        assembler = Assembler(vocabulary, OutputRules("expected", (), tools))
        for index in ids:
            assembler.feed((index,))
        assembler.flush()
        assert assembler.has_tool_calls

    def detokenize() -> None:
        detokenizer = Detokenizer(vocabulary)
        for index in ids:
            detokenizer.feed(index)

    return {
        "tool_parse_us_per_token": _us_per_token(read_calls, len(ids), rounds),
        "detokenize_us_per_token": _us_per_token(detokenize, len(ids), rounds),
    }


def _us_per_token(read: Callable[[], None], tokens: int, rounds: int) -> float:
    times = []
    for _ in range(4 * rounds):
        begin = time.perf_counter()
        read()
        times.append(time.perf_counter() - begin)
    return 1e6 * statistics.median(times) / tokens
