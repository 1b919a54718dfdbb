"""What every engine has to do.

A subclass with the fixtures `package`, `engine` and `prompt` runs the suite on its engine.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import ClassVar

import msgspec
import pytest
from tokenizers import Tokenizer

from nemotron_serving.contract import LIBRARY_OPTIONS, Option
from nemotron_serving.engine import Engine, EngineRequest, Feature, Sampling
from nemotron_serving.errors import EngineError
from nemotron_serving.package import Package
from tests.unit.serving.support import Deltas, eventually


class EngineSuite:
    """The tests. Prompts must not come to an end by themselves within `endless` tokens.

    Attributes:
        endless: Tokens of a request that certainly still runs while another thread looks.
        stop_token_ids: Of the model.
        thread_name: Name of the engine's thread.
    """

    endless: ClassVar[int] = 1000
    stop_token_ids: ClassVar[frozenset[int]]
    thread_name: ClassVar[str]

    @pytest.fixture(autouse=True)
    def _leaves_nothing_behind(self, engine: Engine) -> Iterator[None]:
        yield
        assert self.idle(engine), engine.stats()

    def request(
        self,
        request_id: int,
        prompt: list[int],
        max_tokens: int,
        sampling: Sampling | None = None,
        stop_token_ids: frozenset[int] | None = None,
        guide: str | None = None,
    ) -> EngineRequest:
        stop = self.stop_token_ids if stop_token_ids is None else stop_token_ids
        return EngineRequest(request_id, prompt, max_tokens, sampling or Sampling(), stop, guide)

    def run(self, engine: Engine, request: EngineRequest) -> Deltas:
        deltas = Deltas()
        engine.submit(request, deltas)
        deltas.wait()
        return deltas

    @staticmethod
    def idle(engine: Engine) -> bool:
        def nothing() -> bool:
            stats = engine.stats()
            return stats.running == stats.waiting == stats.kv_cache_used == 0

        return eventually(nothing)

    def test_tokens_come_and_then_exactly_one_final_delta(self, engine: Engine, prompt: list[int]) -> None:
        deltas = self.run(engine, self.request(1, prompt, 8))
        other = self.run(engine, self.request(2, prompt, 2))
        assert len(deltas.ids) == 8
        assert [bool(delta.finish_reason or delta.error) for delta in deltas.all] == (
            [False] * (len(deltas.all) - 1) + [True]
        )
        assert len(deltas.all) > 1
        assert len(other.ids) == 2

    @pytest.mark.parametrize("max_tokens", [1, 2, 5])
    def test_max_tokens_is_kept(self, engine: Engine, prompt: list[int], max_tokens: int) -> None:
        deltas = self.run(engine, self.request(1, prompt, max_tokens))
        assert len(deltas.ids) == max_tokens
        assert deltas.all[-1].finish_reason == "length"
        assert deltas.all[-1].error is None

    def test_the_prompt_is_not_echoed(self, engine: Engine, prompt: list[int]) -> None:
        deltas = self.run(engine, self.request(1, prompt, 3))
        assert len(deltas.ids) == 3
        assert deltas.ids != prompt[:3]

    def test_stop_tokens_are_never_part_of_the_output(self, engine: Engine, prompt: list[int]) -> None:
        free = self.run(engine, self.request(1, prompt, 8, Sampling(seed=1))).ids
        stop = self.stop_token_ids | {free[4], free[6]}
        stopped = self.run(engine, self.request(2, prompt, 8, Sampling(seed=1), stop))
        assert not stop & set(stopped.ids)
        assert stopped.all[-1].finish_reason in ("stop", "length")

    def test_equal_seeds_give_equal_tokens_and_others_do_not(self, engine: Engine, prompt: list[int]) -> None:
        runs = [
            self.run(engine, self.request(number, prompt, 16, Sampling(temperature=1.5, seed=seed))).ids
            for number, seed in enumerate([7, 7, 8], start=1)
        ]
        assert runs[0] == runs[1] != runs[2]

    def test_requests_without_a_seed_differ(self, engine: Engine, prompt: list[int]) -> None:
        runs = [
            self.run(engine, self.request(number, prompt, 16, Sampling(temperature=1.5))).ids for number in (1, 2, 3)
        ]
        assert runs[0] != runs[1] or runs[1] != runs[2]

    def test_abort_frees_the_place_and_nothing_follows(self, engine: Engine, prompt: list[int]) -> None:
        deltas = Deltas()
        engine.submit(self.request(1, prompt, self.endless), deltas)
        assert eventually(lambda: len(deltas.all) > 2, 30)
        assert engine.stats().running == 1
        assert eventually(lambda: engine.stats().kv_cache_used > 0), "the gauge may be a moment old"
        engine.abort(1)
        assert self.idle(engine)
        so_far = len(deltas.all)
        self.run(engine, self.request(2, prompt, 4))
        assert len(deltas.all) == so_far
        assert not deltas.ended

    def test_steps_grow_while_there_is_something_to_do(self, engine: Engine, prompt: list[int]) -> None:
        engine.submit(self.request(7, prompt, self.endless), Deltas())
        for _ in range(3):
            before = engine.stats().steps
            assert eventually(lambda before=before: engine.stats().steps > before, 30)  # type: ignore[misc]
        engine.abort(7)

    def test_an_id_can_be_used_again(self, engine: Engine, prompt: list[int]) -> None:
        first = self.run(engine, self.request(1, prompt, 3))
        again = self.run(engine, self.request(1, prompt, 4))
        assert (len(first.ids), len(again.ids)) == (3, 4)

    def test_aborting_what_is_not_there_changes_nothing(self, engine: Engine, prompt: list[int]) -> None:
        engine.abort(99)
        deltas = self.run(engine, self.request(1, prompt, 3))
        engine.abort(1)
        assert len(deltas.ids) == 3
        assert self.idle(engine)

    def test_many_at_once_and_a_short_one_overtakes_a_long_one(self, engine: Engine, prompt: list[int]) -> None:
        long = [Deltas() for _ in range(3)]
        for number, deltas in enumerate(long, start=1):
            engine.submit(self.request(number, [*prompt, number + 100], self.endless), deltas)
        assert eventually(lambda: all(len(deltas.all) > 1 for deltas in long), 30)
        assert engine.stats().running == 3
        short = self.run(engine, self.request(9, prompt, 4))
        assert len(short.ids) == 4
        assert not any(deltas.ended for deltas in long)
        # None of them stood still meanwhile.
        so_far = [len(deltas.ids) for deltas in long]
        assert eventually(lambda: all(len(one.ids) > before for one, before in zip(long, so_far, strict=True)), 30)
        for number in range(1, 4):
            engine.abort(number)
        assert self.idle(engine)

    def test_limits_are_those_of_the_package(self, engine: Engine) -> None:
        assert engine.limits.max_batch_size >= 4
        assert engine.limits.kv_cache_tokens >= engine.limits.max_seq_len > self.endless

    def test_tokens_of_the_prefix_cache_are_told_once_if_at_all(self, engine: Engine, prompt: list[int]) -> None:
        deltas = self.run(engine, self.request(1, prompt * 8, 4))
        told = [delta.cached_tokens for delta in deltas.all]
        assert told[0] is None or 0 <= told[0] <= len(prompt) * 8
        assert set(told[1:]) <= {None}

    @pytest.mark.parametrize("option", LIBRARY_OPTIONS, ids=lambda option: option.name)
    def test_what_is_handed_on_by_name_is_taken(self, engine: Engine, prompt: list[int], option: Option) -> None:
        assert option.feature is not None and option.range is not None
        self.needs(engine, option.feature)
        for number, value in enumerate(option.range, 1):
            sampling = msgspec.structs.replace(Sampling(temperature=1.0, seed=1), **{option.name: value})
            deltas = self.run(engine, self.request(number, prompt, 4, sampling))
            assert deltas.all[-1].error is None
            assert len(deltas.ids) == 4 or deltas.all[-1].finish_reason == "stop"

    def test_a_guide_shapes_the_output_and_ends_it(self, engine: Engine, prompt: list[int], package: Package) -> None:
        self.needs(engine, "guided_decoding")
        deltas = self.run(engine, self.request(1, prompt, 20, guide='root ::= "yes"'))
        assert Tokenizer.from_file(str(package.tokenizer_path)).decode(deltas.ids) == "yes"
        assert deltas.all[-1].finish_reason == "stop"

    def test_a_biased_logit_wins_or_loses(self, engine: Engine, prompt: list[int]) -> None:
        self.needs(engine, "logit_bias")
        free = self.run(engine, self.request(1, prompt, 4)).ids
        assert self.run(engine, self.request(2, prompt, 4, Sampling(logit_bias={free[2]: 100}))).ids == [free[2]] * 4
        assert free[0] not in self.run(engine, self.request(3, prompt, 4, Sampling(logit_bias={free[0]: -100}))).ids

    def test_bad_words_do_not_come(self, engine: Engine, prompt: list[int], package: Package) -> None:
        self.needs(engine, "bad_words")
        tokenizer = Tokenizer.from_file(str(package.tokenizer_path))
        free = self.run(engine, self.request(1, prompt, 8)).ids
        word = next(text for token in free if (text := tokenizer.decode([token]).strip()).isascii() and text)
        clean = self.run(engine, self.request(2, prompt, 8, Sampling(bad_words=(word,)))).ids
        assert clean
        assert word not in tokenizer.decode(clean)

    def test_each_token_has_its_log_probability(self, engine: Engine, prompt: list[int]) -> None:
        self.needs(engine, "logprobs")
        deltas = self.run(engine, self.request(1, prompt, 6, Sampling(logprobs=0)))
        logprobs = [one for delta in deltas.all for one in delta.logprobs]
        assert [len(delta.logprobs) for delta in deltas.all] == [len(delta.token_ids) for delta in deltas.all]
        assert len(logprobs) == 6
        assert all(one.logprob <= 0 and one.top == () for one in logprobs)

    def test_the_most_probable_tokens_come_in_order(self, engine: Engine, prompt: list[int]) -> None:
        self.needs(engine, "top_logprobs")
        deltas = self.run(engine, self.request(1, prompt, 6, Sampling(logprobs=3)))
        logprobs = [one for delta in deltas.all for one in delta.logprobs]
        assert len(logprobs) == len(deltas.ids)
        for token, one in zip(deltas.ids, logprobs, strict=True):
            values = [value for _, value in one.top]
            assert len(values) == 3
            assert values == sorted(values, reverse=True)
            assert one.top[0] == (token, one.logprob)  # greedy

    @staticmethod
    def needs(engine: Engine, feature: Feature) -> None:
        if feature not in engine.features:
            pytest.skip(f"this engine has no {feature}")

    def check_close(self, engine: Engine, prompt: list[int]) -> None:
        """Closes the engine in the middle of a request; for a test that may use up an engine."""
        deltas = Deltas()
        engine.submit(self.request(1, prompt, self.endless), deltas)
        assert eventually(lambda: len(deltas.all) > 1, 30)
        before = self.threads()
        engine.close()
        assert self.threads() == before - 1
        with pytest.raises(EngineError, match=r"^The engine was closed"):
            engine.submit(self.request(2, prompt, 1), deltas)
        stats = engine.stats()
        assert (stats.running, stats.waiting) == (0, 0)
        engine.abort(1)
        so_far = len(deltas.all)
        assert not eventually(lambda: len(deltas.all) > so_far, 0.1)
        assert not deltas.ended

    def threads(self) -> int:
        return sum(thread.name == self.thread_name for thread in threading.enumerate())
