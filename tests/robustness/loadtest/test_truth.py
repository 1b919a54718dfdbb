"""Against the real server and an engine whose timing is known: what is reported is what is so."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import pytest

from nemotron_loadtest.run.record import read_run
from nemotron_loadtest.samples import Sample
from tests.integration.conftest import Front, Server, fronting, serving
from tests.integration.loadtest.bench import bench, closed, poisson, scenario_file, start_bench, wait_for
from tests.waiting import wait_until

TTFT_S, TOKEN_S, TOKENS = 0.3, 0.02, 40
PAUSE_S = 1.5
LONG = 10_000  # tokens, 200 s: who leaves early does so long before, however busy the machine is


@pytest.fixture(scope="module")
def server(simulated_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    timing = ["--ttft-ms", str(1000 * TTFT_S), "--token-ms", str(1000 * TOKEN_S)]
    package = simulated_package(*timing, "--max-batch-size", "256", "--max-waiting", "64")
    with serving(package, tmp_path_factory.mktemp("loadtest")) as server:
        yield server


@pytest.fixture(scope="module")
def front(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with fronting(server, tmp_path_factory.mktemp("front")) as front:
        yield front


def url_for(user: str, server: Server, front: Front) -> str:
    return {"grpc_stream": server.grpc_url, "openai_stream": f"{front.url}/v1"}.get(user, server.http_url)


def workload(tokens: int = TOKENS) -> str:
    """Requests for so many tokens."""
    return f'[workload]\nkind = "synthetic"\ninput_tokens = 32\noutput_tokens = {tokens}\nask = "[sim:random]"\n'


def run(directory: Path, url: str, text: str, *options: object, tokens: int = TOKENS, **fields: object) -> list[Sample]:
    """Run a scenario to its end; its samples in the order in which they should have been sent."""
    results = directory / f"results-{len(list(directory.iterdir()))}"
    scenario = scenario_file(directory, url, text + workload(tokens), **{"duration_s": 2.0, **fields})
    done = bench("run", scenario, "-o", results, *options)
    assert done.returncode == 0, done.stderr
    return sorted(read_run(results)[1], key=lambda sample: sample.intended_s)


def ttft_s(sample: Sample) -> float:
    assert sample.first_token_s is not None
    return sample.first_token_s - sample.intended_s


def itl_s(sample: Sample) -> float:
    first, last = sample.arrivals[0], sample.arrivals[-1]
    return (last.at_s - first.at_s) / (last.output_tokens - first.output_tokens)


def close_to(value: float) -> object:
    """From 0.85 times as much to 1.45 times: a busy machine adds to it, and what is measured wrong is further off."""
    return pytest.approx(1.15 * value, abs=0.3 * value)


def measured(measure: Callable[[], list[Sample]], ttft: object, itl: object) -> list[Sample]:
    """Samples with such medians. Whoever else uses the machine may spoil a measurement, but not three."""
    for _ in range(3):
        samples = measure()
        found = (median(map(ttft_s, samples)), median(map(itl_s, samples)))
        if found == (ttft, itl):
            return samples
    pytest.fail(f"the medians of TTFT and ITL are {found}, expected {(ttft, itl)}")


# Users who start together ask together, and wait for each other in the server.
@pytest.mark.parametrize(
    ("user", "arrivals"),
    [
        ("grpc_stream", poisson(8)),
        ("grpc_stream", closed(8) + "ramp_up_s = 1.0\n"),
        ("http_stream", poisson(8)),
        ("openai_stream", poisson(8)),
    ],
)
def test_known_times_are_reported(user: str, arrivals: str, server: Server, front: Front, tmp_path: Path) -> None:
    url = url_for(user, server, front)
    samples = measured(lambda: run(tmp_path, url, arrivals, user=user), close_to(TTFT_S), close_to(TOKEN_S))
    assert len(samples) > 10
    assert {(sample.outcome, sample.output_tokens, sample.counted) for sample in samples} == {("ok", TOKENS, "each")}


def test_who_waits_for_the_whole_answer_sees_it_when_it_is_whole(server: Server, tmp_path: Path) -> None:
    samples = run(tmp_path, server.http_url, closed(4), user="http_generate", duration_s=1.0)
    assert {(sample.outcome, sample.output_tokens) for sample in samples} == {("ok", TOKENS)}
    assert median(map(ttft_s, samples)) == close_to(TTFT_S + (TOKENS - 1) * TOKEN_S)


@pytest.mark.parametrize("user", ["grpc_stream", "http_generate", "openai_stream"])
def test_users_who_leave_free_the_engine(user: str, server: Server, front: Front, tmp_path: Path) -> None:
    url = url_for(user, server, front)
    cancel = "[cancel]\nshare = 1.0\nafter_s = 0.5\n"
    samples = run(tmp_path, url, poisson(20) + cancel, tokens=LONG, user=user, duration_s=1.0, drain_s=30.0)
    assert {sample.outcome for sample in samples} == {"cancelled"}
    took = [sample.ended_s - sample.started_s for sample in samples]
    assert min(took) > 0.4
    assert median(took) < LONG * TOKEN_S / 2
    wait_until(lambda: server.metric("nemotron_requests_in_flight") == 0, LONG * TOKEN_S / 2)


def paused(server: Server, directory: Path, *loads: str) -> Iterator[list[Sample]]:
    """The samples of runs of four seconds side by side, in the middle of which the server stands still."""
    results, processes = [], []
    for number, load in enumerate(loads):
        results.append(directory / str(number))
        results[-1].mkdir()
        scenario = scenario_file(results[-1], server.grpc_url, load + workload(), duration_s=4.0)
        processes.append(start_bench("run", scenario, "-o", results[-1]))
    for path in results:
        wait_for(path)
    pid = server.info["triton_pid"]
    os.kill(pid, signal.SIGSTOP)
    again = threading.Timer(PAUSE_S, os.kill, [pid, signal.SIGCONT])
    again.start()
    ends = [process.communicate(timeout=90) for process in processes]
    again.join()
    for process, (_, errors), path in zip(processes, ends, results, strict=True):
        assert process.returncode == 0, errors
        yield sorted(read_run(path)[1], key=lambda sample: sample.intended_s)


def late(samples: list[Sample]) -> list[Sample]:
    return [sample for sample in samples if ttft_s(sample) > 3 * TTFT_S]


def test_an_open_loop_shows_a_pause_that_a_closed_loop_hardly_sees(server: Server, tmp_path: Path) -> None:
    users, schedule = paused(server, tmp_path, closed(3), '[arrivals]\nkind = "constant"\nrate = 20.0\n')
    assert [sample.intended_s for sample in schedule] == pytest.approx([number / 20 for number in range(80)])
    assert median(sample.started_s - sample.intended_s for sample in schedule) < 0.3
    # Whoever came in the pause has waited for its end.
    assert len(late(schedule)) >= 20 * (PAUSE_S - 3 * TTFT_S)
    assert max(map(ttft_s, schedule)) > PAUSE_S
    # A user waits for its answer, and asks nothing more meanwhile: one late request each, or two by bad luck.
    assert len(late(users)) <= 6


def test_several_processes_send_what_one_does(server: Server, tmp_path: Path) -> None:
    def sent(*options: object) -> list[Sample]:
        return measured(
            lambda: run(tmp_path, server.grpc_url, poisson(16), *options), close_to(TTFT_S), close_to(TOKEN_S)
        )

    alone, together = sent(), sent("--processes", 2)
    assert [sample.intended_s for sample in together] == [sample.intended_s for sample in alone]
    assert [sample.prompt_tokens for sample in together] == [sample.prompt_tokens for sample in alone]
    assert [sample.worker for sample in together] == ["01"[number % 2] for number in range(len(together))]
