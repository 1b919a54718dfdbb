"""Ask a real TensorRT-LLM what its documentation does not say: `python -m tests.gpu.first_run PACKAGE`.

Needs a GPU, and takes a minute after loading. It constructs the LLM as the engine does and prints what it sees; each
line is numbered as in docs/tensorrt-llm.md, which says what was expected. Nothing here is a pass or a failure.
"""

from __future__ import annotations

import asyncio
import dataclasses
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from nemotron_serving.engine import EngineRequest, Sampling
from nemotron_serving.engine.tensorrt_llm.files import EngineFiles, read_engine_files
from nemotron_serving.engine.tensorrt_llm.library import (
    Library,
    TensorRTLLMOptions,
    load_library,
    open_llm,
    sampling_params,
)
from nemotron_serving.engine.tensorrt_llm.results import kv_cache_used
from nemotron_serving.errors import PackageError
from nemotron_serving.guide import response_guide
from nemotron_serving.host import HostOptions
from nemotron_serving.package import Package

_GRAMMAR = 'root ::= "yes"'
_EMAIL = '{"type": "regex", "regex": "[^@\\\\s]+@[^@\\\\s]+"}'
_PATIENCE_S = 30


@dataclasses.dataclass
class Probe:
    """An LLM, and how requests to it are made."""

    package: Package
    files: EngineFiles
    library: Library
    llm: Any

    @property
    def prompt(self) -> list[int]:
        ids: list[int] = self.llm.tokenizer.encode(
            "The first ten animals of the alphabet are", add_special_tokens=False
        )
        return ids

    def start(self, **request: Any) -> Any:
        values: dict[str, Any] = {"prompt_ids": self.prompt, "max_tokens": 16, "sampling": Sampling(), "guide": None,
                  "stop_token_ids": frozenset(self.package.serving.stop_token_ids)} | request  # fmt: skip
        made = EngineRequest(request_id=1, **values)
        params = sampling_params(self.library, made, self.package.serving.stop_token_ids, self.files.vocab_size)
        return self.llm.generate_async(inputs=made.prompt_ids, sampling_params=params, streaming=True)

    async def run(self, **request: Any) -> tuple[list[list[int]], Any]:
        """The token list as it stood after each response, and the result."""
        result = self.start(**request)
        seen = [list(output.outputs[0].token_ids) async for output in result]
        return seen, result.outputs[0]


def say(item: str, text: object) -> None:
    print(f"{item:<5}{text}", flush=True)


async def stops(probe: Probe) -> None:
    free, _ = await probe.run()
    token = free[-1][6]
    for name, stop in (
        ("end_id", frozenset((token,))),
        ("stop_token_ids", frozenset(probe.package.serving.stop_token_ids) | {token}),
    ):
        seen, output = await probe.run(stop_token_ids=stop)
        say("2", f"{name} {token}: {output.finish_reason}, {output.stop_reason}; last lists {seen[-2:]}")


async def aborts(probe: Probe) -> None:
    results = [probe.start(prompt_ids=[*probe.prompt, *[7] * number], max_tokens=2000) for number in range(8)]
    first = results[0]
    await anext(aiter(first))
    say("3", f"8 running: KV cache {await gauge(probe):.3f}")
    began = time.monotonic()
    for result in results:
        result.abort()
    async for _ in first:
        pass
    say("3", f"abort to last response {1000 * (time.monotonic() - began):.0f} ms, {first.outputs[0].finish_reason}")
    for result in results[1:]:
        async for _ in result:
            pass
    await asyncio.sleep(0.5)
    await probe.run(max_tokens=1)
    say("3", f"after it: KV cache {await gauge(probe):.3f}")


async def gauge(probe: Probe) -> float:
    entries = await asyncio.to_thread(probe.llm.get_stats, timeout=2)
    return kv_cache_used(entries[-1]) if entries else -1.0


async def statistics(probe: Probe) -> None:
    await probe.run()
    for number in (1, 2):
        began = time.monotonic()
        entries = await asyncio.to_thread(probe.llm.get_stats, timeout=0.2)
        say("6", f"call {number}: {len(entries)} entries in {1000 * (time.monotonic() - began):.0f} ms")
        if entries:
            say("6", f"keys {sorted(entries[-1])}; kvCacheStats {entries[-1].get('kvCacheStats')}")


async def lengths(probe: Probe) -> None:
    longest = probe.files.max_seq_len
    for name, prompt, max_tokens in (
        ("max_tokens", [7] * (longest - 4), 100),
        ("prompt", [7] * (longest + 4), 4),
    ):
        _, output = await probe.run(prompt_ids=prompt, max_tokens=max_tokens)
        say("7", f"{name} too large: {len(output.token_ids)} tokens, {output.finish_reason}")


