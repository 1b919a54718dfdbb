"""Summaries: what is in the window, what is apart, what does not depend on who sent it."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemotron_loadtest.analysis import BUILT_IN, Summary, summarise, timeline
from nemotron_loadtest.errors import LoadTestError
from nemotron_loadtest.metrics import Traffic, Window
from nemotron_loadtest.samples import Sample
from tests.unit.loadtest.analysis.queues import PaperServer, open_loop
from tests.unit.loadtest.metrics.making import at_rate, made


def test_the_warm_up_is_dropped_by_intended_start() -> None:
    early = made((11.0, 1), intended_s=9.9, started_s=10.5)
    late = made((40.0, 1), intended_s=19.9, started_s=30.0)
    after = made((21.0, 1), intended_s=20.0)
    summary = summarise([early, late, after], Window(10, 20))
    assert summary.before == 1
    assert summary.all.outcomes.requests == 1
    assert summary.all.distribution("ttft_ms").max == pytest.approx(20_100)
    assert summary.all.distribution("ttft_ms", "actual").max == pytest.approx(10_000)


def test_thinking_on_and_off_are_apart() -> None:
    on = made((10.5, 1), (14.0, 50), thinking=True, first_answer_s=12.0, reasoning_tokens=30)
    off = made((10.2, 1), (10.4, 5), first_answer_s=10.2)
    summary = summarise([on, off], Window(10, 20))
    counts = {thinking: group.outcomes.requests for thinking, group in summary.groups.items()}
    assert counts == {"all": 2, "on": 1, "off": 1}
    assert summary.groups["off"].distribution("e2e_ms").max == pytest.approx(400)
    assert summary.groups["on"].distribution("reasoning_tokens").mean == 30
    assert summary.groups["off"].distribution("reasoning_tokens").count == 0
    assert summary.groups["on"].figures["output_tokens_per_s"] == pytest.approx(5.0)


def test_every_token_has_its_gap() -> None:
    summary = summarise([made((10.5, 1), (10.9, 5), (11.0, 10))], Window(10, 20))
    gaps = summary.all.distribution("token_gap_ms")
    assert gaps.count == 9
    assert [gaps.max, gaps.p50] == pytest.approx([100, 20])


def test_there_is_no_goodput_without_an_slo() -> None:
    samples = [made((10.1, 1), (10.2, 5)), made((13.1, 1), (13.2, 5))]
    assert summarise(samples, Window(10, 20)).all.goodput is None
    found = summarise(samples, Window(10, 20), BUILT_IN["server"]).all.goodput
    assert found is not None
    assert (found.good, found.share) == (1, 0.5)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.randoms(use_true_random=False))
def test_workers_do_not_matter(workers: int, rng: random.Random) -> None:
    samples = open_loop(PaperServer(2, 0.1), rate_per_s=15, seconds=20)
    shares: list[list[Sample]] = [[] for _ in range(workers)]
    for sample in samples:
        shares[rng.randrange(workers)].append(sample)
    rng.shuffle(shares)
    merged = [sample for share in shares for sample in share]
    window = Window(5, 20)
    assert summarise(merged, window) == summarise(samples, window)


def test_an_empty_window_has_no_values_and_is_said_to_have_none() -> None:
    summary = summarise([], Window(0, 60))
    assert summary.all.figures["error_share"] is None
    assert summary.all.distribution("ttft_ms").mean is None
    assert summary.saturation.saturated is None
    assert not summary.steadiness.steady


def test_a_window_without_length_is_refused() -> None:
    with pytest.raises(LoadTestError, match="duration_s longer than warmup_s"):
        summarise([], Window(30, 30))


def test_it_travels_as_json() -> None:
    summary = summarise(at_rate(10, 60), Window(5, 60), BUILT_IN["interactive"])
    content = msgspec.json.encode(summary)
    assert msgspec.json.decode(content, type=Summary) == summary
    schema: dict[str, Any] = msgspec.json.schema(Summary)
    jsonschema.validate(json.loads(content), schema)


def test_a_timeline_has_what_happened_in_each_slice() -> None:
    slices = timeline(Traffic(at_rate(10, 30, took_s=0.5), Window(0, 30)), width_s=5)
    assert [part.start_s for part in slices] == [0, 5, 10, 15, 20, 25]
    for part in slices[1:]:
        assert part.requested_per_s == pytest.approx(10)
        assert part.requests_per_s == pytest.approx(10, rel=0.03)
        assert part.output_tokens_per_s == pytest.approx(100, rel=0.03)
        assert part.in_flight == pytest.approx(5)
        assert part.ttft_ms.p90 == pytest.approx(250)


def test_slices_are_not_shorter_than_a_second_unless_asked() -> None:
    assert len(timeline(Traffic([], Window(0, 5)))) == 5
    assert len(timeline(Traffic([], Window(0, 600)))) == 60
