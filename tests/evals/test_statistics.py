"""The formulas by hand, their properties, and how often they are wrong where the truth is known."""

from __future__ import annotations

import math
from functools import cache
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemotron_evals import statistics
from nemotron_evals.card import Benchmark, Metric, Mode
from tests.evals import streams

TABLES = st.integers(1, 4).flatmap(
    lambda repeats: st.lists(
        st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=repeats, max_size=repeats), min_size=2, max_size=12
    )
)
RUNS = 2000
P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=20)


def test_intervals_by_hand() -> None:
    """Question means 1, ½, 0, ½: sd = √(1/6), and two questions have a variance of ½ each."""
    scores = [[1, 1], [0, 1], [0, 0], [1, 0]]
    assert statistics.score(scores) == 0.5
    half = 1.959964 * math.sqrt(1 / 6) / 2
    of_model = statistics.generalisation(scores)
    assert (of_model.low, of_model.high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-6)
    # V = (0 + ½ + 0 + ½) / 4 = ¼, less than what 4 pairs without a difference would leave: (1 - 0.05^¼) / 2 = 0.264.
    half = 1.959964 * math.sqrt((1 - 0.05**0.25) / 2 / 8)
    again = statistics.same_questions(scores)
    assert again is not None
    assert (again.low, again.high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-6)


def test_noise_by_hand() -> None:
    """Four repeats with one wrong have a variance of ¼, and there are 20 such questions among 40."""
    scores = [[1, 1, 1, 0]] * 20 + [[1, 1, 1, 1]] * 20
    assert statistics.noise(scores) == pytest.approx(0.125)


def test_instructions_are_all_followed_over_all_asked() -> None:
    """One of one followed and one of three: 2 of 4, not the mean of the shares, ⅔."""
    scores, weights = [[1.0], [1 / 3]], [1.0, 3.0]
    assert statistics.score(scores, weights) == pytest.approx(2 / 4)
    # u = ½ and 3/2, so u·(m - ½) = ¼ and -¼: sd = √2/4, and over √2 that is ¼.
    assert statistics.generalisation(scores, weights).half_width == pytest.approx(statistics.Z / 4)
    assert statistics.paired_differences(scores, [[0.0], [1 / 3]], weights).mean() == pytest.approx(-1 / 4)


@pytest.mark.parametrize(("count", "bound"), [(30, 0.095), (500, 0.006), (2251, 0.00133)])
def test_none_of_so_many_leaves_a_share_possible(count: int, bound: float) -> None:
    assert statistics.unseen_share(count) == pytest.approx(bound, abs=5e-4)
    assert (1 - statistics.unseen_share(count)) ** count == pytest.approx(0.05)


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("repeats", [1, 2, 16])
def test_equal_scores_have_the_exact_bound_however_often_they_were_repeated(value: float, repeats: int) -> None:
    scores = [[value] * repeats] * 30
    found = statistics.generalisation(scores)
    assert (found.low, found.high) == pytest.approx((0.905, 1.0) if value else (0.0, 0.095), abs=5e-4)
    assert found.exact
    assert statistics.same_questions(scores) == (None if repeats == 1 else found)


def test_a_difference_by_hand() -> None:
    """V = ⅛ as above: SE = √(⅛·(¼ + ⅓)/40), and half a digit of rounding comes on top."""
    scores = [[1, 1, 1, 0]] * 20 + [[1, 1, 1, 1]] * 20
    found = statistics.difference(scores, 0.954, card_repeats=3, rounding=0.0005)
    error = math.sqrt(0.125 * (1 / 4 + 1 / 3) / 40)
    assert found.difference == pytest.approx(0.875 - 0.954)
    assert found.half_width == pytest.approx(1.959964 * error + 0.0005, abs=1e-7)
    assert found.p == pytest.approx(2 * NormalDist().cdf(-(0.079 - 0.0005) / error))
    assert found.measured


def test_a_card_without_noise_of_its_own_would_make_false_alarms() -> None:
    """At as many runs as ours the true half width is √2 wider, so that 17 % would lie outside the one without."""
    ours = [[1, 0, 1, 1]] * 50
    with_noise = statistics.difference(ours, 0.75, card_repeats=4, rounding=0)
    without = statistics.difference(ours, 0.75, card_repeats=10**9, rounding=0)
    assert with_noise.half_width == pytest.approx(math.sqrt(2) * without.half_width, rel=1e-6)
    assert 2 * NormalDist().cdf(-statistics.Z / math.sqrt(2)) == pytest.approx(0.166, abs=1e-3)


def test_nothing_right_where_the_card_has_nothing_right_is_no_difference_within_the_bound() -> None:
    found = statistics.difference([[0, 0]] * 30, 0.0, card_repeats=1, rounding=0.0005)
    assert found.difference == 0
    assert found.half_width == pytest.approx(0.095 + 0.0005, abs=5e-4)
    assert found.p == 1


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_server_that_is_always_wrong_or_always_right_differs(value: float) -> None:
    found = statistics.difference([[value] * 2] * 198, 0.394, card_repeats=1, rounding=0.0005)
    assert abs(found.difference) > found.half_width
    assert found.p < 1e-6


