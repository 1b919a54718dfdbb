from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from nemotron_serving.engine import Engine, EngineRequest, Sampling, open_engine
from nemotron_serving.engine.simulated import SIMULATED_CONFIG, Script, SimulatedConfig, SimulatedEngine
from nemotron_serving.errors import PackageError
from nemotron_serving.host import HostOptions
from nemotron_serving.package import Package, write_package
from tests.unit.serving.engine.suite import EngineSuite
from tests.unit.serving.support import (
    END_OF_TEXT,
    IM_END,
    Deltas,
    ids_of,
    make_package,
    manifest,
    serving_config,
    text_of,
)
from tests.virtual_clock import VirtualClock

STOP = frozenset((IM_END, END_OF_TEXT))
LONG_MS = 600_000  # nobody waits for it
SLOW = Script(match="slow", answer="00", ttft_ms=0, token_ms=LONG_MS)


class Simulated(SimulatedEngine):
    """An engine with a clock whose time passes while a test waits."""

    def __init__(self, package: Package) -> None:
        self.time = VirtualClock()
        super().__init__(package, self.time)


Start = Callable[..., Simulated]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return make_package(tmp_path_factory.mktemp("suite") / "package", engine={"token_ms": 2})


@pytest.fixture(scope="module")
def engine(package: Package) -> Iterator[Engine]:
    engine = open_engine(package, HostOptions(package=package.path))
    yield engine
    engine.close()


@pytest.fixture
def prompt() -> list[int]:
    return ids_of("Once upon a time")


