"""AIPerf: a short streamed run over chat, with a tokenizer from a hub cache that is filled by hand."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from checking import FRONT_URL, MODEL, TOKENIZER_IN_CACHE, run_checks

os.environ["HF_HUB_OFFLINE"] = "1"  # it asks the hub also for what is in its cache

REQUESTS = 6


def profile(*options: str) -> Any:
    subprocess.run(
        [
            "aiperf", "profile",
            "--model", MODEL, "--url", FRONT_URL, "--endpoint-type", "chat", "--streaming",
            "--concurrency", "2", "--request-count", str(REQUESTS), "--isl", "32", "--osl", "16",
            "--tokenizer", TOKENIZER_IN_CACHE, "--ui", "none", "--no-gpu-telemetry", *options,
        ],
        check=True,
        stdout=sys.stderr,
    )  # fmt: skip
    (report,) = Path("artifacts").rglob("profile_export_aiperf.json")
    found = json.loads(report.read_text())
    shutil.rmtree("artifacts")
    return found


def check_thinking() -> None:
    found = profile("--use-server-token-count", "--extra-inputs", "reasoning_effort:high")
    assert found["request_count"]["avg"] == REQUESTS
    assert found["request_error_rate"]["avg"] == 0
    assert found["usage_completion_tokens"]["avg"] == 16
    assert found["reasoning_token_count"]["avg"] > 0
    assert found["time_to_first_token"]["avg"] > 0


def check_its_own_token_counts() -> None:
    found = profile()
    assert found["request_error_rate"]["avg"] == 0
    assert found["output_sequence_length"]["avg"] > 0


run_checks(globals())
