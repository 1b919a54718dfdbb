"""`nemotron-eval run` against an endpoint that plays a script: the command itself, as people start it."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from nemotron_evals import results
from nemotron_evals.endpoint import connect
from nemotron_evals.results import Measured, Results
from tests.evals import rows
from tests.evals.scripted import MODEL, PACKAGE, Answer, Scripted, scripted, toggle, user
from tests.waiting import wait_until

PATIENCE_S = 800  # of a machine on which much else runs; a run of all takes 20 s
pytestmark = pytest.mark.timeout(900)
COMMAND = [sys.executable, "-m", "nemotron_evals", "run"]


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    return {**kept, **more}


def run(*arguments: str | Path, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        cwd=cwd,
        env=environment(**variables),
    )


@contextmanager
def started(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE_S)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rows.write(tmp_path_factory.mktemp("rows"))


def plays(body: dict[str, Any]) -> Answer:
    """Each row's answer, most of them in a way that has misled some harness."""
    text = user(body)
    striped = re.search(r"([A-D])\. striped", text)
    if "impartial judge" in text or "### Assistant A" in text:
        return Answer("I cannot rate that." if "Double it" in text else "Rating: [[8]]")
    if striped:
        return Answer(f"\\boxed{{{striped[1]}}} {rows.CANARY}", f"{rows.CANARY} \\boxed{{E}}", tokens=11)
    answers = {
        "one half": Answer("\\boxed{3}? No: \\boxed{0.50}", "it is \\boxed{71}", tokens=5),
        "seven times ten": Answer("<think>surely \\boxed{70}", finish_reason="length", tokens=100),
        "100 + 4": Answer("no opener \\boxed{5}</think>\n\n\\boxed{104}"),
        "Which angle": Answer(f"cannot do {len(text)}", status=400),
        "Greet me": Answer("Hello there. How are you, friend?"),
        "Weather in Rome": Answer(calls=[("weather.get", '{"city": "Rome"}')], finish_reason="tool_calls"),
        "Who wrote Faust": Answer("Goethe did."),
        "adds two numbers": Answer("```python\ndef add(a, b):\n    return a + b\nassert add(1, 1) == 3\n```"),
        "Write a line": Answer("A line.", "thinking of a line"),
    }
    return next((answer for part, answer in answers.items() if part in text), Answer("Something."))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Iterator[dict[str, Any]]:
    """One run of all seven benchmarks, both modes, two repeats, with a judge and with keys."""
    directory = tmp_path_factory.mktemp("whole")
    (directory / ".env").write_text("OPENAI_API_KEY=of-somebody-else\nNEMOTRON_JUDGE_API_KEY=of-somebody-else\n")
    (directory / "key").write_text("judge-secret\n")
    with scripted(plays) as endpoint, scripted(plays, models=("gpt-4-0613", "other")) as judge:
        done = run(
            *(endpoint.url, "--data", data, "-o", "run", "--repeats", "2", "--judge", judge.url),
            *("--judge-model", "gpt-4-0613", "--judge-key-file", "key"),
            cwd=directory,
            NEMOTRON_API_KEY="endpoint-secret",
            INSPECT_EVAL_MAX_TOKENS="5",
        )
        assert done.returncode == 0, done.stderr
        yield {"done": done, "run": directory / "run", "endpoint": endpoint, "judge": judge}


def measured(found: Results, name: str, mode: str = "on") -> Measured:
    return next(one for one in found.measured if (one.benchmark, one.thinking) == (name, mode))


def scores(found: Results, name: str, mode: str = "on") -> list[list[list[float]]]:
    return [metric.scores for metric in measured(found, name, mode).metrics]


def test_every_answer_has_the_score_that_it_deserves(whole: dict[str, Any]) -> None:
    found = results.read(whole["run"])
    for mode in ("on", "off"):
        assert scores(found, "math500", mode) == [[[1, 1], [0, 0]]]
        assert scores(found, "aime25", mode) == [[[1, 1], [0, 0]]]
        assert scores(found, "gpqa", mode) == [[[1, 1]]]
        assert scores(found, "ifeval", mode) == [[[0, 0]], [[0.5, 0.5]]]
        assert scores(found, "bfcl", mode) == [[[1, 1], [1, 1]]]
        assert scores(found, "mbpp", mode) == [[[1, 1]]]
        assert scores(found, "mtbench", mode) == [[[8, 8], [1, 1]]]
    assert measured(found, "ifeval").metrics[1].weights == [2]
    assert measured(found, "bfcl").categories == ["simple", "irrelevance"]


