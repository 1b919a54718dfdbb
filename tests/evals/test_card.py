"""The card's table, its prompts, and what a run directory's results are."""

from __future__ import annotations

from pathlib import Path

import pytest

from nemotron_evals import results
from nemotron_evals.card import CARD, MODES, Settings, benchmark, prompt
from nemotron_evals.errors import EvalError, ResultsError
from nemotron_evals.results import DataUsed, Measured, Results, ScoredMetric


def test_the_table_has_the_figures_of_the_card() -> None:
    figures = {
        (one.name, metric.name): (metric.card["off"], metric.card["on"]) for one in CARD for metric in one.metrics
    }
    assert figures == {
        ("math500", "accuracy"): (36.6, 95.4),
        ("aime25", "accuracy"): (0, 47.1),
        ("gpqa", "accuracy"): (39.4, 54.1),
        ("ifeval", "prompt"): (74.7, 71.9),
        ("ifeval", "instruction"): (82.1, 79.3),
        ("bfcl", "accuracy"): (63.9, 63.6),
        ("mbpp", "accuracy"): (66.1, 84.6),
        ("mtbench", "rating"): (7.9, 8.1),
    }


def test_one_pass_is_some_four_thousand_questions_and_the_repeats_ask_them_as_often_as_planned() -> None:
    assert sum(one.questions * (2 if one.judged else 1) for one in CARD) == 4058
    asked = {mode: sum(one.questions * one.repeats[mode] for one in CARD) for mode in MODES}
    assert asked == {"on": 2000 + 480 + 1584 + 2164 + 4502 + 1890 + 80, "off": 2 * 3898 + 80}


def test_a_prompt_keeps_its_own_braces_and_those_of_what_fills_it() -> None:
    text = prompt(benchmark("math500"), question="What is {question} in $\\frac{1}{2}$?")
    assert text.endswith("in \\boxed{}.\nQuestion: What is {question} in $\\frac{1}{2}$?")


@pytest.mark.parametrize("one", [one for one in CARD if one.prompt], ids=lambda one: str(one.name))
def test_every_hole_of_a_prompt_is_known(one: object) -> None:
    holes = {
        "math.txt": ["question"],
        "choice.txt": ["question", "option_A", "option_B", "option_C", "option_D"],
        "tools.txt": ["functions", "user_prompt"],
        "code.txt": ["prompt"],
    }
    file = one.prompt  # type: ignore[attr-defined]
    text = prompt(one, **{hole: f"<{hole}>" for hole in holes[file]})  # type: ignore[arg-type]
    assert all(f"<{hole}>" in text for hole in holes[file])
    assert "{" not in text.replace("\\boxed{}", "")


def test_a_benchmark_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(EvalError, match="no benchmark 'aime24'; there are math500, aime25"):
        benchmark("aime24")


def a_result(scores: list[list[float]]) -> Results:
    measured = Measured(
        benchmark="aime25",
        thinking="on",
        questions=["1", "2"],
        repeats=2,
        expected=4,
        failed=0,
        metrics=[ScoredMetric("accuracy", scores)],
        overlong=[[False, True], [False, False]],
        output_tokens=[[5, 9], [7, 8]],
        settings=Settings(0.6, 0.95, 32768),
        data=DataUsed("aime25.jsonl", "", "00", 30),
    )
    return Results(url="http://here/v1", model="m", started="", finished="", hours=1, versions={}, measured=[measured])


def test_results_come_back_as_they_were_written(tmp_path: Path) -> None:
    written = a_result([[1, 0], [0.5, 1]])
    results.write(tmp_path, written)
    assert results.read(tmp_path) == written
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "has no results.json: expected the directory of a run that has ended"),
        ("{", "is not what this version of nemotron-eval writes"),
        ("[]", "is not what this version of nemotron-eval writes"),
        ('{"format": 1}', "missing required field"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "results.json").write_text(text)
    with pytest.raises(ResultsError, match=message):
        results.read(tmp_path)


def test_tables_of_another_shape_are_refused(tmp_path: Path) -> None:
    results.write(tmp_path, a_result([[1, 0], [1]]))
    with pytest.raises(ResultsError, match="aime25 with thinking on has 2 questions of 2 repeats, and a table"):
        results.read(tmp_path)
