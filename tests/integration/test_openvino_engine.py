"""The suite of every engine on the real one, with the demo model."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import msgspec
import psutil
import pytest
from tokenizers import Tokenizer

from nemotron_serving.engine import Engine, Sampling, open_engine
from nemotron_serving.errors import EngineError, PackageError
from nemotron_serving.host import HostOptions
from nemotron_serving.package import Manifest, Package, ServingConfig, write_package
from tests.unit.serving.engine.suite import EngineSuite
from tests.unit.serving.support import Deltas, eventually


@pytest.fixture(scope="module")
def package(demo_package: Path) -> Package:
    return Package.load(demo_package)


@pytest.fixture(scope="module")
def options(package: Package) -> HostOptions:
    return HostOptions(package=package.path, kv_cache_gib=1, engine_threads=1)


@pytest.fixture(scope="module")
def engine(package: Package, options: HostOptions) -> Iterator[Engine]:
    engine = open_engine(package, options)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def tokenizer(package: Package) -> Tokenizer:
    loaded: Tokenizer = Tokenizer.from_file(str(package.tokenizer_path))
    return loaded


@pytest.fixture(scope="module")
def prompt(tokenizer: Tokenizer) -> list[int]:
    ids: list[int] = tokenizer.encode("Once upon a time, in a small village by the sea,", add_special_tokens=False).ids
    return ids


class TestSuite(EngineSuite):
    stop_token_ids: ClassVar[frozenset[int]] = frozenset((0, 2))
    thread_name: ClassVar[str] = "nemotron-openvino"

    def test_close(self, package: Package, options: HostOptions, prompt: list[int]) -> None:
        before = processes()
        self.check_close(open_engine(package, options), prompt)
        assert processes() == before

    def test_an_engine_that_dies_fails_its_requests_and_takes_no_more(
        self, package: Package, options: HostOptions, prompt: list[int]
    ) -> None:
        before = processes()
        engine = open_engine(package, options)
        deltas = Deltas()
        engine.submit(self.request(1, prompt, self.endless), deltas)
        assert eventually(lambda: len(deltas.all) > 1, 30)
        for number in processes() - before:
            psutil.Process(number).kill()
        assert deltas.wait().error == "The engine's process ended unexpectedly."
        with pytest.raises(EngineError):
            engine.submit(self.request(2, prompt, 1), Deltas())
        assert self.idle(engine)
        engine.close()

    def test_a_stop_token_ends_the_output_where_it_would_stand(self, engine: Engine, prompt: list[int]) -> None:
        free = self.run(engine, self.request(1, prompt, 12)).ids
        stop = free[6]
        stopped = self.run(engine, self.request(2, prompt, 12, stop_token_ids=self.stop_token_ids | {stop}))
        assert stopped.ids == free[: free.index(stop)]
        assert stopped.all[-1].finish_reason == "stop"

    def test_a_grammar_that_cannot_be_read_fails_its_request_alone(self, engine: Engine, prompt: list[int]) -> None:
        beside = Deltas()
        engine.submit(self.request(1, prompt, 40), beside)
        unreadable = self.run(engine, self.request(2, prompt, 4, guide='root ::= "a" )'))
        assert unreadable.all[-1].error and not unreadable.ids
        assert beside.wait().error is None
        assert self.run(engine, self.request(3, prompt, 4, guide='root ::= "a" "b"')).all[-1].error is None

    def test_min_p_leaves_out_what_is_much_less_probable_than_the_first(
        self, engine: Engine, prompt: list[int]
    ) -> None:
        greedy = self.run(engine, self.request(1, prompt, 8)).ids
        sampled = [
            [
                self.run(engine, self.request(seed, prompt, 8, Sampling(temperature=1.0, seed=seed, min_p=min_p))).ids
                for seed in (1, 2, 3)
            ]
            for min_p in (0.0, 1 - 2**-20, 1.0)
        ]
        assert sampled[0].count(greedy) < 3
        assert sampled[1:] == [[greedy] * 3] * 2

    def test_min_tokens_keeps_the_model_from_stopping(self, engine: Engine, prompt: list[int]) -> None:
        free = self.run(engine, self.request(1, prompt, 12)).ids
        stop = self.stop_token_ids | {free[2]}
        longer = self.run(engine, self.request(2, prompt, 8, Sampling(min_tokens=8), stop))
        assert len(longer.ids) == 8
        assert longer.ids[:2] == free[:2]
        assert free[2] not in longer.ids

    def test_the_model_ends_a_turn_or_the_limit_does(self, engine: Engine, tokenizer: Tokenizer) -> None:
        chat = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
        deltas = self.run(engine, self.request(1, tokenizer.encode(chat).ids, 200))
        assert deltas.ids and not self.stop_token_ids & set(deltas.ids)
        assert deltas.all[-1].finish_reason == ("length" if len(deltas.ids) == 200 else "stop")

    def test_greedy_output_does_not_depend_on_what_runs_beside_it(self, engine: Engine, prompt: list[int]) -> None:
        alone = self.run(engine, self.request(1, prompt, 12)).ids
        beside = Deltas()
        engine.submit(self.request(2, [*prompt, *prompt, 100], self.endless), beside)
        assert eventually(lambda: len(beside.all) > 1, 30)
        together = self.run(engine, self.request(3, prompt, 12)).ids
        engine.abort(2)
        assert together[:3] == alone[:3]

    def test_a_second_phase_takes_its_prompt_from_the_prefix_cache(self, engine: Engine) -> None:
        """The answer's prompt after a thinking budget: the first phase's, what came of it, and a closing tag."""
        took: dict[str, list[float]] = {"first": [], "second": []}
        for number in range(2):
            ids = [1000 + (number * 7919 + index * 31) % 40_000 for index in range(1500)]
            begin = time.monotonic()
            first = self.run(engine, self.request(1, ids, 4))
            took["first"].append(first.times[0] - begin)
            begin = time.monotonic()
            second = self.run(engine, self.request(2, ids + first.ids + ids[:7], 4))
            took["second"].append(second.times[0] - begin)
        # Some ten times less: one step instead of three, of a few tokens instead of 512.
        assert min(took["second"]) < min(took["first"]) / 3

    def test_a_short_prompt_does_not_wait_for_the_long_ones_before_it(self, engine: Engine) -> None:
        """OpenVINO processes prompts in their order; long ones go in parts, and others get in between."""
        long = [Deltas() for _ in range(4)]
        for number, deltas in enumerate(long, start=1):
            ids = [1000 + (number * 104_729 + index * 37) % 40_000 for index in range(1200)]
            engine.submit(self.request(number, ids, 2), deltas)
        short = self.run(engine, self.request(9, [1000, 2000, 3000], 2))
        for deltas in long:
            deltas.wait(120)
        assert sum(deltas.times[0] < short.times[0] for deltas in long) <= 1


def processes() -> set[int]:
    """The processes that this one has started and that still run."""
    return {child.pid for child in psutil.Process().children(recursive=True)}


Change = Callable[[Package, Path], tuple[Manifest, ServingConfig]]


def of_another_release(package: Package, _: Path) -> tuple[Manifest, ServingConfig]:
    spec = msgspec.structs.replace(package.manifest.engine, version="2020.1.0.0")
    return msgspec.structs.replace(package.manifest, engine=spec), package.serving


def damaged(package: Package, copy: Path) -> tuple[Manifest, ServingConfig]:
    model = copy / "engine" / "openvino_model.xml"
    model.unlink()
    model.write_text("<net>")
    return package.manifest, package.serving


def too_long(package: Package, _: Path) -> tuple[Manifest, ServingConfig]:
    limits = msgspec.structs.replace(package.serving.limits, max_seq_len=50_000_000)
    return package.manifest, msgspec.structs.replace(package.serving, limits=limits)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (of_another_release, r"built with openvino 2020\.1\.0\.0, installed is"),
        (damaged, r"OpenVINO cannot load .*/engine: "),
        (too_long, r"A KV cache of 1 GiB holds \d+ tokens, the package promises 50000000"),
    ],
)
def test_a_package_that_does_not_fit_is_refused(package: Package, tmp_path: Path, change: Change, message: str) -> None:
    copy = tmp_path / "package"
    shutil.copytree(package.path, copy, copy_function=os.symlink)
    for name in ("manifest.json", "serving.json"):
        (copy / name).unlink()
    manifest, serving = change(package, copy)
    changed = write_package(copy, manifest, serving)
    before = processes()
    with pytest.raises(PackageError, match=message):
        open_engine(changed, HostOptions(package=copy, kv_cache_gib=1))
    assert processes() == before
