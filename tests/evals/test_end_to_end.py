"""nemotron-eval against the real server, whose simulated engine plays answers of known worth."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nemotron_evals import results
from nemotron_evals.card import CARD, Mode, benchmark
from nemotron_evals.demo import ROWS, expected, played, scripts
from nemotron_evals.results import Measured, Results
from tests.evals.servers import Endpoint, command, evaluate, serving, simulated
from tests.waiting import wait_until

# On a machine that does much else; alone, each takes less than half a minute.
pytestmark = pytest.mark.timeout(1800)

PLAYED = played()
CONCURRENCY = 8
MODES: tuple[Mode, ...] = ("on", "off")


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """Plays the demo's answers, and the judge."""
    directory = tmp_path_factory.mktemp("simulated")
    with serving(simulated(directory, scripts(PLAYED)), directory) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def run_directory(endpoint: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all benchmarks in both modes."""
    directory = tmp_path_factory.mktemp("runs") / "all"
    judge = ("--judge", endpoint.url, "--judge-model", "simulated")
    ran = evaluate("run", endpoint.url, "-o", directory, *asked(), *judge)
    assert ran.returncode == 0, ran.stderr
    return directory


@pytest.fixture(scope="module")
def run(run_directory: Path) -> Results:
    return results.read(run_directory)


def asked(*options: str) -> tuple[str, ...]:
    return ("--data", str(ROWS), "--model", "simulated", "--concurrency", str(CONCURRENCY), *options)


def found(run: Results, name: str, mode: Mode) -> Measured:
    return next(one for one in run.measured if (one.benchmark, one.thinking) == (name, mode))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [one.name for one in CARD])
def test_each_answer_gets_what_it_should(run: Results, name: str, mode: Mode) -> None:
    one = found(run, name, mode)
    assert one.repeats == benchmark(name).repeats[mode]
    answers = expected(PLAYED, name, mode, one.repeats)
    assert one.expected == len(one.questions) * one.repeats
    for at, metric in enumerate(benchmark(name).metrics):
        scored = next(scored for scored in one.metrics if scored.name == metric.name)
        told = [[f"{answer.scores[at]} {answer.why}" for answer in row] for row in answers]
        got = [
            [f"{score} {answer.why}" for score, answer in zip(scores, row, strict=True)]
            for scores, row in zip(scored.scores, answers, strict=True)
        ]
        assert got == told
    assert one.overlong == [[answer.overlong for answer in row] for row in answers]
    assert one.failed == sum(answer.failed for row in answers for answer in row)


def test_tokens_are_those_of_the_usage(run: Results) -> None:
    for one in run.measured:
        assert len(one.output_tokens) == len(one.questions)
        assert all(tokens > 0 for row in one.output_tokens for tokens in row)
    unclosed = found(run, "math500", "on")
    assert max(map(max, unclosed.output_tokens)) == unclosed.settings.max_tokens == 32768


def test_several_boxes_are_counted(run: Results) -> None:
    assert found(run, "math500", "on").notes["boxes_differ"] == benchmark("math500").repeats["on"]


def test_what_was_asked_is_in_the_results(run: Results, endpoint: Endpoint) -> None:
    assert (run.url, run.model, run.package, run.limit) == (endpoint.url, "simulated", "simulated", None)
    assert run.judge == f"simulated at {endpoint.url}"
    assert {one.settings.temperature for one in run.measured if one.thinking == "on"} == {0.6}
    assert {one.settings.temperature for one in run.measured if one.thinking == "off"} == {0.0}


def test_the_same_command_again_asks_no_question(run_directory: Path, run: Results, endpoint: Endpoint) -> None:
    before = endpoint.answers
    judge = ("--judge", endpoint.url, "--judge-model", "simulated")
    ran = evaluate("run", endpoint.url, "-o", run_directory, *asked(), *judge)
    assert ran.returncode == 0, ran.stderr
    # One request of each endpoint, for what it says it serves.
    assert endpoint.answers == before + 2
    assert results.read(run_directory).measured == run.measured


def test_the_report_has_the_table_and_a_page_without_gpqa(run_directory: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    ran = evaluate("report", run_directory, "-o", page)
    assert ran.returncode == 0, ran.stderr
    for one in CARD:
        assert one.title in ran.stdout
    texts = [ran.stdout, ran.stderr, page.read_text(), (run_directory / results.NAME).read_text()]
    for word in ("Mercury", "Photosynthesis", "nearest to the Sun"):
        assert not any(word in text for text in texts)


def test_a_run_that_is_killed_goes_on_and_asks_nothing_twice(tmp_path: Path) -> None:
    # 8 ms a token: the 26 samples below take a while, and are asked two at a time.
    package = simulated(tmp_path, scripts(PLAYED), "--token-ms", "8")
    directory = tmp_path / "run"
    options = ("--data", ROWS, "--model", "simulated", "--tasks", "ifeval,bfcl", "--thinking", "on", "--concurrency", 2)
    with serving(package, tmp_path) as endpoint:
        arguments = ("run", endpoint.url, "-o", directory, *options)
        process = subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: endpoint.answers >= 6, 200)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        killed_at = endpoint.answers
        samples = sum(
            len(expected(PLAYED, name, "on", 1)) * benchmark(name).repeats["on"] for name in ("ifeval", "bfcl")
        )
        assert killed_at < samples, "it was over before it was killed"
        assert not (directory / results.NAME).exists()
        ran = evaluate(*arguments)
        assert ran.returncode == 0, ran.stderr
        # Each run has a request for what is served. What was being asked when the first died is asked again, and no
        # more: two, and two whose answers it had not kept yet.
        assert samples + 2 <= endpoint.answers <= samples + 2 + 4
    for one in results.read(directory).measured:
        answers = expected(PLAYED, one.benchmark, "on", one.repeats)
        assert one.metrics[0].scores == [[answer.scores[0] for answer in row] for row in answers]


def test_errors_stay_in_the_denominator(tmp_path: Path) -> None:
    breaks = {"match": "largest prime of two digits", "answer": "It breaks.", "fail_after_tokens": 3}
    with serving(simulated(tmp_path, [breaks, *scripts(PLAYED)]), tmp_path) as endpoint:
        directory = tmp_path / "run"
        limits = ("--tasks", "aime25", "--thinking", "on", "--repeats", "1")
        ran = evaluate("run", endpoint.url, "-o", directory, *asked(*limits))
        assert ran.returncode == 0, ran.stderr
    one = found(results.read(directory), "aime25", "on")
    assert (one.expected, one.failed) == (3, 1)
    assert one.metrics[0].scores == [[1.0], [0.0], [0.0]]


def test_without_a_judge_nothing_is_asked(endpoint: Endpoint, tmp_path: Path) -> None:
    before = endpoint.answers
    ran = evaluate("run", endpoint.url, "-o", tmp_path / "run", *asked())
    assert ran.returncode == 2
    assert "--judge URL" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert endpoint.answers == before
