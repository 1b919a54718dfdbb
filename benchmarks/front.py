"""The front against the client that it rides on, and against other servers: `python -m benchmarks.front --help`.

Prints a table and writes benchmarks/results/front.json.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import itertools
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from benchmarks.contenders import OUTPUT_TOKENS, Server, edge, front, question, server, simulated_package
from benchmarks.front_reader import Job, Reader, reader
from benchmarks.parts import Aims, add_options, measure
from benchmarks.peers import demo_gguf, llama_cpp
from nemotron_front.page.markdown import render

if TYPE_CHECKING:  # not everybody has it
    from playwright.sync_api import Browser

RESULTS = Path(__file__).parent / "results" / "front.json"
_AIMS: Aims = {
    "front_ratio": {"16": ("≥", 0.95), "64": ("≥", 0.95)},
    "front_cpu_us_per_chunk": {"64": ("≤", 60)},
    "front_ttft_overhead_ms_p50": {"1": ("≤", 2)},
    "peers_ratio_to_llama_cpp": {"16": ("≥", 1.0)},
    "streams_512_ok": {"": ("≥", 512)},
    "streams_512_rss_growth_percent": {"": ("≤", 5)},
    "edge_ratio": {"grpc 32": ("≥", 0.97), "front 32": ("≥", 0.97)},
    "edge_ttft_overhead_ms_p50": {"grpc 32": ("≤", 3), "front 32": ("≤", 3)},
    "page_first_paint_ms": {"": ("≤", 300)},
    "page_bytes": {"": ("≤", 200_000)},
}
_SIMULATED_TOKENS = 400
_MANY, _WAVES = 512, 8
_AT_THE_EDGE = 32
_APART_S = 0.05  # callers do not come all in one instant, when what counts is how fast connections are made
_PEER_STREAMS = (1, 16)
_console = Console(stderr=True)
_Runs = list[dict[str, Any]]


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.front", description=__doc__)
    parser.add_argument("--package", type=Path, default=Path("packages/demo"), help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each side, default: %(default)s")
    add_options(parser, _PARTS, RESULTS)
    options = parser.parse_args()
    measure(options, {name: partial(part, options.package, options.rounds) for name, part in _PARTS.items()}, _AIMS)


def measure_front(package: Path, rounds: int) -> dict[str, Any]:
    """What the front adds to AsyncClient: at 16 streams of the real engine, and at 64 of one that takes no CPU."""
    with server(package) as served, _both(served) as sides:
        real = _in_turn(sides, 16, _numbered_questions(), OUTPUT_TOKENS, rounds)
    with tempfile.TemporaryDirectory() as directory:
        simulated = simulated_package(Path(directory) / "package", "--token-ms", "10")
        with server(simulated) as served, _both(served) as sides:
            runs = _in_turn(sides, 64, itertools.repeat("[sim:random]"), _SIMULATED_TOKENS, rounds)
            overhead = _ttft_overhead(sides, 20 * rounds)
    return {
        "front_ratio": {"16": _ratio(real), "64": _ratio(runs)},
        "front_cpu_us_per_chunk": {"64": statistics.median(a - b for a, b in _pairs(runs, "cpu_us"))},
        "process_cpu_us_per_chunk": {
            f"{side} 64": statistics.median(run["cpu_us"] for run in found) for side, found in runs.items()
        },
        "front_ttft_overhead_ms_p50": {"1": overhead},
    }


def measure_many(_: Path, _rounds: int) -> dict[str, Any]:
    """512 streams at once in one front process, eight times: whole, each with its own text, at no growing memory.

    The first times an allocator takes what it then keeps for the next ones, so only the second half tells of growth.
    """
    limits = ("--max-batch-size", str(_MANY), "--max-waiting", "64")
    job = Job(["[sim:random]"] * _MANY, 300, seeds=True)
    with tempfile.TemporaryDirectory() as directory:
        package = simulated_package(Path(directory) / "package", "--token-ms", "40", *limits)
        with server(package) as served, front(served) as (url, pid), reader("openai", f"{url}/v1", pid) as through:
            waves = [through.run(job) for _ in range(_WAVES)]
    for wave in waves:
        late = "" if wave["at_once"] else ", some ended before others had begun"
        _console.print(f"  {wave['whole']} of {_MANY} whole, {wave['rss_mib']:.0f} MiB{late}")
    # The same seed has the same text in every wave where no stream has got another's, or lost any of its own.
    alike = [
        texts[0] is not None and len(set(texts)) == 1 for texts in zip(*(wave["texts"] for wave in waves), strict=True)
    ]
    rss_mib = {str(number): waves[number - 1]["rss_mib"] for number in (1, _WAVES // 2, _WAVES)}
    return {
        "streams_512_ok": sum(alike) if all(wave["at_once"] for wave in waves) else 0,
        "streams_512_rss_growth_percent": 100 * (rss_mib[str(_WAVES)] / rss_mib[str(_WAVES // 2)] - 1),
        "streams_512_rss_mib": rss_mib,
    }


def measure_peers(package: Path, rounds: int) -> dict[str, Any]:
    """The same GGUF and the same requests, by the same reader: our server behind the front, and llama.cpp's."""
    with contextlib.ExitStack() as stack:
        served = stack.enter_context(server(package))
        url, pid = stack.enter_context(front(served))
        sides = {"front": stack.enter_context(reader("openai", f"{url}/v1", pid))}
        gguf = demo_gguf(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        if gguf is not None and importlib.util.find_spec("xllamacpp"):
            peer = stack.enter_context(llama_cpp(gguf))
            sides["llama_cpp"] = stack.enter_context(reader("openai", f"{peer}/v1"))
        questions = _numbered_questions()
        found = {n: _in_turn(sides, n, questions, OUTPUT_TOKENS, rounds) for n in _PEER_STREAMS}
    peers = {
        side: {
            "tokens_per_s": {str(n): statistics.median(run["tokens_per_s"] for run in found[n][side]) for n in found},
            **{f"ttft_ms_p{p}": {str(n): _percentile(found[n][side], p) for n in found} for p in (50, 99)},
        }
        for side in sides
    }
    ratios = {
        f"peers_ratio_to_{peer}": {
            str(n): statistics.median(a / b for a, b in _pairs(runs, "tokens_per_s", "front", peer))
            for n, runs in found.items()
        }
        for peer in sides
        if peer != "front"
    }
    return {"peers": peers, **ratios}


def measure_edge(_: Path, rounds: int) -> dict[str, Any]:
    """What the Envoy of deploy/envoy adds to AsyncClient's sessions and to OpenAI's API, at 32 streams, in pairs."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        package = simulated_package(directory / "package", "--ttft-ms", "30", "--token-ms", "10")
        served = stack.enter_context(server(package, "--openai-port", "0"))
        through_grpc, through_http = stack.enter_context(edge(served))
        ways = {
            "grpc": ("client", {"edge": through_grpc, "direct": served.urls["grpc_url"]}),
            "front": ("openai", {"edge": through_http, "direct": served.urls["openai_url"]}),
        }
        ratios, overheads = {}, {}
        for name, (way, urls) in ways.items():
            sides = {side: stack.enter_context(reader(way, url)) for side, url in urls.items()}
            runs = _in_turn(
                sides, _AT_THE_EDGE, itertools.repeat("[sim:random]"), _SIMULATED_TOKENS, rounds, apart_s=_APART_S
            )
            pairs = list(zip(runs["edge"], runs["direct"], strict=True))
            ratios[f"{name} {_AT_THE_EDGE}"] = statistics.median(
                a["tokens_per_s"] / b["tokens_per_s"] for a, b in pairs
            )
            overheads[f"{name} {_AT_THE_EDGE}"] = statistics.median(
                statistics.median(a["ttft_ms"]) - statistics.median(b["ttft_ms"]) for a, b in pairs
            )
    return {"edge_ratio": ratios, "edge_ttft_overhead_ms_p50": overheads}


def measure_page(_: Path, rounds: int) -> dict[str, Any]:
    """The chat page in headless chromium, with nothing in its cache: when it shows something, and what it loads."""
    program = shutil.which("chromium")
    if program is None or not importlib.util.find_spec("playwright"):
        sys.stderr.write("  left out: the page needs chromium and playwright; 'make setup-page' installs them\n")
        return {}
    from playwright.sync_api import sync_playwright

    with (
        tempfile.TemporaryDirectory() as directory,
        server(simulated_package(Path(directory) / "package")) as served,
        front(served) as (url, _pid),
        sync_playwright() as playwright,
    ):
        # Root may not have chromium's sandbox, and the page is our own.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        found = [_load(browser, url) for _ in range(rounds + 1)][1:]  # the first warms chromium up
        browser.close()
    paints, sizes = zip(*found, strict=True)
    return {"page_first_paint_ms": statistics.median(paints), "page_bytes": statistics.median(sizes)}


def measure_rendering(_: Path, rounds: int) -> dict[str, Any]:
    """What the page's Markdown costs, in CPU time of the process that renders: updates of open blocks, and answers."""
    row, line = "| `x` | **42** | $x^2$ |\n", "    total += weights[i] * values[i]  # so far\n"
    paragraph = "Since $x^2 \\ge 0$, it follows that **all** `terms` are *positive*; see [this](https://a.example). "
    text = f"## Step\n\n{paragraph * 3}\n\n- one **item**\n- another, $y$\n\n\\[ \\frac{{a}}{{b}} = \\sqrt{{c}} \\]\n\n"
    answer = (text + "```python\n" + line * 4 + "```\n\n" + "| a | b | c |\n|--|--|--|\n" + row * 4 + "\n") * 20
    opened = {
        "block_2kB": paragraph * 20,
        "code_10kB": "```python\n" + line * 230,
        "table_10kB": "| a | b | c |\n|--|--|--|\n" + row * 420,
    }
    costs = {name: _cpu_us(partial(render, text, final=False), rounds) for name, text in opened.items()}
    pieces = [answer[at : at + 40] for at in range(0, 20_000, 40)]
    costs["answer_20kB_update"] = _cpu_us(lambda: _stream(pieces), rounds) / len(pieces)
    costs["answer_20kB_at_once"] = _cpu_us(lambda: render(answer[:20_000], final=True), rounds)
    return {"page_render_us": costs}


def _stream(pieces: list[str]) -> None:
    tail = ""
    for piece in pieces:
        tail += piece
        tail = tail[render(tail, final=False).consumed :]  # all ASCII


def _cpu_us(work: Callable[[], object], rounds: int) -> float:
    """The least CPU time of some runs, in microseconds."""
    times = []
    for _ in range(rounds + 1):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return 1e6 * min(times)


_PARTS: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "front": measure_front,
    "many": measure_many,
    "peers": measure_peers,
    "edge": measure_edge,
    "page": measure_page,
    "rendering": measure_rendering,
}


