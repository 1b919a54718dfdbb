"""What the answer of an output is: each way in which an output can mislead its reader is a case."""

from __future__ import annotations

import pytest

from nemotron_evals import answers


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>\nA \\boxed{71}\n</think>\n\nB \\boxed{70}", "B \\boxed{70}"),
        ("no opener \\boxed{1}</think>\n\n\\boxed{2}", "\\boxed{2}"),
        ("<think>never closed \\boxed{3}", ""),
        ("  \n<think>", ""),
        ("<think></think>B", "B"),
        ("<think>a</think>b</think>c", "c"),
        ("<think>a</think>The tag <think> opens it.", "The tag <think> opens it."),
        ("no thinking at all", "no thinking at all"),
        ("", ""),
    ],
)
def test_thinking_is_no_answer(text: str, answer: str) -> None:
    assert answers.answer(text) == answer


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("\\boxed{11}? No: \\boxed{12}", "12"),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{\\left\\{ 1, 2 \\right\\}}", "\\left\\{ 1, 2 \\right\\}"),
        ("\\fboxed{7} and \\boxed {8}", "8"),
        ("\\boxed{\\boxed{9}}", "\\boxed{9}"),
        ("the answer is 2", None),
        ("\\boxed{2", None),
        ("\\boxed{1} then \\boxed{2", "1"),
    ],
)
def test_the_last_box_that_closes_counts_and_nothing_else(text: str, box: str | None) -> None:
    assert answers.last_box(text) == box


def test_boxes_that_differ_are_seen() -> None:
    assert answers.boxes("\\boxed{11} or \\boxed{12}") == ["11", "12"]


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("\\boxed{C}", "C"),
        ("\\boxed{(B)}", "B"),
        ("\\boxed{D. green}", "D"),
        ("\\boxed{\\text{A}}", "A"),
        ("\\boxed{\\textbf{(A)}}", "A"),
        ("A, so \\boxed{B}", "B"),
        ("C", None),
        ("\\boxed{E}", None),
        ("\\boxed{Because}", None),
        ("\\boxed{}", None),
    ],
)
def test_a_letter_is_read_from_a_box(text: str, letter: str | None) -> None:
    assert answers.letter(text) == letter


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Here:\n```python\nx = 1\n```\nand\n```python\nx = 2\n```", "x = 1"),
        ("```\nx = 1\n```", "x = 1"),
        ("```sh\nls\n```\n```Python\nx = 1\n```", "x = 1"),
        ("```python\n# Your codes here\nx = 1", "x = 1"),
        ("x = 1", "x = 1"),
    ],
)
def test_code_is_the_first_block_of_python(text: str, code: str) -> None:
    assert answers.code(text) == code


ROME = ("weather.get", {"city": "Rome"})


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ('<TOOLCALL>[{"name": "weather.get", "arguments": {"city": "Rome"}}]</TOOLCALL>', [ROME]),
        ('<TOOLCALL>{"name": "weather.get", "parameters": {"city": "Rome"}}</TOOLCALL>', [ROME]),
        ('<TOOLCALL>[{"name": "weather.get", "arguments": "{\\"city\\": \\"Rome\\"}"}]', [ROME]),
        ("<TOOLCALL>[weather.get(city='Rome'), f(a=1)]</TOOLCALL>", [ROME, ("f", {"a": 1})]),
        ("[weather.get(city='Rome'), f(a=1)]", [ROME, ("f", {"a": 1})]),
        ('{"name": "weather.get", "arguments": {"city": "Rome"}}', [ROME]),
        ("I would use weather.get(city='Rome') here.", []),
        ("None of the functions can do that (they know weather only).", []),
        ("<TOOLCALL>[]</TOOLCALL>", []),
        ("<TOOLCALL>not a call</TOOLCALL>", []),
        ("", []),
    ],
)
def test_calls_are_read_as_the_server_reads_them_whatever_they_name(text: str, calls: list[object]) -> None:
    assert answers.calls(text) == calls


def test_calls_that_the_endpoint_took_out_count_and_so_do_arguments_that_it_could_not_read() -> None:
    assert answers.calls("", [("weather.get", '{"city": "Rome"}'), ("f", {"a": 1})]) == [ROME, ("f", {"a": 1})]
    assert answers.calls("", [("f", "{broken")]) == [("f", {"": "{broken"})]


@pytest.mark.parametrize(
    ("reply", "rating"),
    [
        ("Good. Rating: [[8]]", 8.0),
        ("[[7.5]] and not [[3]]", 7.5),
        ("Rating: [6]", 6.0),
        ("Rating: 5", 5.0),
        ("[[11]]", None),
        ("[[0]]", None),
        ("a fine answer", None),
    ],
)
def test_a_rating_is_from_one_to_ten_or_none(reply: str, rating: float | None) -> None:
    assert answers.rating(reply) == rating
