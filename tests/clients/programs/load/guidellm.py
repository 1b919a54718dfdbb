"""GuideLLM: a short run with a tokenizer directory, over chat and over completions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from checking import FRONT_URL, MODEL, run_checks, tokenizer_directory

REQUESTS = 6


def run(request_format: str) -> Any:
    report = Path("report.json")
    subprocess.run(
        [
            "guidellm", "run",
            "--backend", f"kind=openai_http,target={FRONT_URL},model={MODEL},request_format={request_format}",
            "--profile", "kind=concurrent,streams=2",
            "--constraint", f"kind=max_requests,count={REQUESTS}",
            "--tokenizer", f"kind=hf_auto,model={tokenizer_directory()}",
            "--data", "kind=synthetic_text,prompt_tokens=32,output_tokens=16",
            "--output", f"kind=json,path={report}",
            "--disable-console",
        ],
        check=True,
        stdout=sys.stderr,
    )  # fmt: skip
    return json.loads(report.read_text())["benchmarks"][0]


def check_chat() -> None:
    found = run("/v1/chat/completions")
    print(json.dumps(found)[:3000])


def check_completions() -> None:
    run("/v1/completions")


run_checks(globals())