def test_what_failed_counts_and_is_counted(whole: dict[str, Any]) -> None:
    found = results.read(whole["run"])
    assert {one.benchmark: one.failed for one in found.measured} == {
        "math500": 0,
        "aime25": 2,  # which the endpoint refused
        "gpqa": 0,
        "ifeval": 0,
        "bfcl": 0,
        "mbpp": 0,
        "mtbench": 2,  # which the judge did not rate
    }
    assert all(one.expected == 2 * len(one.questions) for one in found.measured)


def test_overlong_answers_and_tokens_are_told_by_question_and_repeat(whole: dict[str, Any]) -> None:
    math = measured(results.read(whole["run"]), "math500")
    assert math.overlong == [[False, False], [True, True]]
    assert math.output_tokens == [[5, 5], [100, 100]]
    assert math.notes == {"boxes_differ": 2}
    assert measured(results.read(whole["run"]), "mtbench").output_tokens == [[14, 14], [14, 14]]


def test_who_was_asked_and_who_judged_is_in_the_results(whole: dict[str, Any]) -> None:
    found = results.read(whole["run"])
    assert (found.url, found.model, found.package) == (whole["endpoint"].url, MODEL, PACKAGE)
    assert found.judge == f"gpt-4-0613 at {whole['judge'].url}"
    assert found.limit is None
    assert found.versions["inspect-ai"]
    assert found.started <= found.finished
    assert found.hours > 0


def test_each_question_and_repeat_is_asked_once_with_a_seed_of_its_own(whole: dict[str, Any]) -> None:
    endpoint: Scripted = whole["endpoint"]
    refused = {key for key in endpoint.times() if "Which angle" in key[1]}
    assert refused
    assert set(endpoint.times().values()) == {1}
    halves = [body for body in endpoint.asked if "one half" in user(body)]
    assert sorted(toggle(body) for body in halves) == ["detailed thinking off"] * 2 + ["detailed thinking on"] * 2
    assert len({body["seed"] for body in halves}) == 2  # by question and repeat, the same in both modes


def test_requests_have_the_cards_settings(whole: dict[str, Any]) -> None:
    for body in whole["endpoint"].asked:
        sampling = (0.6, 0.95) if toggle(body) == "detailed thinking on" else (0.0, 1.0)
        assert (body["temperature"], body["top_p"]) == sampling
        assert body["max_tokens"] == 32768
        assert body["stream"] is True
        assert body["stream_options"] == {"include_usage": True}
        assert "tools" not in body


def test_the_second_turn_has_the_first_answer_without_its_thinking(whole: dict[str, Any]) -> None:
    second = next(body for body in whole["endpoint"].asked if user(body) == "Rewrite it.")
    assert [(one["role"], one["content"]) for one in second["messages"][1:]] == [
        ("user", "Write a line."),
        ("assistant", "A line."),
        ("user", "Rewrite it."),
    ]
    assert "thinking of" not in json.dumps(second)


def test_the_judge_has_the_reference_where_there_is_one(whole: dict[str, Any]) -> None:
    texts = [user(body) for body in whole["judge"].asked]
    assert any("### Reference answer:\n6" in text for text in texts)
    assert any("Write a line." in text and "Reference" not in text for text in texts)
    assert all(body["temperature"] == 0 for body in whole["judge"].asked)


def test_keys_reach_who_they_are_for_and_no_file(whole: dict[str, Any]) -> None:
    assert whole["endpoint"].keys == {"Bearer endpoint-secret"}
    assert whole["judge"].keys == {"Bearer judge-secret"}
    for path in whole["run"].rglob("*"):
        if path.is_file():
            assert b"-secret" not in unpacked(path)
    assert "-secret" not in whole["done"].stdout + whole["done"].stderr


def test_private_rows_are_in_private_logs_alone(whole: dict[str, Any]) -> None:
    directory: Path = whole["run"]
    assert rows.CANARY not in whole["done"].stdout + whole["done"].stderr
    public = [path for path in directory.rglob("*") if path.is_file() and "logs" not in path.parts]
    assert directory / "results.json" in public
    assert not any(rows.CANARY.encode() in unpacked(path) for path in public)
    logs = directory / "logs"
    assert any(rows.CANARY.encode() in unpacked(path) for path in logs.rglob("*.eval"))  # where it is
    assert stat.S_IMODE(logs.stat().st_mode) == 0o700
    assert (logs / ".gitignore").read_text() == "*\n"


