"""A whole server on the TensorRT-LLM engine, with the fake TensorRT-LLM in its model's process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fakes.packages import make_package
from tests.integration.conftest import BIN, ROOT

FAKES = ROOT / "tests" / "fakes"
ASK = """
import json, os, urllib.request
body = json.dumps({"text_input": "Hi", "max_tokens": 20, "temperature": 0.8, "seed": 3}).encode()
url = os.environ["NEMOTRON_HTTP_URL"] + "/v2/models/ensemble/generate"
for _ in range(2):
    print(urllib.request.urlopen(url, body, timeout=30).read().decode())
"""


@pytest.mark.parametrize("flow", ["engine", "pytorch"])
def test_a_package_is_served(tmp_path: Path, flow: str) -> None:
    package = make_package(tmp_path / "package", flow)
    # Triton's Python stub looks for modules in its environment and beside the model alone.
    repository = tmp_path / "repository"
    shutil.copytree(ROOT / "model_repository", repository)
    model = repository / "tensorrt_llm" / "1" / "model.py"
    model.write_text(f"import sys\nsys.path.insert(0, {str(FAKES)!r})\n{model.read_text()}")
    command: list[str | Path] = [BIN / "nemotron-serve", package.path, "--model-repository", repository]
    command += [word for name in ("http", "grpc", "metrics") for word in (f"--{name}-port", "0")]
    done = subprocess.run(
        [*command, "--", BIN / "python", "-c", ASK],
        env={**os.environ, "PYTHONPATH": str(FAKES)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["num_output_tokens"] == 20
    assert (first["finish_reason"], first["text_output"]) == ("length", second["text_output"])
