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
from tests.unit.serving.support import text_of

FAKES = ROOT / "tests" / "fakes"
ASK = """
import json, os, urllib.error, urllib.request
url = os.environ["NEMOTRON_HTTP_URL"] + "/v2/models/ensemble/generate"
asked = {"text_input": "Hi", "max_tokens": 20, "temperature": 0.8, "seed": 3}
for more in ({}, {}, {"logit_bias": '{"70": 100}'}, {"top_k": 5, "return_log_probs": True, "top_logprobs": 2}):
    try:
        print(urllib.request.urlopen(url, json.dumps({**asked, **more}).encode(), timeout=30).read().decode())
    except urllib.error.HTTPError as error:
        print(error.read().decode())
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
    first, second, biased, with_logprobs = map(json.loads, done.stdout.splitlines())
    assert first["num_output_tokens"] == 20
    assert (first["finish_reason"], first["text_output"]) == ("length", second["text_output"])
    assert biased["text_output"] == text_of([70] * 20)
    if flow == "engine":
        assert "return_log_probs: the engine of this package has no logprobs" in with_logprobs["error"]
        return
    entries = json.loads(with_logprobs["logprobs"])
    assert [len(entry["top_logprobs"]) for entry in entries] == [2] * 20
    assert all(entry["top_logprobs"][0]["logprob"] >= entry["logprob"] for entry in entries)
    assert with_logprobs["cum_log_probs"] == pytest.approx(sum(entry["logprob"] for entry in entries))
