"""The serving stack against the engine it serves: `make bench`, or `python -m benchmarks.serving --help`.

Prints a table and writes benchmarks/results/serving.json.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import tritonclient.grpc as grpcclient
from rich.console import Console
from tokenizers import Tokenizer

from benchmarks.contenders import (
    OUTPUT_TOKENS,
    RawEngine,
    Server,
    long_text,
    question,
    raw_engine,
    server,
    simulated_package,
)
from benchmarks.control import measure_control
from benchmarks.parts import Aims, add_options, measure
from benchmarks.peers import measure_larger, measure_peers
from benchmarks.responses import measure_abandoned, measure_gaps, measure_responses
from benchmarks.streams import run_session, run_streams, tensor
from nemotron_serving.package import Package

RESULTS = Path(__file__).parent / "results" / "serving.json"
_STREAMS = (1, 4, 16, 32)
_PREPROCESS_TOKENS = (100, 10_000, 100_000)
_CHARACTERS_PER_TOKEN = 3.8  # of long_text with the demo tokenizer
_AIMS: Aims = {
    "ensemble_ratio": {str(streams): ("≥", 0.90) for streams in _STREAMS},
    "session_ratio": {str(streams): ("≥", 0.95) for streams in _STREAMS},
    "stream_interval_ms": {
        **{f"ensemble {streams}": ("≤", 160) for streams in _STREAMS},
        **{f"session {streams}": ("≤", 100) for streams in _STREAMS},
    },
    "response_cpu_ms": {"session 64": ("≤", 0.15), "session 256": ("≤", 0.15)},
    "events_per_s": {"session 64": ("≥", 8000), "session 256": ("≥", 8000)},
    "gap_ms_p99": {"ensemble 64": ("≤", 80), "session 64": ("≤", 60)},
    "abandoned_slot_ms": {"": ("≤", 400)},
    "response_cpu_ratio_to_stock": {"16": ("≤", 1.2), "64": ("≤", 1.2), "256": ("≤", 1.2)},
    "pipeline_tokens_per_s": {"64": ("≥", 10_000)},
    "ttft_overhead_ms_p50": {"1": ("≤", 5)},
    "preprocess_ms_p50": {"100": ("≤", 2), "10000": ("≤", 20), "100000": ("≤", 250)},
    "ready_seconds": {"": ("≤", 12)},
    "rss_overhead_mib": {"": ("≤", 700)},
    "mean_kl_to_fp32": {"": ("≤", 0.003)},
    "structured_overhead_ratio": {"1": ("≥", 0.7), "16": ("≥", 0.7)},
    "budget_phase_switch_ms_p50": {"": ("≤", 30)},
    "tool_parse_us_per_token": {"": ("≤", 10)},
    "detokenize_us_per_token": {"": ("≤", 10)},
    "peers_ratio_to_llama_cpp": {"1": ("≥", 1.0), "4": ("≥", 1.8), "16": ("≥", 3.0)},
    "larger_peers_ratio_to_llama_cpp": {"1": ("≥", 0.95), "4": ("≥", 1.2), "16": ("≥", 2.0)},
    "prefill_ratio_to_llama_cpp": {"512": ("≥", 3), "2048": ("≥", 3)},
}
_console = Console(stderr=True)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--package", type=Path, default=Path("packages/demo"), help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of raw and served runs, default: %(default)s")
    parser.add_argument(
        "--stock",
        type=Path,
        metavar="DIR",
        help="a model repository with NVIDIA's ensemble and a fake generator, to be measured beside ours; "
        "docs/benchmarks.md says how to make one (default: left out)",
    )
    parser.add_argument(
        "--vllm",
        type=Path,
        metavar="PYTHON",
        help="the Python of an environment with vLLM for CPUs, to be measured among the peers; docs/benchmarks.md says "
        "how to make one (default: left out)",
    )
    add_options(parser, [*_PARTS, "peers", "responses"], RESULTS)
    options = parser.parse_args()
    if options.vllm and not os.access(options.vllm, os.X_OK):
        parser.error(f"--vllm {options.vllm} is no Python that can be run")
    parts = {name: partial(part, options.package, options.rounds) for name, part in _PARTS.items()}
    parts["peers"] = partial(measure_peers, options.vllm, options.package, options.rounds)
    parts["responses"] = partial(measure_responses, options.rounds, options.stock)
    measure(options, parts, _AIMS)


def measure_throughput(package: Path, rounds: int) -> dict[str, Any]:
    """Ensemble and session, each in turn with the raw engine and the same prompts: tokens/s, first token, memory."""
    numbers = itertools.count(1)
    ways: dict[str, Callable[..., dict[str, Any]]] = {"ensemble": run_streams, "session": run_session}
    runs: dict[str, _Runs] = {side: {str(n): [] for n in _STREAMS} for side in ways}
    engine: dict[str, _Runs] = {side: {str(n): [] for n in _STREAMS} for side in ways}  # with the prompts of each
    with raw_engine(package) as raw, server(package) as served:
        # Runs of few streams are short and vary most, so there are more of them.
        plan = [(streams, number) for streams in _STREAMS for number in range(rounds * max(1, 4 // streams))]
        for streams, round_number in plan:
            # Each has prompts of its own, for the server keeps what it has read in its prefix cache.
            for side, way in ways.items() if round_number % 4 < 2 else reversed(ways.items()):
                batch = list(itertools.islice(numbers, streams))
                prompts = [question(number) for number in batch]
                # Take turns in going first, so that a drifting machine favours nobody.
                for place in range(2):
                    if (round_number + place) % 2:
                        engine[side][str(streams)].append(raw.run(batch, OUTPUT_TOKENS))
                    else:
                        run = way(served.address, prompts, OUTPUT_TOKENS, min_tokens=OUTPUT_TOKENS)
                        runs[side][str(streams)].append(run)
            rates = (
                f"{side} {runs[side][str(streams)][-1]['tokens_per_s']:.0f} of "
                f"{engine[side][str(streams)][-1]['tokens_per_s']:.0f}"
                for side in ways
            )
            _console.print(f"  {streams:>2} streams: {', '.join(rates)} tokens/s")
        overhead = _ttft_overhead(raw, served, numbers, 4 * rounds)
        memory, alone = served.memory_mib(), raw.memory_mib()
    return {
        "raw_engine_tokens_per_s": _medians(
            {streams: engine["ensemble"][streams] + engine["session"][streams] for streams in map(str, _STREAMS)},
            "tokens_per_s",
        ),
        **{f"{side}_tokens_per_s": _medians(runs[side], "tokens_per_s") for side in ways},
        **{f"{side}_ratio": _ratios(runs[side], engine[side]) for side in ways},
        "stream_interval_ms": {side: _medians(runs[side], "interval_ms") for side in ways},
        "ttft_overhead_ms_p50": {"1": overhead},
        "rss_overhead_mib": memory["rss"] - alone["rss"],
        "pss_overhead_mib": memory["pss"] - alone["pss"],
    }


def measure_pipeline(package: Path, rounds: int) -> dict[str, Any]:
    """64 streams from an engine that takes no CPU: what the stack around the engine can carry.

    Tokens/s as served by default from an engine that takes no time either, and responses/s when every token of an
    engine with 10 ms a token may go out by itself.
    """
    streams = 64
    cases: tuple[tuple[str, int, list[str], list[str]], ...] = (
        ("tokens_per_s", 1000, [], []),
        ("responses_per_s", 300, ["--token-ms", "10"], ["--stream-interval-ms", "0"]),
    )
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as directory:
        for figure, tokens, build_options, serve_options in cases:
            simulated = simulated_package(Path(directory) / figure, "--tokenizer-from", str(package), *build_options)
            with server(simulated, *serve_options) as served:
                prompts = ["[sim:random]"] * streams
                runs = [run_streams(served.address, prompts, tokens, min_tokens=tokens) for _ in range(rounds + 1)]
            results[f"pipeline_{figure}"] = {str(streams): statistics.median(run[figure] for run in runs[1:])}
    return results


def measure_preprocessing(package: Path, rounds: int) -> dict[str, Any]:
    """The preprocessing model alone, called over gRPC."""
    result: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as directory:
        simulated = simulated_package(Path(directory) / "package", "--tokenizer-from", str(package))
        with server(simulated) as served, grpcclient.InferenceServerClient(served.address) as client:
            for tokens in _PREPROCESS_TOKENS:
                text = long_text(int(tokens * _CHARACTERS_PER_TOKEN))
                times = []
                for _ in range(3 * rounds):
                    begin = time.perf_counter()
                    reply = client.infer("preprocessing", [tensor("text_input", text), tensor("max_tokens", 1)])
                    times.append(1000 * (time.perf_counter() - begin))
                _console.print(f"  {reply.as_numpy('input_ids').size} tokens: {statistics.median(times):.1f} ms")
                result[str(tokens)] = statistics.median(times)
    return {"preprocess_ms_p50": result}


def measure_start(package: Path, rounds: int) -> dict[str, Any]:
    """From the start of nemotron-serve to its first answer."""
    times = []
    for _ in range(min(rounds, 3)):
        with server(package) as served:
            times.append(served.ready_seconds)
    return {"ready_seconds": statistics.median(times)}


def measure_arithmetic(package: Path, _rounds: int) -> dict[str, Any]:
    """How far the model as served is from the same weights in FP32, as `nemotron-build verify` prints it, in nats."""
    from nemotron_build.cpu import fidelity
    from nemotron_build.cpu.to_openvino import MODEL

    opened = Package.load(package)
    prompt = fidelity.prompt_ids(Tokenizer.from_file(str(opened.tokenizer_path)))
    return {"mean_kl_to_fp32": fidelity.measure_arithmetic(opened.engine_path / MODEL, prompt).mean_kl}


_PARTS: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "throughput": measure_throughput,
    "pipeline": measure_pipeline,
    "preprocessing": measure_preprocessing,
    "gaps": measure_gaps,
    "abandoned": measure_abandoned,
    "start": measure_start,
    "arithmetic": measure_arithmetic,
    "control": measure_control,
    "larger": measure_larger,
}


def _ttft_overhead(raw: RawEngine, served: Server, numbers: Iterator[int], pairs: int) -> float:
    differences = []
    for number in itertools.islice(numbers, pairs):
        alone = raw.run([number], 2)["ttft_ms"]
        differences.append(run_streams(served.address, [question(number)], 2, min_tokens=2)["ttft_ms"] - alone)
    return statistics.median(differences)


_Runs = dict[str, list[dict[str, float]]]  # by the number of streams


def _medians(runs: _Runs, figure: str) -> dict[str, float]:
    return {streams: statistics.median(run[figure] for run in found) for streams, found in runs.items()}


def _ratios(runs: _Runs, to: _Runs) -> dict[str, float]:
    """Of the tokens/s, pair by pair."""
    return {
        streams: statistics.median(
            a["tokens_per_s"] / b["tokens_per_s"] for a, b in zip(found, to[streams], strict=True)
        )
        for streams, found in runs.items()
    }


if __name__ == "__main__":
    main()
