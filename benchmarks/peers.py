"""llama.cpp's server and transformers on the same model and prompts; each is left out where it is not installed.

`python -m benchmarks.peers GGUF SLOTS` is llama.cpp's server.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.contenders import OUTPUT_TOKENS, question, server
from benchmarks.streams import run_streams
from nemotron_build.demo_model import WHEEL, default_cache, extract_gguf

_STREAMS = (1, 4, 16)
# Without the system turn that the model's chat template adds, as the demo package asks it.
_PROMPT = "<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
_Run = Callable[[list[int]], float]  # tokens/s for these prompts at once


def measure_peers(package: Path, rounds: int) -> dict[str, Any]:
    """Tokens/s of the ensemble and its peers in turn, for the demo package."""
    with contextlib.ExitStack() as stack:
        gguf = demo_gguf(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        if gguf is None:
            return {}
        served = stack.enter_context(server(package))
        contenders: dict[str, _Run] = {"ensemble": lambda numbers: _served_rate(served.address, numbers)}
        if importlib.util.find_spec("xllamacpp"):
            url = stack.enter_context(llama_cpp(gguf))
            contenders["llama_cpp"] = lambda numbers: asyncio.run(_llama_cpp_rate(url, numbers))
        if all(map(importlib.util.find_spec, ("transformers", "torch", "accelerate"))):
            contenders["transformers"] = _transformers(gguf)
        rates: dict[str, dict[str, list[float]]] = {name: {str(n): [] for n in _STREAMS} for name in contenders}
        numbers = itertools.count(10_000)
        for streams, _ in itertools.product(_STREAMS, range(rounds)):
            batch = list(itertools.islice(numbers, streams))
            for name, run in contenders.items():
                rates[name][str(streams)].append(run(batch))
    medians = {name: {key: statistics.median(values) for key, values in by.items()} for name, by in rates.items()}
    results: dict[str, Any] = {"peers": medians}
    for peer in contenders.keys() - {"ensemble"}:
        results[f"peers_ratio_to_{peer}"] = {
            key: statistics.median(a / b for a, b in zip(rates["ensemble"][key], rates[peer][key], strict=True))
            for key in medians[peer]
        }
    return results


def demo_gguf(directory: Path) -> Path | None:
    """The demo package's model as it was before it was converted, put into a directory; None without it."""
    wheel = default_cache() / WHEEL.name
    if not wheel.is_file():
        sys.stderr.write(f"  left out: the peers read the model from {wheel}, which is not there\n")
        return None
    return extract_gguf(wheel, directory)


def main() -> None:
    """Serve a GGUF by the wheel `xllamacpp`: print the URL, and go on until the input closes."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.n_parallel = int(sys.argv[2])
    params.n_ctx = 1024 * params.n_parallel
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = os.cpu_count() or 1
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.verbosity = -1
    server = xllamacpp.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


@contextlib.contextmanager
def llama_cpp(gguf: Path) -> Iterator[str]:
    """llama.cpp's server with this model: its URL."""
    command = [sys.executable, "-m", "benchmarks.peers", str(gguf), str(max(_STREAMS))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            url = next((line.strip() for line in process.stdout if line.startswith("http")), "")
            if not url:
                raise SystemExit(f"llama.cpp's server did not start; try '{' '.join(command)}'.")
            yield url
        finally:
            process.kill()


def _served_rate(address: str, numbers: list[int]) -> float:
    prompts = [question(number) for number in numbers]
    return run_streams(address, prompts, OUTPUT_TOKENS, min_tokens=OUTPUT_TOKENS)["tokens_per_s"]


async def _llama_cpp_rate(url: str, numbers: list[int]) -> float:
    import aiohttp

    async def stream(session: aiohttp.ClientSession, number: int) -> int:
        body = {
            "prompt": _PROMPT.format(question=question(number)),
            "n_predict": OUTPUT_TOKENS,
            "ignore_eos": True,
            "temperature": 0.0,
            "cache_prompt": False,
            "stream": True,
        }
        last: dict[str, Any] = {}
        async with session.post(f"{url}/completion", json=body) as response:
            async for line in response.content:
                if line.startswith(b"data: {"):
                    last = json.loads(line[6:])
        return int(last["tokens_predicted"])

    async with aiohttp.ClientSession() as session:
        begin = time.perf_counter()
        tokens = sum(await asyncio.gather(*(stream(session, number) for number in numbers)))
        return tokens / (time.perf_counter() - begin)


def _transformers(gguf: Path) -> _Run:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)

    def run(numbers: list[int]) -> float:
        prompts = [_PROMPT.format(question=question(number)) for number in numbers]
        begin = time.perf_counter()
        batch = tokenizer(prompts, padding=True, return_tensors="pt")
        with torch.inference_mode():
            output = model.generate(
                **batch, max_new_tokens=OUTPUT_TOKENS, min_new_tokens=OUTPUT_TOKENS, do_sample=False
            )
        tokens = (output.shape[1] - batch["input_ids"].shape[1]) * len(numbers)
        return float(tokens / (time.perf_counter() - begin))

    return run


if __name__ == "__main__":
    main()