class TestSuite(EngineSuite):
    stop_token_ids: ClassVar[frozenset[int]] = STOP
    thread_name: ClassVar[str] = "nemotron-simulated"

    def test_close(self, package: Package, prompt: list[int]) -> None:
        self.check_close(SimulatedEngine(package), prompt)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts engines with these scripts and fields of SimulatedConfig, and closes them."""
    engines: list[Simulated] = []

    def start(*scripts: Script, **engine: Any) -> Simulated:
        package = make_package(tmp_path / f"package-{len(engines)}", *scripts, engine=engine)
        engines.append(Simulated(package))
        return engines[-1]

    yield start
    for engine in engines:
        engine.close()


def submit(engine: Simulated, request_id: int, prompt: str = "Hi", max_tokens: int = 100, **sampling: Any) -> Deltas:
    deltas = Deltas(engine.time)
    engine.submit(EngineRequest(request_id, ids_of(prompt), max_tokens, Sampling(**sampling), STOP), deltas)
    return deltas


def run(engine: Simulated, prompt: str = "Hi", max_tokens: int = 100, request_id: int = 1, **sampling: Any) -> Deltas:
    deltas = submit(engine, request_id, prompt, max_tokens, **sampling)
    deltas.wait()
    return deltas


def test_the_first_script_that_matches_is_played(start: Start) -> None:
    engine = start(Script(match="weather|rain", answer="Sunny."), Script(match="", answer="I cannot say."))
    assert text_of(run(engine, "Will it rain?").ids) == "Sunny."
    assert text_of(run(engine, "Will it snow?").ids) == "I cannot say."


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Hi<think>\n", "Two and two.\n</think>\n\nFour."),
        ("Hi", "Four."),
        ("Hi<think>\nTwo and\n</think>\n\n", "Four."),
        ("<think>A</think> and <think>\n", "Two and two.\n</think>\n\nFour."),
    ],
)
def test_thinking_is_played_where_the_prompt_opened_it(start: Start, prompt: str, expected: str) -> None:
    engine = start(Script(match="", thinking="Two and two.", answer="Four."))
    deltas = run(engine, prompt)
    assert text_of(deltas.ids) == expected
    assert deltas.all[-1].finish_reason == "stop"


def test_an_answer_is_cut_at_max_tokens(start: Start) -> None:
    deltas = run(start(Script(match="", answer="Four.")), max_tokens=3)
    assert (text_of(deltas.ids), deltas.all[-1].finish_reason) == ("Fou", "length")


def test_repeats_of_a_prompt_get_the_answers_of_their_seeds(start: Start) -> None:
    engine = start(Script(match="", answer="One.", seeds=(1, 11)), Script(match="", answer="Any."))
    answers = {seed: text_of(run(engine, seed=seed, request_id=seed or 99).ids) for seed in (1, 2, 11, None)}
    assert answers == {1: "One.", 2: "Any.", 11: "One.", None: "Any."}


def test_a_script_that_fails(start: Start) -> None:
    deltas = run(start(Script(match="", answer="Four.", fail_after_tokens=3)))
    assert text_of(deltas.ids) == "Fou"
    assert deltas.all[-1].error == "The script fails after 3 tokens."
    assert [delta.error for delta in deltas.all[:-1]] == [None] * 3


def test_a_script_that_fails_leaves_the_others_alone(start: Start) -> None:
    engine = start(
        Script(match="bad", answer="Four.", fail_after_tokens=0), Script(match="", answer="Five."), token_ms=2
    )
    good, bad = submit(engine, 1, "good"), submit(engine, 2, "bad")
    assert bad.wait().error == "The script fails after 0 tokens."
    assert good.wait().error is None
    assert text_of(good.ids) == "Five."


def test_a_script_that_stalls(start: Start) -> None:
    engine = start(Script(match="", answer="Four.", stall_after_tokens=2, stall_ms=300))
    begin = engine.time.monotonic()
    deltas = run(engine)
    assert text_of(deltas.ids) == "Four."
    assert deltas.times[2] - begin == pytest.approx(0.3)


def test_a_script_stalls_behind_the_token_that_it_names(start: Start) -> None:
    engine = start(Script(match="", answer="Four.", stall_after_tokens=2, stall_ms=LONG_MS))
    deltas = submit(engine, 1)
    assert engine.time.run_until(lambda: len(deltas.ids) == 2)
    assert text_of(run(engine, request_id=2, max_tokens=2).ids) == text_of(deltas.ids) == "Fo"


@pytest.mark.parametrize("scripts", [(), (Script(match=""),), (Script(match="other", answer="A"),)])
def test_without_a_text_tokens_are_random_up_to_max_tokens(start: Start, scripts: tuple[Script, ...]) -> None:
    deltas = run(start(*scripts), max_tokens=300, seed=5)
    assert len(deltas.ids) == 300
    assert deltas.all[-1].finish_reason == "length"
    assert len(set(deltas.ids)) > 100
    assert all(IM_END < token < 259 for token in deltas.ids)


def test_ttft_and_token_times_are_those_of_the_package(start: Start) -> None:
    engine = start(Script(match="", answer="0123456789"), ttft_ms=200, token_ms=20)
    begin = engine.time.monotonic()
    deltas = run(engine)
    assert deltas.times[0] - begin == pytest.approx(0.2)
    assert deltas.times[10] - begin == pytest.approx(0.4)  # ten tokens, then the end


def test_a_scripts_own_times_replace_those_of_the_package(start: Start) -> None:
    engine = start(Script(match="", answer="0123456789", ttft_ms=0, token_ms=0), ttft_ms=LONG_MS, token_ms=LONG_MS)
    run(engine)


def test_each_further_request_slows_all_of_them_down(start: Start) -> None:
    engine = start(Script(match="", answer="0" * 20), token_ms=5, slowdown=1)
    begin = engine.time.monotonic()
    together = [submit(engine, number) for number in range(4)]
    for deltas in together:
        deltas.wait()
    # A token in 5 ms from one of them alone, one in 10 ms from each of two, and so on: 80 in all.
    assert engine.time.monotonic() - begin > 0.39


def test_requests_beyond_the_batch_wait_their_turn(start: Start) -> None:
    engine = start(SLOW, Script(match="", answer="0" * 20), max_batch_size=2)
    slow = [submit(engine, number, "slow") for number in range(2)]
    quick = [submit(engine, number) for number in range(2, 5)]
    assert engine.time.run_until(lambda: engine.stats().running == 2 and engine.stats().waiting == 3)
    engine.abort(4)
    assert engine.time.run_until(lambda: engine.stats().waiting == 2)
    assert [deltas.all for deltas in quick] == [[], [], []]
    engine.abort(0)
    for deltas in quick[:2]:
        deltas.wait()
    assert quick[0].times[-1] <= quick[1].times[0]
    assert quick[2].all == []
    assert not slow[1].ended


def test_a_request_waits_for_room_in_the_kv_cache(start: Start) -> None:
    engine = start(SLOW, Script(match="", answer="0" * 20), kv_cache_tokens=2048)
    submit(engine, 1, "slow", max_tokens=1500)
    second = submit(engine, 2, max_tokens=1500)
    assert engine.time.run_until(lambda: engine.stats().running == 1 and engine.stats().waiting == 1)
    assert engine.stats().kv_cache_used == pytest.approx(1504 / 2048)
    assert second.all == []
    engine.abort(1)
    second.wait()


def test_a_kv_cache_below_one_sequence_is_refused(start: Start) -> None:
    with pytest.raises(PackageError, match=r"kv_cache_tokens 2047 is below the package's max_seq_len 2048"):
        start(kv_cache_tokens=2047)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"colour": 1}'])
def test_a_configuration_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes) -> None:
    path = make_package(tmp_path / "package").path
    (path / "engine" / SIMULATED_CONFIG).write_bytes(content)
    package = write_package(path, manifest(), serving_config())
    with pytest.raises(PackageError, match=r"simulated\.json cannot be used: .*Build the package again"):
        SimulatedEngine(package)


def test_an_engine_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    path = make_package(tmp_path / "package").path
    package = write_package(path, manifest(kind="abacus"), serving_config())
    with pytest.raises(
        PackageError, match="engine kind 'abacus' is not known here, expected 'openvino', 'simulated' or 'tensorrt_llm'"
    ):
        open_engine(package, HostOptions(package=path))


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ({"match": "("}, r"match '\(' is not a regular expression"),
        ({"match": "", "fail_after_tokens": -1}, "fail_after_tokens is -1, expected a finite number of at least 0"),
        ({"match": "", "stall_ms": 5}, "stall_ms needs stall_after_tokens"),
        ({"match": "", "thinking": "Hm.", "as_is": True}, "as_is plays the answer alone"),
        ({"match": "", "colour": 1}, "unknown field `colour`"),
        ({"answer": "A"}, "missing required field `match`"),
    ],
)
def test_scripts_that_make_no_sense_are_refused(script: dict[str, Any], problem: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=problem):
        msgspec.convert(script, Script)


@pytest.mark.parametrize(
    "change", [{"token_ms": -1}, {"ttft_ms": float("inf")}, {"slowdown": float("nan")}, {"max_batch_size": 0}]
)
def test_sizes_and_times_that_make_no_sense_are_refused(change: dict[str, float]) -> None:
    values: dict[str, Any] = {"max_batch_size": 1, "max_seq_len": 1, "kv_cache_tokens": 1, "vocab_size": 1}
    SimulatedConfig(**values, scripts=())
    with pytest.raises(ValueError, match=f"{next(iter(change))} is .*, expected a finite number of at least"):
        SimulatedConfig(**{**values, "scripts": (), **change})


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("system\n\ndetailed thinking onuser\n\nHiassistant\n\n", "<think>\nHm.\n</think>\n\nHello."),
        ("system\n\ndetailed thinking offuser\n\nHiassistant\n\n<think>\n</think>", "Hello."),
        ("system\n\ndetailed thinking onuser\n\nHiassistant\n\n<think>\nHm.\n</think>\n\n", "Hello."),
        ("system\n\ndetailed thinking onuser\n\nHiassistant\n\n<think>\n", "Hm.\n</think>\n\nHello."),
        ("user\n\ndetailed thinking onassistant\n\n", "Hello."),
    ],
)
def test_a_model_that_is_switched_by_its_system_prompt(tmp_path: Path, prompt: str, expected: str) -> None:
    script = Script(match="", thinking="Hm.", answer="Hello.")
    engine = Simulated(make_package(tmp_path / "package", script, system_on="detailed thinking on"))
    assert text_of(run(engine, prompt).ids) == expected
    engine.close()


def test_an_answer_as_it_is_has_no_block_in_front(tmp_path: Path) -> None:
    script = Script(match="", answer="Hm. </think>Hello.", as_is=True)
    engine = Simulated(make_package(tmp_path / "package", script, system_on="detailed thinking on"))
    assert text_of(run(engine, "system\n\ndetailed thinking onuser\n\nHiassistant\n\n").ids) == script.answer
    engine.close()


def test_log_probabilities_are_those_of_the_scripts_choice(start: Start) -> None:
    scripted = run(start(Script(match="", answer="Hello.")), logprobs=0)
    assert [one.logprob for delta in scripted.all for one in delta.logprobs] == [0.0] * len("Hello.")
    chosen = run(start(Script(match="")), max_tokens=5, logprobs=0)
    assert [one.logprob for delta in chosen.all for one in delta.logprobs] == [-math.log(256)] * 5
    assert run(start(Script(match="")), max_tokens=5).all[0].logprobs == ()
