"""Verdicts of whole runs whose truth is known, and every reason not to compare."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from nemotron_evals.card import SETTINGS, Mode, benchmark
from nemotron_evals.results import Measured
from nemotron_evals.verdicts import Figure, judge
from tests.evals import streams

MATH, AIME, MT_BENCH = benchmark("math500"), benchmark("aime25"), benchmark("mtbench")


def right(share: float, *, questions: int = 500, repeats: int = 4, flips: int = 40) -> list[list[float]]:
    """So many questions right in every repeat, and `flips` of the others right in every second one."""
    full = round(share * questions) - flips // 2
    often = [float(repeat % 2) for repeat in range(repeats)]
    return [[1.0] * repeats] * full + [often] * flips + [[0.0] * repeats] * (questions - full - flips)


def only(*parts: Measured, **changes: Any) -> Figure:
    (figure,) = judge(streams.run(*parts, **changes))
    return figure


def math_on(share: float, **changes: Any) -> Measured:
    return streams.measured(MATH, "on", {"accuracy": right(share)}, **changes)


def test_a_run_like_the_cards_is_reproduced() -> None:
    figure = only(math_on(0.952))
    assert figure.verdict == "reproduced"
    assert figure.score == pytest.approx(95.2)
    assert figure.difference == pytest.approx(-0.2)
    assert abs(figure.difference) <= figure.half_width <= figure.margin
    assert figure.deciding_repeats is None


@pytest.mark.parametrize(("share", "verdict"), [(0.90, "lower"), (0.996, "higher")])
def test_a_run_unlike_the_cards_is_not(share: float, verdict: str) -> None:
    figure = only(streams.measured(MATH, "on", {"accuracy": right(share, flips=4)}))
    assert figure.verdict == verdict
    assert figure.adjusted_p is not None
    assert figure.adjusted_p < 0.05


def test_too_wide_an_interval_is_undecided_with_the_repeats_that_decide_and_they_do() -> None:
    noisy = only(streams.measured(MATH, "on", {"accuracy": right(0.95, repeats=2, flips=50)}))
    assert noisy.verdict == "reproduced"
    wide = only(streams.measured(MATH, "on", {"accuracy": right(0.7, repeats=2, flips=300)}))
    assert wide.verdict == "lower"  # whatever the width
    table = right(0.954, questions=30, repeats=2, flips=2)
    figure = only(streams.measured(AIME, "on", {"accuracy": [[1.0, 0.0]] * 28 + table[:2]}))
    assert figure.verdict == "undecided"
    assert "wider than the margin of 5" in figure.reason


def test_repeats_that_would_decide_decide() -> None:
    """GPQA on: nearly half of the questions flip from one repeat to the next."""
    of = benchmark("gpqa")

    def run(repeats: int) -> Figure:
        sure, flipping = 60, 95
        rows = [[1.0] * repeats] * sure + [[float(at % 2) for at in range(repeats)]] * flipping
        return only(streams.measured(of, "on", {"accuracy": rows + [[0.0] * repeats] * (198 - len(rows))}))

    few = run(2)
    assert few.verdict == "undecided"
    assert few.deciding_repeats is not None
    enough = few.deciding_repeats + few.deciding_repeats % 2
    assert run(enough).verdict == "reproduced"


def test_where_the_cards_own_runs_are_too_few_no_number_of_repeats_would_decide() -> None:
    """AIME off: 0 % of one run of 30 questions leaves up to 9.5 % possible, and the margin is 5."""
    figure = only(streams.measured(AIME, "off", {"accuracy": [[0.0] * 2] * 30}))
    assert figure.verdict == "undecided"
    assert figure.deciding_repeats is None
    assert "no number of repeats would decide: the card's own 1 run" in figure.reason
    assert figure.generalisation.exact
    assert figure.generalisation.high == pytest.approx(9.5, abs=0.05)


def test_a_figure_that_differs_by_itself_alone_is_undecided_in_the_table() -> None:
    """Holm: p = 0.02 is a difference where one figure is looked at, and none where several are."""
    odd = streams.measured(MATH, "on", {"accuracy": right(0.966, repeats=4, flips=30)})
    alone = only(odd)
    assert alone.p is not None
    assert 0.005 < alone.p < 0.05
    assert alone.verdict == "higher"
    others: list[tuple[str, Mode, float, int]] = [
        ("bfcl", "on", 0.636, 2251),
        ("bfcl", "off", 0.639, 2251),
        ("mbpp", "on", 0.846, 378),
        ("mbpp", "off", 0.661, 378),
        ("gpqa", "off", 0.394, 198),
        ("gpqa", "on", 0.541, 198),
        ("aime25", "on", 0.471, 30),
    ]
    like = [
        streams.measured(MATH, "off", {"accuracy": right(0.366, repeats=2, flips=40)}),
        *(
            streams.measured(benchmark(name), mode, {"accuracy": right(share, questions=count, flips=20)})
            for name, mode, share, count in others
        ),
    ]
    figures = judge(streams.run(odd, *like))
    among = next(figure for figure in figures if (figure.benchmark, figure.thinking) == ("math500", "on"))
    assert among.verdict == "undecided"
    assert "one in twenty does so by chance" in among.reason


@pytest.mark.parametrize(
    ("changes", "of_run", "said"),
    [
        ({}, {"limit": 500}, "--limit 500"),
        ({"failed": 3}, {}, "3 of 2,000 samples failed"),
        ({"expected": 2400}, {}, "0 of 2,400 samples failed"),
        ({"settings": msgspec.structs.replace(SETTINGS["on"], temperature=1.0)}, {}, "temperature 1"),
        ({"settings": msgspec.structs.replace(SETTINGS["on"], max_tokens=4096)}, {}, "max_tokens 4096"),
        ({"data": msgspec.structs.replace(math_on(0.9).data, known=False)}, {}, "hash"),
    ],
)
def test_what_was_not_asked_as_the_card_was_is_not_comparable(
    changes: dict[str, Any], of_run: dict[str, Any], said: str
) -> None:
    figure = only(math_on(0.952, **changes), **of_run)
    assert figure.verdict == "not comparable"
    assert said in figure.reason
    assert figure.p is None


def test_fewer_questions_than_the_cards_are_not_comparable() -> None:
    figure = only(streams.measured(MATH, "on", {"accuracy": [[1.0]] * 20}))
    assert figure.verdict == "not comparable"
    assert "20 questions were asked, and the card's figure is of 500" in figure.reason


@pytest.mark.parametrize(
    ("judge_named", "comparable"),
    [
        ("gpt-4 at https://api.openai.com/v1", True),
        ("gpt-4-0613 at https://api.openai.com/v1", True),
        ("openai/gpt-4-turbo", True),
        ("gpt-4o at https://api.openai.com/v1", False),
        ("gpt-4.1", False),
        ("llama-70b at http://127.0.0.1:9000/v1", False),
        (None, False),
    ],
)
def test_ratings_are_compared_where_the_cards_judge_gave_them(judge_named: str | None, comparable: bool) -> None:
    ratings = [[10.0], [9.0], [5.0], [8.0]] * 20
    figure = only(streams.measured(MT_BENCH, "on", {"rating": ratings}), judge=judge_named)
    assert (figure.verdict != "not comparable") is comparable
    assert figure.score == 8
    assert figure.unit == "of 10"
    assert figure.same_questions is None
    assert ("one repeat measures no noise" in figure.reason) is comparable


def test_figures_stand_in_the_cards_order_with_thinking_on_first() -> None:
    ifeval = benchmark("ifeval")
    random = np.random.default_rng(3)
    asked = random.integers(1, 4, 541).astype(np.float64)
    chance = streams.chances(random, ifeval, "on", 0.75)
    both = {
        "instruction": streams.instructions(random, chance, asked, 4),
        "prompt": streams.answers(random, chance, 4),
    }
    figures = judge(
        streams.run(
            streams.measured(ifeval, "on", both, weights=asked.tolist()),
            streams.measured(MATH, "off", {"accuracy": right(0.366, repeats=2)}),
            math_on(0.95),
        )
    )
    assert [(one.benchmark, one.thinking, one.metric) for one in figures] == [
        ("math500", "on", "accuracy"),
        ("math500", "off", "accuracy"),
        ("ifeval", "on", "prompt"),
        ("ifeval", "on", "instruction"),
    ]


def test_overlong_answers_and_tokens_stand_beside_the_score() -> None:
    overlong = [[True, False, False, False]] * 50 + [[False] * 4] * 450
    tokens = [[4000, 2000, 2000, 0]] * 500
    figure = only(math_on(0.952, overlong=overlong, output_tokens=tokens))
    assert figure.overlong == pytest.approx(0.025)
    assert figure.mean_tokens == pytest.approx(2000)