def test_answers_that_never_flipped_are_not_taken_for_answers_that_never_will() -> None:
    """Two questions of 500 more than the card, without a flip seen: no difference."""
    scores = [[1.0, 1.0]] * 185 + [[0.0, 0.0]] * 315
    found = statistics.difference(scores, 0.366, card_repeats=1, rounding=0.0005)
    assert found.difference == pytest.approx(0.004)
    assert found.half_width > 0.004
    assert found.p > 0.05


def test_one_repeat_cannot_measure_noise_and_makes_none_up() -> None:
    """The variance over the questions, p·(1 - p), takes its place, and is said to."""
    found = statistics.difference([[1.0]] * 60 + [[0.0]] * 40, 0.6, card_repeats=1, rounding=0)
    assert not found.measured
    assert found.noise == pytest.approx(0.24 * 100 / 99)
    assert found.half_width == pytest.approx(statistics.Z * math.sqrt(found.noise * 2 / 100))


@pytest.mark.parametrize(
    ("scores", "weights"), [([[1.0]] * 5, [0.1, 0.2, 0.3, 0.1, 0.2]), ([[0.5]] * 5, None), ([[8.0]], None)]
)
def test_equal_scores_of_one_repeat_are_not_without_noise(scores: list[list[float]], weights: list[float]) -> None:
    """Also where weights make the sum differ from 1 in its last digits."""
    found = statistics.difference(scores, scores[0][0], card_repeats=1, rounding=0, weights=weights)
    assert found.half_width > 0.3
    assert found.p > 0.99


@settings(deadline=None)
@given(TABLES)
def test_a_score_lies_in_its_intervals_and_they_within_the_scale(table: list[list[float]]) -> None:
    value = statistics.score(table)
    for interval in (statistics.generalisation(table), statistics.same_questions(table)):
        if interval is not None:
            assert 0 <= interval.low <= value + 1e-12
            assert value - 1e-12 <= interval.high <= 1
            assert interval.high > interval.low


@settings(deadline=None)
@given(TABLES)
def test_the_order_of_questions_and_repeats_changes_nothing(table: list[list[float]]) -> None:
    turned = [list(reversed(row)) for row in reversed(table)]
    for of in (statistics.score, lambda some: statistics.generalisation(some).half_width):
        assert of(turned) == pytest.approx(of(table))
    if len(table[0]) > 1:
        assert statistics.noise(turned) == pytest.approx(statistics.noise(table))


@settings(deadline=None)
@given(TABLES, st.floats(0, 1), st.floats(0.1, 10))
def test_weights_count_by_their_ratios_alone(table: list[list[float]], card: float, factor: float) -> None:
    weights = [float(1 + number % 3) for number in range(len(table))]
    some, same = (
        statistics.difference(table, card, card_repeats=2, rounding=0.0005, weights=[one * by for one in weights])
        for by in (1.0, factor)
    )
    assert (some.difference, some.half_width, some.p) == pytest.approx((same.difference, same.half_width, same.p))


@settings(deadline=None)
@given(TABLES, st.floats(0, 1), st.integers(1, 16))
def test_a_difference_beyond_its_half_width_is_one_with_p_below_five_per_cent(
    table: list[list[float]], card: float, card_repeats: int
) -> None:
    found = statistics.difference(table, card, card_repeats=card_repeats, rounding=0.0005)
    assert 0 <= found.p <= 1
    assert found.half_width > 0
    if any(value != table[0][0] for row in table for value in row):
        assert (abs(found.difference) > found.half_width + 1e-12) <= (found.p < 0.05)
        assert (abs(found.difference) < found.half_width - 1e-12) <= (found.p > 0.05)


@settings(deadline=None)
@given(P_VALUES)
def test_holm_keeps_the_order_and_makes_nothing_surer(p_values: list[float]) -> None:
    adjusted = statistics.holm(p_values)
    assert all(p <= after <= 1 for p, after in zip(p_values, adjusted, strict=True))
    ordered = sorted(range(len(p_values)), key=lambda at: p_values[at])
    assert [adjusted[at] for at in ordered] == sorted(adjusted)
    assert min(adjusted) == pytest.approx(min(1, min(p_values) * len(p_values)))


def test_holm_by_hand() -> None:
    """Holm's own way: 0.01·4, 0.02·3, 0.03·2 (no less than 0.06), 0.2."""
    assert statistics.holm([0.03, 0.01, 0.2, 0.02]) == pytest.approx([0.06, 0.04, 0.2, 0.06])
    assert statistics.holm([]) == []


@pytest.mark.parametrize(
    ("lost", "gained", "p"), [(0, 0, 1.0), (5, 0, 2 / 32), (0, 5, 2 / 32), (8, 2, 2 * 56 / 1024), (3, 3, 1.0)]
)
def test_mcnemar_by_hand(lost: int, gained: int, p: float) -> None:
    assert statistics.mcnemar(lost, gained) == pytest.approx(p)


