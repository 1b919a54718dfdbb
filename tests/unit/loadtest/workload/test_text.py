"""Texts made to measure, measured with real tokenizers."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from nemotron_loadtest.errors import ScenarioError
from nemotron_loadtest.workload.material import sentences
from nemotron_loadtest.workload.text import BYTES_PER_TOKEN, Measure, TextMaker, measure_of

ENDINGS = ["", "[sim:random]", "Write about this at length."]


@pytest.fixture(scope="module", params=["llama3", "bytes", "estimate"])
def measure(request: pytest.FixtureRequest, llama3_package: Path, byte_package: Path) -> Measure:
    package = {"llama3": str(llama3_package), "bytes": str(byte_package), "estimate": None}[request.param]
    return measure_of(package)


@pytest.fixture(scope="module")
def maker(measure: Measure) -> TextMaker:
    return TextMaker(measure.count)


@pytest.mark.parametrize("ending", ENDINGS)
def test_texts_have_the_length_asked_for(maker: TextMaker, measure: Measure, ending: str) -> None:
    random = Random(2)
    for tokens in [*range(1, 60), 100, 511, 512, 513, 2048, 5000, 20_000]:
        text = maker.text(tokens, random, ending=ending)
        assert measure.count(text) == pytest.approx(max(tokens, measure.count(ending)), abs=2), text[-80:]
        assert text.endswith(ending)


def test_parts_add_up(maker: TextMaker, measure: Measure) -> None:
    random = Random(3)
    first, cost = maker.part(700, random, first=True)
    assert measure.count(first) == pytest.approx(cost, abs=0.01)
    second, more = maker.part(300, random, first=False)
    assert measure.count(f"{first} {second}") == pytest.approx(cost + more, abs=0.01)
    assert 698 <= cost <= 700
    assert maker.part(-5, random, first=True) == ("", 0)


def test_the_same_chance_gives_the_same_text(maker: TextMaker) -> None:
    assert maker.text(200, Random("a")) == maker.text(200, Random("a"))
    assert maker.text(200, Random("a")) != maker.text(200, Random("b"))


def test_texts_begin_differently_so_that_no_cache_helps_unasked(maker: TextMaker) -> None:
    starts = {maker.text(1024, Random(seed))[:330] for seed in range(500)}
    assert len(starts) == 500


def test_the_estimate_is_that_of_llama_3(llama3_package: Path) -> None:
    count = measure_of(str(llama3_package)).count
    text = TextMaker(count).text(20_000, Random(1))
    assert len(text.encode()) / count(text) == pytest.approx(BYTES_PER_TOKEN, rel=0.03)


def test_sentences_are_sentences() -> None:
    made = sentences()
    assert len(set(made)) == len(made) == 1024
    assert all(sentence[0].isupper() and sentence.endswith(".") and "{" not in sentence for sentence in made)
    assert made == sentences()


def test_control_tokens_in_texts_are_text(llama3_package: Path) -> None:
    assert measure_of(str(llama3_package)).count("<|eot_id|>") > 1


def test_what_measures_is_said(byte_package: Path, tmp_path: Path) -> None:
    assert measure_of(str(byte_package)).description == f"tokenizer of {byte_package}"
    assert measure_of(None).description.startswith("estimated at 5.1 bytes a token")
    with pytest.raises(ScenarioError, match=r"tokenizer.json: there is no such file; package names the directory"):
        measure_of(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ScenarioError, match=r"tokenizer.json is no tokenizer: .*Build the package again"):
        measure_of(str(tmp_path))
