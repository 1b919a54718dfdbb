"""What one request has, worked out by hand."""

from __future__ import annotations

import pytest

from nemotron_loadtest.metrics import METRICS, Gaps, Latency, PerRequest
from nemotron_loadtest.samples import Sample
from tests.unit.loadtest.metrics.making import made

# Wanted at 10.0, sent at 10.1; one token at 10.5, four more at 10.9, five more at 11.0, the end at 11.05.
# The first six tokens are thinking.
THOUGHT = made(
    (10.5, 1),
    (10.9, 5),
    (11.0, 10),
    started_s=10.1,
    ended_s=11.05,
    first_answer_s=11.0,
    thinking=True,
    reasoning_tokens=6,
)


def of(name: str, sample: Sample) -> float | None:
    metric = METRICS[name]
    assert isinstance(metric, PerRequest)
    return metric.of(sample)


def gaps(name: str, sample: Sample) -> tuple[list[float], list[int]]:
    """In milliseconds, and how often each counts."""
    metric = METRICS[name]
    assert isinstance(metric, Gaps)
    pairs = list(metric.of(sample))
    return [round(gap, 6) for gap, _ in pairs], [tokens for _, tokens in pairs]


@pytest.mark.parametrize(
    ("name", "response_ms", "service_ms"),
    [("ttft_ms", 500, 400), ("first_answer_ms", 1000, 900), ("e2e_ms", 1050, 950)],
)
def test_latencies_from_both_starts(name: str, response_ms: float, service_ms: float) -> None:
    metric = METRICS[name]
    assert isinstance(metric, Latency)
    assert metric.of(THOUGHT, "intended") == pytest.approx(response_ms)
    assert metric.of(THOUGHT, "actual") == pytest.approx(service_ms)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("thinking_time_ms", 500),
        ("itl_ms", 500 / 9),
        ("tpot_ms", 550 / 9),
        ("request_tokens_per_s", 10 / 0.95),
        ("schedule_delay_ms", 100),
        ("prompt_tokens", 100),
        ("output_tokens", 10),
        ("reasoning_tokens", 6),
        ("thinking_share", 0.6),
    ],
)
def test_values_of_a_request(name: str, value: float) -> None:
    assert of(name, THOUGHT) == pytest.approx(value)


def test_a_gap_is_divided_over_the_tokens_that_ended_it() -> None:
    assert gaps("token_gap_ms", THOUGHT) == ([100, 20], [4, 5])


def test_a_gap_between_responses_is_not_divided() -> None:
    assert gaps("response_gap_ms", THOUGHT) == ([400, 100], [1, 1])


def test_the_gaps_of_tokens_add_up_to_the_mean_of_the_request() -> None:
    found, tokens = gaps("token_gap_ms", THOUGHT)
    total = sum(gap * count for gap, count in zip(found, tokens, strict=True))
    assert total / sum(tokens) == pytest.approx(of("itl_ms", THOUGHT))


def test_a_first_response_of_several_tokens_does_not_make_the_rest_fast() -> None:
    sample = made((10.5, 5), (10.9, 9))
    assert of("itl_ms", sample) == pytest.approx(100)
    assert of("tpot_ms", sample) == pytest.approx(50)  # MLPerf's definition divides by all but one.


def test_a_response_without_tokens_joins_the_wait_for_the_next() -> None:
    assert gaps("token_gap_ms", made((10.5, 1), (10.7, 1), (10.9, 3))) == ([200], [2])


@pytest.mark.parametrize(
    ("name", "sample"),
    [
        ("itl_ms", made((10.5, 1))),
        ("itl_ms", made((10.5, 8))),
        ("itl_ms", made()),
        ("tpot_ms", made((10.5, 1))),
        ("tpot_ms", made((10.5, 1), (10.9, 5), outcome="cancelled")),
        ("tpot_ms", made((10.9, 5), user="http_generate")),
        ("thinking_time_ms", made((10.5, 1), (10.9, 5), first_answer_s=10.5)),
        ("thinking_time_ms", made((10.5, 1), (10.9, 5), thinking=True, reasoning_tokens=5)),
        ("request_tokens_per_s", made((10.5, 1), outcome="error")),
        ("prompt_tokens", made(prompt_tokens=0)),
        ("output_tokens", made((10.5, 1), outcome="incomplete")),
        ("reasoning_tokens", made((10.5, 1))),
        ("thinking_share", made(thinking=True)),
    ],
)
def test_what_a_request_does_not_have_is_none(name: str, sample: Sample) -> None:
    assert of(name, sample) is None


def test_the_first_token_counts_whatever_became_of_the_request() -> None:
    metric = METRICS["ttft_ms"]
    assert isinstance(metric, Latency)
    for outcome in ("ok", "error", "cancelled", "incomplete"):
        assert metric.of(made((10.5, 1), outcome=outcome), "intended") == pytest.approx(500)
    assert metric.of(made(outcome="error"), "intended") is None


def test_a_user_that_does_not_stream_sees_no_first_token_but_an_end() -> None:
    sample = made((11.0, 10), first_answer_s=11.0, user="http_generate")
    for name, value in (("ttft_ms", None), ("first_answer_ms", None), ("e2e_ms", pytest.approx(1000))):
        metric = METRICS[name]
        assert isinstance(metric, Latency)
        assert metric.of(sample, "intended") == value


def test_end_to_end_is_of_whole_answers() -> None:
    metric = METRICS["e2e_ms"]
    assert isinstance(metric, Latency)
    assert metric.of(made((10.5, 1), outcome="cancelled"), "intended") is None