def test_mcnemar_against_a_margin() -> None:
    """Of 40 that differ among 500, a loss of 2 points is 25 lost and 15 gained: ⅝ of them."""
    assert statistics.mcnemar_below(30, 10, 500, 0.0) == pytest.approx(statistics.mcnemar(30, 10) / 2)
    exact = sum(math.comb(40, n) * (5 / 8) ** n * (3 / 8) ** (40 - n) for n in range(30, 41))
    assert statistics.mcnemar_below(30, 10, 500, 0.02) == pytest.approx(exact)
    assert statistics.mcnemar_below(30, 10, 500, 0.10) == 1  # more than all that differ
    assert statistics.mcnemar_below(0, 0, 500, 0.02) == 1


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.floats(0, 1))
def test_a_binomial_tail_is_a_share_that_falls(successes: int, trials: int, chance: float) -> None:
    here, further = (statistics.binomial_tail(n, trials, chance) for n in (successes, successes + 1))
    assert 0 <= further <= here + 1e-12 <= 1 + 2e-12


@settings(deadline=None)
@given(st.floats(0.001, 0.25), st.integers(1, 3000), st.integers(1, 16), st.floats(0.001, 0.2))
def test_the_repeats_that_decide_do_and_one_fewer_does_not(v: float, questions: int, of_card: int, far: float) -> None:
    def half(repeats: float) -> float:
        return statistics.Z * math.sqrt(v * (1 / repeats + 1 / of_card) / questions)

    repeats = statistics.deciding_repeats(v, questions, of_card, far, statistics.Z)
    if repeats is None:
        assert half(1e9) >= far * (1 - 1e-6)
    else:
        assert half(repeats) <= far * (1 + 1e-6)
        assert repeats == 1 or half(repeats - 1) > far * (1 - 1e-6)


def test_paired_differences_without_a_difference_keep_the_exact_bound() -> None:
    found = statistics.paired(np.zeros(500))
    assert (found.mean, found.low) == pytest.approx((0, -statistics.unseen_share(500)))


@pytest.mark.parametrize(
    ("of", "metric", "mode"),
    [
        pytest.param(of, metric, mode, id=f"{of.name}-{metric.name}-{mode}")
        for of, metric, mode in streams.MACHINE_SCORED
        if metric.card[mode] > 0
    ],
)
def test_a_perfect_reproduction_differs_in_three_to_seven_of_a_hundred_runs(
    of: Benchmark, metric: Metric, mode: Mode
) -> None:
    """Of the 95 % interval of one figure, before Holm.

    2,000 runs from a fixed seed: the share is known to within 0.5 points (one standard error), and the same every time.
    """
    alarms = sum(p < statistics.ALPHA for p in false_alarms(of.name, metric.name, mode))
    print(f"{of.name} {metric.name} {mode}: {100 * alarms / RUNS:.1f} % false alarms")
    assert 0.03 <= alarms / RUNS <= 0.07


def test_where_all_is_wrong_a_perfect_reproduction_never_differs() -> None:
    """AIME with thinking off, 0 %: the exact bound is no normal interval, so nothing is near 5 %."""
    assert all(p == 1 for p in false_alarms("aime25", "accuracy", "off"))


def test_a_perfect_reproduction_of_the_table_has_a_false_alarm_in_at_most_one_of_twenty() -> None:
    """Holm over the fourteen figures; without it, about half of all tables would have one.

    2,000 tables from a fixed seed: known to within 0.5 points, and the same every time. 6,000 of them gave 4.5 %.
    """
    columns = [false_alarms(of.name, metric.name, mode) for of, metric, mode in streams.MACHINE_SCORED]
    tables = list(zip(*columns, strict=True))
    alone = sum(min(table) < statistics.ALPHA for table in tables) / RUNS
    together = sum(min(statistics.holm(table)) < statistics.ALPHA for table in tables) / RUNS
    print(f"tables with a false alarm: {100 * alone:.1f} % before Holm, {100 * together:.1f} % after")
    assert alone > 0.3
    assert together <= 0.05


@cache
def false_alarms(benchmark: str, figure: str, mode: Mode) -> list[float]:
    """p values of perfect reproductions: the card's runs and ours ask the same questions of the same model."""
    place, of, metric = next(
        (at, of, metric)
        for at, (of, metric, which) in enumerate(streams.MACHINE_SCORED)
        if (of.name, metric.name, which) == (benchmark, figure, mode)
    )
    random = np.random.default_rng([place, 17])
    weights = random.integers(1, 4, of.questions).astype(np.float64) if figure == "instruction" else None
    found = []
    for _ in range(RUNS):
        chance = streams.chances(random, of, mode, streams.card_mean(metric, mode))
        card, ours = (
            streams.answers(random, chance, repeats)
            if weights is None
            else streams.instructions(random, chance, weights, repeats)
            for repeats in (of.card_repeats[mode], of.repeats[mode])
        )
        printed = round(statistics.score(card, weights), 3)
        difference = statistics.difference(
            ours, printed, card_repeats=of.card_repeats[mode], rounding=0.0005, weights=weights
        )
        found.append(difference.p)
    return found
