"""lm-eval's local-chat-completions, with a task of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # it looks for data sets and metrics on the hub

import lm_eval
from checking import ANSWER, FRONT_URL, MODEL, QUESTION, run_checks

Path("questions.jsonl").write_text(json.dumps({"question": QUESTION, "answer": ANSWER}) + "\n")
TASK = {
    "task": "sums",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "questions.jsonl"}},
    "test_split": "test",
    "output_type": "generate_until",
    "doc_to_text": "{{question}}",
    "doc_to_target": "{{answer}}",
    "generation_kwargs": {"until": ["\n\n", "Q:"], "max_gen_toks": 300, "do_sample": False, "temperature": 0.0},
    "metric_list": [{"metric": "exact_match"}],
}


def check_chat_completions() -> None:
    results = lm_eval.simple_evaluate(
        model="local-chat-completions",
        model_args={"model": MODEL, "base_url": f"{FRONT_URL}/v1/chat/completions", "num_concurrent": 2},
        tasks=[TASK],
        apply_chat_template=True,
    )
    assert results["results"]["sums"]["exact_match,none"] == 1


run_checks(globals())