@contextlib.contextmanager
def _both(served: Server) -> Iterator[dict[str, Reader]]:
    grpc_url = f"grpc://{served.address}"
    with (
        front(served) as (url, pid),
        reader("openai", f"{url}/v1", pid) as through,
        reader("client", grpc_url) as alone,
    ):
        yield {"front": through, "client": alone}


def _in_turn(
    sides: dict[str, Reader], streams: int, prompts: Iterator[str], tokens: int, rounds: int, *, apart_s: float = 0.0
) -> dict[str, _Runs]:
    """Runs of each side; each has prompts of its own where these differ, for servers keep what they have read."""
    runs: dict[str, _Runs] = {side: [] for side in sides}
    for number in range(rounds + 1):
        # Forwards and backwards by turns, so that a drifting machine favours nobody.
        for side in sides if number % 2 else reversed(sides):
            run = sides[side].run(Job(list(itertools.islice(prompts, streams)), tokens, apart_s=apart_s))
            if run["whole"] != streams:
                raise SystemExit(f"{run['whole']} of {streams} streams of {side} were whole")
            if number:  # the first warms up
                runs[side].append(run)
        shown = (f"{side} {found[-1]['tokens_per_s']:.0f}" for side, found in runs.items() if found)
        _console.print(f"  {streams:>2} streams: {', '.join(shown) or 'warm-up'} tokens/s")
    return runs


