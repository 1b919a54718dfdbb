"""Rows of our own in the shapes of the benchmarks, and a directory of them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

CANARY = "zebrafish-canary"
"""In all texts of GPQA's rows; to be found nowhere but in a run's private logs."""

MATH: list[dict[str, Any]] = [
    {"unique_id": "half", "problem": "What is one half?", "answer": "\\frac{1}{2}"},
    {"unique_id": "seventy", "problem": "What is seven times ten?", "answer": "70"},
]
AIME: list[dict[str, Any]] = [
    {"question": "What is 100 + 4?", "answer": "104"},
    {"question": "Which angle is it?", "answer": "336^\\circ"},
]
GPQA: list[dict[str, Any]] = [
    {
        "Record ID": "rec1",
        "Question": f"Which colour has the {CANARY}?",
        "Correct Answer": f"striped {CANARY}",
        "Incorrect Answer 1": f"red {CANARY}",
        "Incorrect Answer 2": f"green {CANARY}",
        "Incorrect Answer 3": f"blue {CANARY}",
    }
]
IFEVAL: list[dict[str, Any]] = [
    {
        "key": 1,
        "prompt": "Greet me without a comma, in two sentences or more.",
        "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_sentences"],
        "kwargs": [{}, {"num_sentences": 2, "relation": "at least"}],
    }
]
WEATHER: dict[str, Any] = {
    "name": "weather.get",
    "description": "The weather of a city.",
    "parameters": {
        "type": "dict",
        "required": ["city"],
        "properties": {"city": {"type": "string", "description": "Its name."}},
    },
}
BFCL: list[dict[str, Any]] = [
    {
        "id": "simple_0",
        "category": "simple",
        "question": [[{"role": "system", "content": "Be quick."}, {"role": "user", "content": "Weather in Rome?"}]],
        "function": [WEATHER],
        "ground_truth": [{"weather.get": {"city": ["Rome"]}}],
    },
    {
        "id": "irrelevance_0",
        "category": "irrelevance",
        "question": [[{"role": "user", "content": "Who wrote Faust?"}]],
        "function": [WEATHER],
    },
]
MBPP: list[dict[str, Any]] = [
    {
        "task_id": 2,
        "prompt": "Write a function that adds two numbers.",
        "test_list": ["assert add(1, 2) == 3", "assert add(2, 2) == 4"],
        "test_imports": [],
    }
]
MTBENCH: list[dict[str, Any]] = [
    {"question_id": 81, "category": "writing", "turns": ["Write a line.", "Rewrite it."]},
    {"question_id": 111, "category": "math", "turns": ["Add 1 and 2.", "Double it."], "reference": ["3", "6"]},
]

JSONL: dict[str, list[dict[str, Any]]] = {
    "math500.jsonl": MATH,
    "aime25.jsonl": AIME,
    "ifeval.jsonl": IFEVAL,
    "bfcl.jsonl": BFCL,
    "mbpp.jsonl": MBPP,
    "mtbench.jsonl": MTBENCH,
}


def write(directory: Path) -> Path:
    """All rows, as `--data` takes them."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, rows in JSONL.items():
        (directory / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    with (directory / "gpqa_diamond.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(GPQA[0]))
        table.writeheader()
        table.writerows(GPQA)
    return directory
