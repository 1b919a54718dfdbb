"""How answers are scored, and what is asked: without an endpoint."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from nemotron_evals import data, tasks
from nemotron_evals.card import SETTINGS, Mode, benchmark
from nemotron_evals.scorers import functions, instructions, judge, mathematics
from tests.evals import rows


@pytest.mark.parametrize(
    ("gold", "answer", "same"),
    [
        ("\\frac{1}{2}", "\\dfrac12", True),
        ("\\frac{1}{2}", "0.50", True),
        ("\\frac{1}{2}", "0.51", False),
        ("70", "71", False),
        ("(3,\\pi)", "(3, \\pi)", True),
        ("x^2+1", "1 + x^2", True),
        ("\\text{Evelyn}", "\\text{Evelyn}", True),
        ("1,2", "2,1", True),
        ("12", "11, 12", False),
        ("12", "", False),
    ],
)
def test_answers_of_mathematics_are_compared_by_their_value(gold: str, answer: str, same: bool) -> None:
    assert mathematics.same(gold, answer) is same


def followed(instruction: str, text: str, **arguments: Any) -> bool:
    return instructions.followed("A question.", [instruction], [arguments], text)[0]


def test_instructions_are_checked_one_by_one() -> None:
    fields = rows.IFEVAL[0]

    def done(text: str) -> list[bool]:
        return instructions.followed(fields["prompt"], fields["instruction_id_list"], fields["kwargs"], text)

    assert done("Hello there. How are you?") == [True, True]
    assert done("Hello there, you.") == [False, False]
    assert done("") == [False, False]


@pytest.mark.parametrize(
    ("text", "right"), [("THIS IS LOUD AND CLEAR", True), ("this is quiet", False), ("Mostly Quiet", False)]
)
def test_the_splitter_is_there_for_the_two_that_need_it(text: str, right: bool) -> None:
    loud = {"capital_relation": "at least", "capital_frequency": 3}
    assert followed("change_case:capital_word_frequency", text, **loud) is right
    fewer = {"relation": "less than", "num_sentences": 3}
    assert followed("length_constraints:number_sentences", "One. Two. Three.", **fewer) is False


def test_a_language_is_no_matter_of_chance() -> None:
    """Short texts, whose languages the library guesses in another way in each process, unless it is told not to."""
    program = (
        "from nemotron_evals.scorers.instructions import followed\n"
        "texts = ['ja', 'no no no', 'Hallo Welt', 'su casa', 'ok da', 'nu', 'le le la']\n"
        "asked = ['language:response_language'], [{'language': 'de'}]\n"
        "print([followed('q', *asked, text) for text in texts * 5])"
    )
    said = {
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=280, check=True).stdout
        for _ in range(2)
    }
    assert len(said) == 1


def test_an_instruction_that_nobody_knows_is_no_wrong_answer() -> None:
    with pytest.raises(KeyError, match="no instruction 'length:infinite'"):
        followed("length:infinite", "text")


ROME = [("weather.get", {"city": "Rome"})]
GOLD = [{"weather.get": {"city": ["Rome", "Roma"]}}]


@pytest.mark.parametrize(
    ("category", "calls", "right"),
    [
        ("simple", ROME, True),
        ("simple", [("weather.get", {"city": "Roma"})], True),
        ("simple", [("weather.get", {"city": "Oslo"})], False),
        ("simple", [("weather.get", {"city": "Rome", "unit": "C"})], False),
        ("simple", [("weather_get", {"city": "Rome"})], False),
        ("simple", [*ROME, *ROME], False),
        ("simple", [], False),
        ("multiple", ROME, True),
        ("irrelevance", [], True),
        ("irrelevance", ROME, False),
        ("irrelevance", [("unknown", {})], False),
        ("relevance", [("unknown", {})], True),
        ("relevance", [], False),
    ],
)
def test_calls_are_held_against_the_gold_ones(category: str, calls: list[Any], right: bool) -> None:
    gold = None if category.endswith("relevance") else GOLD
    assert functions.right(category, [rows.WEATHER], gold, calls)[0] is right


def test_parallel_calls_may_come_in_any_order() -> None:
    gold = [{"weather.get": {"city": ["Rome"]}}, {"weather.get": {"city": ["Oslo"]}}]
    calls = [("weather.get", {"city": "Oslo"}), ("weather.get", {"city": "Rome"})]
    assert functions.right("parallel", [rows.WEATHER], gold, calls)[0]
    assert not functions.right("parallel", [rows.WEATHER], gold, calls[:1])[0]


def test_the_judge_sees_both_turns_and_a_reference_where_there_is_one() -> None:
    system, text = judge.judged(["Add.", "Double."], ["It is 3 {sic}", "It is 6"], ["3", "6"])
    assert "impartial judge" in system
    assert [text.count(part) for part in ("Add.", "Double.", "It is 3 {sic}", "It is 6")] == [2, 2, 1, 1]
    _, plain = judge.judged(["Add."], ["It is 3"], None)
    assert "impartial judge" in plain
    assert "Reference" not in plain


def test_each_question_and_repeat_has_a_seed_of_its_own() -> None:
    seeds = {
        tasks.seed(name, question, repeat) for name in ("a", "b") for question in ("1", "11") for repeat in range(1, 17)
    }
    assert len(seeds) == 64
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert tasks.seed("a", "1", 1) == tasks.seed("a", "1", 1)


def test_choices_change_their_places_and_the_letter_follows() -> None:
    fields = {"right": "r", "wrong": ["x", "y", "z"]}
    seen = set()
    for number in range(60):
        choices, letter = tasks.options(fields, number)
        assert choices["ABCD".index(letter)] == "r"
        assert sorted(choices) == ["r", "x", "y", "z"]
        seen.add(letter)
    assert seen == set("ABCD")


def texts(name: str, fields: dict[str, Any], number: int = 0) -> list[str]:
    return [message.text for turn in tasks.conversation(benchmark(name), fields, number) for message in turn]


def test_functions_and_a_system_text_of_the_row_stand_before_the_first_question() -> None:
    fields = {
        "messages": [
            {"role": "system", "content": "Be quick."},
            {"role": "user", "content": "Rome?"},
            {"role": "assistant", "content": "What of it?"},
            {"role": "user", "content": "Its weather."},
        ],
        "functions": [{"name": "f", "parameters": {"type": "dict"}}],
    }
    assert texts("bfcl", fields) == [
        '<AVAILABLE_TOOLS>[{"name": "f", "parameters": {"type": "dict"}}]</AVAILABLE_TOOLS>\n\nBe quick.\n\nRome?',
        "What of it?",
        "Its weather.",
    ]


def test_of_the_tests_of_a_program_only_the_first_is_shown() -> None:
    (text,) = texts("mbpp", {"text": "Add {two} numbers.", "tests": ["assert add(1, 2) == 3", "assert add(2, 2) == 4"]})
    assert "test examples:\n\nAdd {two} numbers.\nassert add(1, 2) == 3\n\n\nPlease use" in text
    assert text.endswith("```python\n# Your codes here\n```")
    assert "add(2, 2)" not in text


@pytest.mark.parametrize("mode", ["on", "off"])
def test_a_task_shows_nothing_of_a_private_question(mode: Mode) -> None:
    question = data.Question("rec1", {"question": rows.CANARY, "right": "r", "wrong": ["x", "y", "z"]})
    task = tasks.card_task(benchmark("gpqa"), mode, 3, [question], SETTINGS[mode])
    assert task.epochs == 3
    assert [sample.input for sample in task.dataset] == ["rec1"]
    assert (task.config.temperature, task.config.top_p) == ((0.6, 0.95) if mode == "on" else (0.0, 1.0))
