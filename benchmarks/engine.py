"""Steps of OpenVINO's engine alone, without GenAI: packages and properties in turn, and what each operation takes.

`python -m benchmarks.engine PACKAGE PACKAGE,KV_CACHE_PRECISION=u8`, or `--help`. It finds out why the engine is as fast
as it is on this CPU: packages of two builds, or one with other properties of OpenVINO's CPU plugin.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from openvino._offline_transformations import paged_attention_transformation
from rich.console import Console
from rich.table import Column, Table

from nemotron_build.cpu.to_openvino import MODEL
from nemotron_serving.engine.openvino.cpu import KV_BLOCK_TOKENS, isa_properties
from nemotron_serving.package import ENGINE_DIR

_CONTEXT = 4 * KV_BLOCK_TOKENS  # tokens that each stream has behind it
_STEPS = 8  # of a contender in a row, after one that nobody counts
_SHOWN = 10


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "contenders", nargs="+", metavar="PACKAGE[,PROPERTY=VALUE]", help="the first is what others are compared with"
    )
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 16, 32], help="default: 1 4 16 32")
    parser.add_argument("--tokens", type=int, default=1, help="of each stream in a step, default: 1")
    parser.add_argument("--rounds", type=int, default=10, help="default: %(default)s")
    parser.add_argument("--operations", action="store_true", help="the time of each kind of operation, too")
    options = parser.parse_args()
    contenders = {name: _Contender(name) for name in options.contenders}
    console = Console()
    console.print(_steps_table(contenders, options.streams, options.tokens, options.rounds))
    if options.operations:
        for name, streams in itertools.product(options.contenders, options.streams):
            profiled = _Contender(name, PERF_COUNT="YES")  # a new one, for it counts from its first step
            profiled.feed(streams, options.tokens)
            console.print(_operations_table(f"{name}, streams: {streams}", profiled, _STEPS * options.rounds))


class _Contender:
    """A package's model with paged attention, compiled with some properties."""

    def __init__(self, name: str, **more: str) -> None:
        package, *properties = name.split(",")
        settings = {"PERFORMANCE_HINT": "LATENCY", **isa_properties(), **more}
        try:
            settings |= dict(setting.split("=", 1) for setting in properties)
            model = openvino.Core().read_model(Path(package, ENGINE_DIR, MODEL))
            paged_attention_transformation(model, False, False, True)  # as GenAI does it
            self._compiled = openvino.Core().compile_model(model, "CPU", settings)
        except (RuntimeError, ValueError) as error:
            raise SystemExit(f"{name} is no package for a CPU with properties NAME=VALUE: {error}") from None
        self.request = self._compiled.create_infer_request()
        self._room = 0

    def feed(self, streams: int, tokens: int) -> None:
        """Set the inputs of a step in which each of some streams goes on by some tokens."""
        blocks = -(-(_CONTEXT + tokens) // KV_BLOCK_TOKENS)
        count = streams * tokens
        values: Mapping[str, Any] = {
            "input_ids": np.arange(count, dtype=np.int64),
            "position_ids": np.tile(_CONTEXT + np.arange(tokens, dtype=np.int64), streams),
            "past_lens": np.full(streams, _CONTEXT, np.int32),
            "subsequence_begins": np.arange(0, count + 1, tokens, dtype=np.int32),
            "block_indices": np.arange(streams * blocks, dtype=np.int32),
            "block_indices_begins": np.arange(0, streams * blocks + 1, blocks, dtype=np.int32),
            "max_context_len": np.array(_CONTEXT + tokens, np.int32),
            "score_aggregation_window": np.zeros(streams, np.int32),
        }
        more_room, self._room = streams * blocks > self._room, max(self._room, streams * blocks)
        for port in self._compiled.inputs:
            name = port.get_any_name()
            if name in values:
                self.request.set_tensor(name, openvino.Tensor(values[name]))
            elif more_room:  # a layer's keys or values
                _, *sizes = port.get_partial_shape()
                shape = openvino.Shape([self._room, *(size.get_length() for size in sizes)])
                self.request.set_tensor(name, openvino.Tensor(port.get_element_type(), shape))

    def outputs(self) -> dict[str, str]:
        """Shape of each operation's output, by its name."""
        operations = [one for one in self._compiled.get_runtime_model().get_ops() if one.get_output_size()]
        return {one.get_friendly_name(): str(one.get_output_partial_shape(0)) for one in operations}


def _steps_table(contenders: Mapping[str, _Contender], streams: Sequence[int], tokens: int, rounds: int) -> Table:
    table = Table("streams", Column("contender", overflow="fold"), "ms a step", "tokens/s", "time to the first's")
    for count in streams:
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for number in range(rounds):
            # Taking turns in going first, so that a drifting machine favours nobody.
            for name, contender in [*contenders.items()][:: -1 if number % 2 else 1]:
                contender.feed(count, tokens)
                times[name].append(_median_step(contender))
        first = next(iter(times.values()))
        for name, found in times.items():
            step, ratio = statistics.median(found), statistics.median(a / b for a, b in zip(found, first, strict=True))
            table.add_row(str(count), name, f"{1000 * step:.2f}", f"{count * tokens / step:.1f}", f"{ratio:.2f}")
    return table


def _median_step(contender: _Contender) -> float:
    contender.request.infer()
    times = []
    for _ in range(_STEPS):
        begin = time.perf_counter()
        contender.request.infer()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def _operations_table(title: str, contender: _Contender, steps: int) -> Table:
    """The time of each operation, the mean of some steps, summed by kind and output."""
    for _ in range(steps):
        contender.request.infer()
    outputs = contender.outputs()
    kinds: dict[str, list[float]] = defaultdict(list)
    for info in contender.request.get_profiling_info():
        if microseconds := info.real_time.total_seconds() * 1e6:
            kinds[f"{info.node_type} {outputs.get(info.node_name, '')}"].append(microseconds)
    table = Table("operation", "number", "µs together", "µs each", title=title, title_justify="left")
    for kind, found in sorted(kinds.items(), key=lambda item: -sum(item[1]))[:_SHOWN]:
        table.add_row(kind, str(len(found)), f"{sum(found):,.0f}", f"{sum(found) / len(found):.1f}")
    table.add_row("all", str(sum(map(len, kinds.values()))), f"{sum(map(sum, kinds.values())):,.0f}", "")
    return table


if __name__ == "__main__":
    main()