def test_texts_are_there_for_the_report_but_for_private_ones(whole: dict[str, Any]) -> None:
    from nemotron_evals.logs import samples

    (first, *_) = samples(whole["run"], "math500", "on")
    assert (first.question, first.repeat, first.values) == ("half", 0, {"accuracy": 1.0})
    assert (first.reasoning, first.answer) == ("it is \\boxed{71}", "\\boxed{3}? No: \\boxed{0.50}")
    assert "What is one half?" in first.prompt
    failed = [one for one in samples(whole["run"], "aime25", "on") if one.failed]
    assert len(failed) == 2
    assert all("cannot do" in one.explanation for one in failed)
    assert list(samples(whole["run"], "gpqa", "on")) == []


def test_the_terminal_has_progress_and_scores_and_no_noise(whole: dict[str, Any]) -> None:
    done = whole["done"]
    assert re.search(r"^aime25-on \d/4, all \d+/44.*to go$", done.stderr, re.MULTILINE)
    assert re.search(r", all 44/44, .*, done$", done.stderr, re.MULTILINE)
    assert "Traceback" not in done.stderr
    assert len(re.findall(r" +(?:on|off) .* not comparable$", done.stdout, re.MULTILINE)) == 16
    assert "inspect" not in done.stdout


def unpacked(path: Path) -> bytes:
    """A file's bytes; of one of Inspect's logs, what is packed in it."""
    if path.suffix != ".eval":
        return path.read_bytes()
    import_module("zipfile_zstd")  # teaches zipfile how Inspect's logs are packed
    with zipfile.ZipFile(path) as archive:
        return b"".join(archive.read(name) for name in archive.namelist())


def test_a_killed_run_goes_on_and_asks_nothing_twice(tmp_path: Path, data: Path) -> None:
    """Killed twice: what is taken over from the first log has to outlive the second kill, too."""
    with scripted(plays) as endpoint:
        command = [endpoint.url, "--data", str(data), "-o", str(tmp_path / "run"), "--tasks", "math500"]
        command += ["--thinking", "on", "--repeats", "6", "--concurrency", "1"]
        for count in (4, 7):
            hold_at(endpoint, count)
            with started(*command) as process:
                wait_until(endpoint.held.is_set, PATIENCE_S)
                process.kill()
                process.wait(PATIENCE_S)
            endpoint.go_on.set()
        endpoint.script = plays
        done = run(*command)
        assert done.returncode == 0, done.stderr
        assert "Going on in" in done.stderr
        assert measured(results.read(tmp_path / "run"), "math500").failed == 0
        again = sum(endpoint.times().values()) - len(endpoint.times())
        assert (len(endpoint.times()), again) == (12, 2)  # what was being answered at each kill


def test_an_interrupted_run_ends_cleanly_and_another_cannot_begin_beside_it(tmp_path: Path, data: Path) -> None:
    with scripted(plays) as endpoint:
        command = [endpoint.url, "--data", str(data), "-o", str(tmp_path / "run"), "--tasks", "math500"]
        command += ["--thinking", "off"]
        hold_at(endpoint, 2)
        with started(*command) as process:
            wait_until(endpoint.held.is_set, PATIENCE_S)
            beside = run(*command)
            assert (beside.returncode, "another nemotron-eval is running in" in beside.stderr) == (2, True)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=PATIENCE_S)
        endpoint.go_on.set()
        assert process.returncode == 130
        assert said.splitlines()[-1] == "nemotron-eval: interrupted; the same command goes on"
        assert "Traceback" not in said
        assert not (tmp_path / "run" / "results.json").exists()


def test_a_run_is_not_mixed_with_another(tmp_path: Path, data: Path) -> None:
    """Other settings, other rows; and a directory that holds something else."""
    other = rows.write(tmp_path / "other")
    (other / "math500.jsonl").write_text("".join(f"{json.dumps({**row, 'answer': '2'})}\n" for row in rows.MATH))
    off = ["--thinking", "off"]
    with scripted(plays) as endpoint:
        command: list[str | Path] = [endpoint.url, "-o", tmp_path / "run", "--tasks", "math500", "--repeats", "1"]
        assert run(*command, "--data", data, *off).returncode == 0
        others: list[tuple[list[str | Path], str]] = [
            (["--data", data], "math500 (off), not math500 (on), math500 (off)"),
            (["--data", data, *off, "--limit", "1"], "limit none, not 1"),
            (["--data", data, *off, "--max-tokens", "9"], "32768 tokens, not of temperature 0, top_p 1 and 9 tokens"),
            (["--data", other, *off], "math500 with thinking off: other data (math500.jsonl, SHA-256"),
        ]
        for more, differs in others:
            done = run(*command, *more)
            assert (done.returncode, differs in done.stderr) == (2, True), done.stderr
            assert "was begun with" in done.stderr
        full = run(endpoint.url, "-o", data, "--tasks", "math500", "--data", data)
        assert (full.returncode, "is not empty and no run's directory" in full.stderr) == (2, True)
        assert len(endpoint.asked) == 2