async def features(probe: Probe) -> None:
    _, output = await probe.run(guide=_GRAMMAR)
    say("9", f"grammar {_GRAMMAR}: {output.token_ids}, {output.finish_reason}")
    if guide := response_guide(_EMAIL):
        _, output = await probe.run(guide=guide, max_tokens=64)
        say("9", f"pattern of an address: {probe.llm.tokenizer.decode(output.token_ids)!r}, {output.finish_reason}")
    free, _ = await probe.run()
    _, output = await probe.run(sampling=Sampling(logit_bias={free[-1][2]: 100.0}))
    say("9", f"logit_bias +100 on {free[-1][2]}: {output.token_ids}")
    _, output = await probe.run(sampling=Sampling(repetition_penalty=1.5, presence_penalty=1.0))
    say("12", f"penalties change the output: {output.token_ids != free[-1]}")
    runs = [(await probe.run(sampling=Sampling(temperature=1.5, seed=seed)))[0][-1] for seed in (7, 7, 8)]
    say("12", f"seed 7 twice equal: {runs[0] == runs[1]}; seed 8 equal: {runs[1] == runs[2]}")
    stop = frozenset((free[-1][2], free[-1][4]))
    _, output = await probe.run(stop_token_ids=stop, sampling=Sampling(min_tokens=12))
    say("12", f"min_tokens 12 with two stop tokens: {len(output.token_ids)} tokens, {output.finish_reason}")
    long = [*probe.prompt, *[7] * 50]
    seen, _ = await probe.run(prompt_ids=long)
    stop = frozenset((seen[-1][2],))
    _, output = await probe.run(prompt_ids=long, stop_token_ids=stop, sampling=Sampling(min_tokens=12))
    say("12", f"min_tokens 12 after a prompt of {len(long)}: {len(output.token_ids)} tokens (2: it counts the prompt)")
    _, output = await probe.run(sampling=Sampling(bad_words=("a",)))
    say("12", f"bad word 'a' changes the output: {output.token_ids != free[-1]}")


async def log_probabilities(probe: Probe) -> None:
    _, output = await probe.run(sampling=Sampling(temperature=1.5, logprobs=2))
    missing = sum(token not in entry for token, entry in zip(output.token_ids, output.logprobs, strict=False))
    say("13", f"{output.logprobs[:2]}; chosen tokens that are missing: {missing}")

    _, output = await probe.run(sampling=Sampling(temperature=1.5, top_k=20, logprobs=2))
    missing = sum(token not in entry for token, entry in zip(output.token_ids, output.logprobs, strict=False))
    say("13", f"chosen among 20, asked for {len(output.logprobs[0])}: missing {missing}, expected none")
    bias = {output.token_ids[0]: 100.0}
    _, output = await probe.run(sampling=Sampling(logit_bias=bias, logprobs=2))
    missing = sum(token not in entry for token, entry in zip(output.token_ids, output.logprobs, strict=False))
    say("13", f"greedy with logit_bias: missing {missing}, expected none")
    both = [probe.run(max_tokens=64, sampling=Sampling(logprobs=wanted)) for wanted in (None, 2)]
    found = await asyncio.gather(*both, return_exceptions=True)
    say("13", f"one without and one with, at once: {[_ending(one) for one in found]}, expected twice 'length'")
    result = probe.start(max_tokens=2000, sampling=Sampling(logprobs=2))
    await anext(aiter(result))
    result.abort()
    try:
        async for _ in result:
            pass
        end = result.outputs[0].finish_reason
    except Exception as error:
        end = repr(error)
    say("15", f"an abort with log probabilities: {end}; healthy after it: {probe.llm._check_health()}")


def _ending(found: Any) -> str:
    return repr(found) if isinstance(found, BaseException) else str(found[1].finish_reason)


async def batches(probe: Probe) -> None:
    most = probe.files.max_batch_size
    for size in sorted({min(most, size) for size in (32, 40, 64, 100, 128, 160, most)}):
        await asyncio.gather(*(probe.run(max_tokens=2) for _ in range(size)))
        began = time.monotonic()
        await asyncio.gather(*(probe.run(max_tokens=33) for _ in range(size)))
        say("14", f"{size} at once: {1000 * (time.monotonic() - began) / 33:.1f} ms a step")


async def everything(probe: Probe) -> None:
    parts: list[Callable[[Probe], Awaitable[None]]] = [
        stops, aborts, statistics, lengths, features, batches, log_probabilities
    ]  # fmt: skip
    for part in parts:
        try:
            await asyncio.wait_for(part(probe), _PATIENCE_S)
        except Exception as error:
            say("!", f"{part.__name__}: {type(error).__name__}: {error}")


def main(arguments: list[str]) -> None:
    package = Package.load(Path(arguments[0]))
    files = read_engine_files(package)
    library = load_library(package.manifest.engine, files)
    host, options = HostOptions(package=package.path), TensorRTLLMOptions.from_environment()
    say("1", f"TensorRT-LLM {library.version}, {files.flow} flow")
    llm = open_llm(library, package, files, host, options)
    asyncio.run(everything(Probe(package, files, library, llm)))
    began = time.monotonic()
    llm.shutdown()
    say("4", f"shutdown took {time.monotonic() - began:.1f} s")
    if files.flow == "engine":
        more = dataclasses.replace(
            files, max_num_tokens=2 * files.max_num_tokens, max_batch_size=2 * files.max_batch_size
        )
        try:
            open_llm(library, package, more, host, options).shutdown()
        except PackageError as error:
            say("5", f"twice the built sizes: refused: {error}")
        else:
            say("5", "twice the built sizes: accepted (look for a clamp in the output above)")


if __name__ == "__main__":  # TensorRT-LLM's workers may import this module
    main(sys.argv[1:])