def _ttft_overhead(sides: dict[str, Reader], pairs: int) -> float:
    differences: list[float] = []
    for number in range(pairs):
        job = Job(["[sim:random]"], 2)
        first = {side: sides[side].run(job)["ttft_ms"][0] for side in (sides if number % 2 else reversed(sides))}
        differences.append(first["front"] - first["client"])
    return statistics.median(differences)


def _load(browser: Browser, url: str) -> tuple[float, float]:
    """When the first text or picture was painted, in ms from the start, and the bytes that came over the network."""
    sizes: list[float] = []
    with browser.new_context() as context:
        page = context.new_page()
        network = context.new_cdp_session(page)
        network.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
        network.send("Network.enable")
        page.goto(url, wait_until="networkidle")
        painted = page.evaluate("performance.getEntriesByName('first-contentful-paint').map(one => one.startTime)")
    return painted[0], sum(sizes)


def _numbered_questions() -> Iterator[str]:
    return (question(number) for number in itertools.count(20_000))


def _pairs(
    runs: dict[str, _Runs], figure: str, side: str = "front", other: str = "client"
) -> Iterator[tuple[float, float]]:
    """A figure of both sides, round by round."""
    return ((a[figure], b[figure]) for a, b in zip(runs[side], runs[other], strict=True))


def _ratio(runs: dict[str, _Runs]) -> float:
    return statistics.median(a / b for a, b in _pairs(runs, "tokens_per_s"))


def _percentile(runs: _Runs, percent: int) -> float:
    times: list[float] = sorted(time for run in runs for time in run["ttft_ms"])
    return times[min(len(times) - 1, int(percent / 100 * len(times)))]


if __name__ == "__main__":
    main()