def test_an_endpoint_that_is_full_ends_the_run_and_nothing_is_counted_as_wrong(tmp_path: Path, data: Path) -> None:
    def full(body: dict[str, Any]) -> Answer:
        return Answer("too many requests", status=429) if "seven" in user(body) else plays(body)

    with scripted(full) as endpoint:
        command: list[str | Path] = [endpoint.url, "--data", data, "-o", tmp_path / "run", "--tasks", "math500"]
        command += ["--repeats", "1", "--thinking", "off", "--concurrency", "1"]
        done = run(*command)
        assert done.returncode == 3
        assert re.search(
            r"too full for so many requests at once .*lower --concurrency\. What was answered", done.stderr
        )
        assert "Traceback" not in done.stderr
        assert len([body for body in endpoint.asked if "seven" in user(body)]) == 4  # with three retries, and no more
        endpoint.script = plays
        assert run(*command).returncode == 0
        assert measured(results.read(tmp_path / "run"), "math500", "off").failed == 0
        assert len([body for body in endpoint.asked if "one half" in user(body)]) == 1


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["http://127.0.0.1:9/v1"], 3, r"http://127\.0\.0\.1:9/v1 cannot be reached: .* Is it up"),
        (["gpu-1:9000"], 2, "'gpu-1:9000' is no URL: expected one such as http://"),
        (["http://me:key@127.0.0.1:9/v1"], 2, "a user in a URL ends in logs"),
        (["http://127.0.0.1:9/v1", "--tasks", "math50"], 2, "no benchmark 'math50'.*math500"),
        (["http://127.0.0.1:9/v1", "--thinking", "maybe"], 2, "--thinking 'maybe': expected on, off or on,off"),
        (["http://127.0.0.1:9/v1", "--tasks", "mtbench"], 2, "MT-Bench is rated by another model: name its endpoint"),
        (["http://127.0.0.1:9/v1", "--api-key-file", "nowhere"], 2, "the key file nowhere cannot be read"),
        (["http://127.0.0.1:9/v1", "--data", "nowhere"], 2, "--data nowhere: there is no such directory"),
        (["http://127.0.0.1:9/v1", "--limit", "0"], 2, "expected a whole number of at least 1"),
    ],
)
def test_a_mistake_is_told_in_a_line(
    tmp_path: Path, data: Path, arguments: list[str], status: int, message: str
) -> None:
    tasks = [] if "--tasks" in arguments else ["--tasks", "math500"]
    rows_at: list[str | Path] = [] if "--data" in arguments else ["--data", data]
    done = run(*arguments, *tasks, *rows_at, cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert re.search(message, done.stderr)
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_endpoint_of_another_kind_is_told(tmp_path: Path, data: Path) -> None:
    command: list[str | Path] = ["--data", data, "--tasks", "math500", "-o", tmp_path / "run"]
    with scripted(plays, usage=False) as endpoint:
        done = run(endpoint.url, *command)
        assert (done.returncode, "sends no usage with a stream" in done.stderr) == (3, True)
    with scripted(plays, models=("a", "b")) as endpoint:
        done = run(endpoint.url, *command)
        assert (done.returncode, "has 2 models: name one with --model: a, b" in done.stderr) == (2, True)
        done = run(endpoint.url, *command, "--model", "aa")
        assert (done.returncode, "has no model 'aa'" in done.stderr) == (2, True)
    assert not (tmp_path / "run").exists()


def test_names_of_one_model_are_no_choice() -> None:
    with scripted(plays, models=("short", "a-longer-name")) as endpoint:
        endpoint.root = "short"
        found = connect(f"{endpoint.url}/", None, "key")
        assert (found.url, found.model, found.package) == (endpoint.url, "short", PACKAGE)
        assert connect(endpoint.url, "a-longer-name", "key").model == "a-longer-name"


def hold_at(endpoint: Scripted, count: int) -> None:
    """Do not answer the question of that number, until `go_on`; `held` says that it was asked."""
    endpoint.held, endpoint.go_on = threading.Event(), threading.Event()
    held, go_on = endpoint.held, endpoint.go_on

    def script(body: dict[str, Any]) -> Answer:
        if len(endpoint.asked) >= count:
            held.set()
            go_on.wait(PATIENCE_S)
        return plays(body)

    endpoint.script = script
