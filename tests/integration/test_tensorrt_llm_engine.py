"""A whole server on the TensorRT-LLM engine, with the fake TensorRT-LLM in its model's process."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.packages import make_package
from tests.integration.conftest import ROOT, serving
from tests.integration.test_sessions import assert_same, both_ways
from tests.unit.serving.support import text_of

FAKES = ROOT / "tests" / "fakes"
ASKED: dict[str, Any] = {"text_input": "Hi", "max_tokens": 20, "temperature": 0.8, "seed": 3}
REQUESTS = [
    ASKED,
    ASKED,
    {**ASKED, "logit_bias": '{"70": 100}', "stream": True},
    {**ASKED, "top_k": 5, "return_log_probs": True, "top_logprobs": 2},
]


@pytest.mark.parametrize("flow", ["engine", "pytorch"])
def test_a_package_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flow: str) -> None:
    package = make_package(tmp_path / "package", flow)
    # Triton's Python stub looks for modules in its environment and beside the model alone.
    repository = tmp_path / "repository"
    shutil.copytree(ROOT / "model_repository", repository)
    model = repository / "tensorrt_llm" / "1" / "model.py"
    model.write_text(f"import sys\nsys.path.insert(0, {str(FAKES)!r})\n{model.read_text()}")
    monkeypatch.setenv("PYTHONPATH", str(FAKES))
    with serving(package.path, tmp_path, "--model-repository", str(repository)) as server:
        answers = both_ways(server, REQUESTS)
    for by_ensemble, by_session in answers:
        assert_same(by_ensemble, by_session)
    (first, _), (second, _), (biased, _), (with_logprobs, _) = answers
    assert first.fields["num_output_tokens"] == 20
    assert (first.fields["finish_reason"], first.fields["text_output"]) == ("length", second.fields["text_output"])
    assert biased.fields["text_output"] == text_of([70] * 20)
    if flow == "engine":
        assert "return_log_probs: the engine of this package has no logprobs" in with_logprobs.error
        return
    entries = with_logprobs.fields["logprobs"]
    assert [len(entry["top_logprobs"]) for entry in entries] == [2] * 20
    assert all(entry["top_logprobs"][0]["logprob"] >= entry["logprob"] for entry in entries)
    chosen = sum(entry["logprob"] for entry in entries)
    assert with_logprobs.fields["cum_log_probs"] == pytest.approx(chosen, rel=1e-6)
