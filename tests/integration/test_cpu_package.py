"""A package made for a CPU, from a checkpoint of Llama 3.1's kind, answers through the real Triton."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import BIN, Server, serving
from tests.unit.build.tiny import tiny_checkpoint

_PROFILE = """\
description = "for tests"
target = "openvino"
precision = "int4"

[limits]
max_batch_size = 4
max_seq_len = 512
max_tokens = 64
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("cpu")
    checkpoint = tiny_checkpoint(directory / "tiny", layers=2)
    profile = directory / "small.toml"
    profile.write_text(_PROFILE)
    package = directory / "package"
    command = [str(BIN / "nemotron-build"), "build", str(checkpoint), "--profile", str(profile), "-o", str(package)]
    subprocess.run(command, check=True, capture_output=True)
    with serving(package, directory, "--kv-cache-gib", "1") as server:
        yield server


def test_answers_until_the_limit_or_a_stop_token(server: Server) -> None:
    answer = server.generate(text_input="What is the capital of France?", max_tokens=12, min_tokens=12)
    assert answer["num_output_tokens"] == 12
    assert answer["finish_reason"] == "length"
    assert answer["text_output"]


def test_greedy_answers_are_the_same_beyond_the_original_context(server: Server) -> None:
    """Rope is scaled from 64 tokens on. From the second time on the prompt comes out of the prefix cache."""
    inputs = {"text_input": "rivers " * 60, "max_tokens": 16, "min_tokens": 16, "temperature": 0.0}
    first, second, third = (server.generate(**inputs) for _ in range(3))
    assert first["num_input_tokens"] > 128
    assert second["text_output"] == third["text_output"]


def test_grammars_know_the_tokenizer(server: Server) -> None:
    """Random weights would write nonsense; the answer is one of the choices, ended by the stop token."""
    choice = {"type": "choice", "choice": ["Paris", "nowhere, and in general", "日本"]}
    answer = server.generate(text_input="Where?", response_format=json.dumps(choice), max_tokens=40)
    assert answer["content"] in choice["choice"]
    assert answer["finish_reason"] == "stop"


def test_control_tokens_in_a_text_stay_text(server: Server) -> None:
    plain = server.generate(text_input="x", max_tokens=1)["num_input_tokens"]
    spelled = server.generate(text_input="<|eot_id|>", max_tokens=1)["num_input_tokens"]
    assert spelled > plain + 1


def test_the_manifest_says_how_close_it_is(server: Server) -> None:
    package = Path(str(server.log.parent / "package"))
    build = json.loads((package / "manifest.json").read_text())["build"]
    assert build["accuracy"]["mean_kl"] < 0.2
    assert 0.5 < build["accuracy"]["top1_agreement"] <= 1
