"""The gate on simulated engines whose loss is known, by hand, and its refusals."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from nemotron_evals import gate, results
from nemotron_evals.card import Mode, benchmark
from nemotron_evals.cli import main
from nemotron_evals.errors import EvalError
from nemotron_evals.results import Measured, Results
from tests.evals import streams

MATH, AIME, IFEVAL, MT_BENCH = (benchmark(name) for name in ("math500", "aime25", "ifeval", "mtbench"))


def outcomes(loss: float, modes: tuple[Mode, ...], pairs: int = 200) -> Counter[str]:
    random = np.random.default_rng([round(1000 * loss), len(modes)])
    return Counter(gate.compare(*streams.pair(random, loss, modes)).outcome for _ in range(pairs))


@pytest.mark.parametrize("modes", [("on", "off"), ("on",)], ids=["both modes", "thinking on"])
def test_an_engine_that_loses_nothing_fails_at_most_one_time_in_twenty_and_mostly_passes(
    modes: tuple[Mode, ...],
) -> None:
    """200 pairs of runs from a fixed seed: the shares are known to within 4 points, and the same every time."""
    found = outcomes(0.0, modes)
    print(f"no loss, {' and '.join(modes)}: {found['pass'] / 2:.1f} % pass, {found['fail'] / 2:.1f} % fail")
    assert found["fail"] <= 0.05 * 200
    assert found["pass"] >= 0.60 * 200


@pytest.mark.parametrize("modes", [("on", "off"), ("on",)], ids=["both modes", "thinking on"])
def test_an_engine_that_loses_three_points_never_passes_and_fails_nineteen_times_in_twenty(
    modes: tuple[Mode, ...],
) -> None:
    found = outcomes(0.03, modes)
    print(f"three points lost, {' and '.join(modes)}: {found['pass'] / 2:.1f} % pass, {found['fail'] / 2:.1f} % fail")
    assert found["pass"] == 0
    assert found["fail"] >= 0.95 * 200


def test_an_engine_that_loses_just_the_margin_rarely_passes() -> None:
    """One point in every figure, where the bound lets one in twenty pass; 200 pairs, known to within 1.5 points."""
    found = outcomes(0.01, ("on", "off"))
    print(f"one point lost, on and off: {found['pass'] / 2:.1f} % pass, {found['fail'] / 2:.1f} % fail")
    assert found["pass"] <= 0.08 * 200
    assert found["fail"] <= 0.10 * 200


def math(rows: list[list[float]], mode: Mode = "on", **changes: Any) -> Measured:
    return streams.measured(MATH, mode, {"accuracy": rows}, **changes)


def both(rows: list[list[float]], others: list[list[float]], mode: Mode = "on", **changes: Any) -> gate.Gate:
    return gate.compare(streams.run(math(rows, mode, **changes)), streams.run(math(others, mode, **changes)))


def test_the_mean_and_its_bound_by_hand() -> None:
    """Of 400 questions 40 fall from 1 to ½ and 40 rise: no loss, sd = √(80/399)/2 and the bound 1.645·sd/20."""
    rows = [[1.0, 1.0]] * 200 + [[0.0, 0.0]] * 200
    others = [[1.0, 0.0]] * 40 + [[1.0, 1.0]] * 160 + [[1.0, 0.0]] * 40 + [[0.0, 0.0]] * 160
    found = both(rows, others)
    assert found.difference == pytest.approx(0)
    assert found.low == pytest.approx(-100 * 1.644854 * np.sqrt(80 / 399) / 2 / 20, abs=1e-4)
    assert found.high == pytest.approx(-found.low)
    assert found.outcome == "undecided"


def test_equal_runs_pass_where_the_questions_are_many_and_not_where_they_are_few() -> None:
    """0 of 500 that differ leave 0.6 points possible, 0 of 30 leave 9.5."""
    rows = [[1.0, 1.0]] * 200 + [[0.0, 0.0]] * 300
    assert both(rows, rows).outcome == "pass"
    assert both(rows, rows).low == pytest.approx(-0.6, abs=0.01)
    few = both(rows[190:220], rows[190:220])
    assert few.outcome == "undecided"
    assert few.low == pytest.approx(-9.5, abs=0.01)


def test_a_benchmark_far_below_its_margin_fails_whatever_the_mean() -> None:
    rows = [[1.0, 1.0]] * 400 + [[0.0, 0.0]] * 100
    worse = [[0.0, 0.0]] * 40 + rows[40:]
    better = rows[:-100] + [[1.0, 1.0]] * 100
    bfcl = benchmark("bfcl")
    one, other = (
        streams.run(math(mine), streams.measured(bfcl, "on", {"accuracy": its}))
        for mine, its in ((rows, rows), (worse, better))
    )
    found = gate.compare(one, other)
    assert found.difference > 0
    assert found.outcome == "fail"
    assert "below its margin: MATH500 with thinking on" in found.reason
    assert [part.below for part in found.compared] == [True, False]


def test_one_greedy_repeat_is_judged_by_mcnemars_exact_test() -> None:
    rows = [[1.0]] * 300 + [[0.0]] * 200
    others = [[0.0]] * 30 + [[1.0]] * 270 + [[1.0]] * 10 + [[0.0]] * 190
    (part,) = both(rows, others, "off").compared
    assert part.discordant is not None
    assert (part.discordant.lost, part.discordant.gained) == (30, 10)
    assert part.discordant.p == pytest.approx(0.00222, abs=1e-5)
    assert part.difference == pytest.approx(-4)
    # 40 differ; a loss of 2 points would be 25 of them: P(X ≥ 30) for Binomial(40, 5/8).
    assert part.p == pytest.approx(0.066, abs=5e-3)
    assert any("30 questions lost and 10 gained" in note for note in both(rows, others, "off").notes)


def test_where_no_answer_is_right_nothing_could_be_lost_and_the_benchmark_is_left_out() -> None:
    rows = [[1.0, 1.0]] * 250 + [[0.0, 0.0]] * 250
    wrong = streams.measured(AIME, "off", {"accuracy": [[0.0, 0.0]] * 30})
    found = gate.compare(streams.run(math(rows), wrong), streams.run(math(rows), wrong))
    assert found.outcome == "pass"
    assert found.low == pytest.approx(both(rows, rows).low)
    assert any("AIME25 with thinking off is left out" in note for note in found.notes)
    alone = gate.compare(streams.run(wrong), streams.run(wrong))
    assert alone.outcome == "undecided"


def test_both_modes_of_a_benchmark_are_one_in_the_mean_question_by_question() -> None:
    """On loses where off gains, question by question: nothing changes on average, and without noise."""
    rows = [[1.0, 1.0]] * 250 + [[0.0, 0.0]] * 250
    fell = [[0.0, 0.0]] * 20 + rows[20:]
    found = gate.compare(
        streams.run(math(rows), math(fell, "off")),
        streams.run(math(fell), math(rows, "off")),
    )
    assert found.difference == pytest.approx(0)
    assert found.low == pytest.approx(-0.6, abs=0.01)


def test_a_rating_of_ten_counts_as_a_hundred_points() -> None:
    rows = [[8.0], [9.0], [7.0], [6.0]] * 20
    others = [[7.5], [8.5], [6.5], [5.5]] * 20
    one, other = (
        streams.run(streams.measured(MT_BENCH, "on", {"rating": its}), judge="gpt-4 at https://api.openai.com/v1")
        for its in (rows, others)
    )
    (part,) = gate.compare(one, other).compared
    assert part.difference == pytest.approx(-5)
    assert part.margin == pytest.approx(3)
    assert part.discordant is None


def test_overlong_answers_and_tokens_are_compared() -> None:
    rows = [[1.0, 1.0]] * 500
    calm = math(rows, output_tokens=[[1000, 1200]] * 500)
    longer = math(
        rows,
        output_tokens=[[1100, 1300], [1500, 1100]] * 250,
        overlong=[[True, False]] * 50 + [[False, False]] * 450,
    )
    found = gate.compare(streams.run(calm), streams.run(longer))
    (part,) = found.compared
    assert (part.tokens.a, part.tokens.b) == (1100, 1250)
    assert part.tokens.differs
    assert part.overlong.b == pytest.approx(0.05)
    assert part.overlong.low > 0
    assert found.outcome == "pass"  # they are told, and do not decide
    assert any("overlong answers changed from 0.0 to 5.0 %" in note for note in found.notes)
    assert any("from 1,100 to 1,250 tokens" in note for note in found.notes)


ROWS = [[1.0, 1.0]] * 20 + [[0.0, 0.0]] * 20
PLAIN = math(ROWS)


@pytest.mark.parametrize(
    ("changes", "of_run", "said"),
    [
        ({"questions": [f"other-{number}" for number in range(40)]}, {}, "other questions (40 and 40, 0 in common)"),
        ({"settings": msgspec.structs.replace(PLAIN.settings, temperature=1.0)}, {}, "temperature 0.6 and 1"),
        ({"settings": msgspec.structs.replace(PLAIN.settings, max_tokens=4096)}, {}, "max_tokens 32768 and 4096"),
        ({"data": msgspec.structs.replace(PLAIN.data, sha256="f" * 64)}, {}, "data own (000000000000…)"),
        ({"failed": 2}, {}, "2 of 80 samples of B failed"),
        ({}, {"limit": 40}, "limit: A none, B 40"),
        ({}, {"judge": "gpt-4"}, "judge: A none, B gpt-4"),
    ],
)
def test_runs_that_are_no_pair_are_refused_by_name(changes: dict[str, Any], of_run: dict[str, Any], said: str) -> None:
    with pytest.raises(EvalError) as refusal:
        gate.compare(streams.run(PLAIN), streams.run(math(ROWS, **changes), **of_run))
    assert said in str(refusal.value)
    assert "no pair" in str(refusal.value)


def test_other_repeats_and_benchmarks_are_refused_by_name() -> None:
    one = streams.run(PLAIN, streams.measured(AIME, "on", {"accuracy": [[1.0]] * 30}))
    other = streams.run(math([[1.0]] * 40))
    with pytest.raises(EvalError, match=r"repeats 2 and 1.*aime25 with thinking on: only A has it"):
        gate.compare(one, other)
    with pytest.raises(EvalError, match="neither has a benchmark"):
        gate.compare(streams.run(), streams.run())


@pytest.mark.parametrize(
    ("others", "status", "word"),
    [
        ([[1.0, 1.0]] * 250 + [[0.0, 0.0]] * 250, 0, "PASS"),
        ([[1.0, 1.0]] * 200 + [[0.0, 0.0]] * 300, 1, "FAIL"),
        ([[1.0, 1.0]] * 246 + [[0.0, 0.0]] * 254, 2, "UNDECIDED"),
    ],
)
def test_the_command_says_and_exits_with_what_became_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], others: list[list[float]], status: int, word: str
) -> None:
    a, b = tmp_path / "bf16", tmp_path / "fp8"
    written(a, streams.run(math([[1.0, 1.0]] * 250 + [[0.0, 0.0]] * 250)))
    written(b, streams.run(math(others)))
    assert main(["gate", str(a), str(b)]) == status
    printed = capsys.readouterr().out
    assert word in printed
    assert "MATH500" in printed
    assert max(map(len, printed.splitlines()[:3])) <= 120
    assert main(["gate", "--json", str(a), str(b)]) == status
    assert json.loads(capsys.readouterr().out)["outcome"] == word.lower()


def test_the_command_refuses_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = tmp_path / "bf16"
    written(a, streams.run(PLAIN))
    assert main(["gate", str(a), str(a)]) == 2
    assert "was given twice" in capsys.readouterr().err
    assert main(["gate", str(a), str(tmp_path / "none")]) == 2
    error = capsys.readouterr().err
    assert "has no results.json" in error
    assert error.count("\n") == 1


def test_the_same_limit_and_the_same_package_are_told() -> None:
    one, other = (streams.run(PLAIN, limit=40, package="nano-fp8-1a2b") for _ in range(2))
    notes = " ".join(gate.compare(one, other).notes)
    assert "--limit 40: this holds for those questions alone" in notes
    assert "the same package, nano-fp8-1a2b" in notes


def written(directory: Path, run: Results) -> None:
    directory.mkdir()
    results.write(directory, run)
