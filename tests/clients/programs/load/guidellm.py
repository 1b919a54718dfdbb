"""GuideLLM: a short run with a tokenizer directory, over chat and over completions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from checking import FRONT_URL, MODEL, TOKENIZER_DIRECTORY, run_checks

REQUESTS = 6


def run(request_format: str) -> Any:
    report = Path("report.json")
    subprocess.run(
        [
            "guidellm", "run",
            "--backend", f"kind=openai_http,target={FRONT_URL},model={MODEL},request_format={request_format}",
            "--profile", "kind=concurrent,streams=2",
            "--constraint", f"kind=max_requests,count={REQUESTS}",
            "--tokenizer", f"kind=hf_auto,model={TOKENIZER_DIRECTORY}",
            "--data", "kind=synthetic_text,prompt_tokens=32,output_tokens=16",
            "--output", f"kind=json,path={report}",
            "--disable-console",
        ],
        check=True,
        stdout=sys.stderr,
    )  # fmt: skip
    return json.loads(report.read_text())["benchmarks"][0]


def complete(request_format: str) -> None:
    found = run(request_format)
    totals = found["metrics"]["request_totals"]
    assert (totals["successful"], totals["errored"], totals["incomplete"]) == (REQUESTS, 0, 0)
    assert found["metrics"]["text"]["tokens"]["output"]["successful"]["mean"] == 16
    assert all(request["output"] for request in found["requests"]["successful"])


def check_chat() -> None:
    complete("/v1/chat/completions")


def check_completions() -> None:
    complete("/v1/completions")


run_checks(globals())
