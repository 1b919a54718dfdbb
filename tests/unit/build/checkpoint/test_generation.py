"""What ends an output, and how the checkpoint wants to be sampled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nemotron_build.checkpoint.generation import GenerationFacts, read_generation
from nemotron_build.checkpoint.shape import read_shape
from nemotron_build.checkpoint.tokenizer import read_tokenizer
from nemotron_build.errors import CheckpointError
from nemotron_serving.package import SamplingDefaults
from tests.unit.build.checkpoint.conftest import EditJson

_EOT, _EOM, _END = 474, 473, 466


def test_stop_ids_are_the_union_with_the_end_of_turn_first(checkpoint: Path, edit: EditJson) -> None:
    edit("generation_config.json", eos_token_id=[_END, 7])
    assert _read(checkpoint).stop_token_ids == (_EOT, _EOM, _END, 7)


def test_one_id_alone(checkpoint: Path, edit: EditJson) -> None:
    edit("generation_config.json", eos_token_id=_EOM)
    assert _read(checkpoint).stop_token_ids == (_EOT, _EOM, _END)


def test_config_json_where_there_is_no_generation_config(checkpoint: Path, edit: EditJson) -> None:
    (checkpoint / "generation_config.json").unlink()
    edit("config.json", eos_token_id=9)
    assert _read(checkpoint) == GenerationFacts((_EOT, _EOM, _END, 9), None)


def test_a_tokenizer_without_llama_3s_tokens(checkpoint: Path, edit: EditJson) -> None:
    _plain_tokenizer(checkpoint)
    edit("generation_config.json", eos_token_id=[3, 2])
    assert _read(checkpoint).stop_token_ids == (3, 2)


def test_nothing_ends_an_output(checkpoint: Path, edit: EditJson) -> None:
    _plain_tokenizer(checkpoint)
    edit("generation_config.json", eos_token_id=None)
    edit("config.json", eos_token_id=None)
    with pytest.raises(CheckpointError, match=r"names no eos_token_id in generation_config.json or config.json"):
        _read(checkpoint)


@pytest.mark.parametrize("id_", [-1, 512])
def test_id_that_the_model_does_not_have(checkpoint: Path, edit: EditJson, id_: int) -> None:
    edit("generation_config.json", eos_token_id=[_END, id_])
    with pytest.raises(CheckpointError, match=rf"generation_config.json: eos_token_id {id_} is not .* vocab_size 512"):
        _read(checkpoint)


@pytest.mark.parametrize(
    ("fields", "sampling"),
    [
        ({}, None),
        ({"temperature": 0.6}, None),
        ({"do_sample": False, "temperature": 0.6}, SamplingDefaults()),
        ({"do_sample": True}, SamplingDefaults(temperature=1.0)),
        (
            {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": 40, "repetition_penalty": 1.1},
            SamplingDefaults(0.6, 0.9, 40, 1.1),
        ),
    ],
    ids=str,
)
def test_sampling(checkpoint: Path, edit: EditJson, fields: dict[str, Any], sampling: SamplingDefaults | None) -> None:
    edit("generation_config.json", **fields)
    assert _read(checkpoint).sampling == sampling


@pytest.mark.parametrize("field", ["temperature", "top_p", "top_k", "repetition_penalty"])
def test_sampling_out_of_range(checkpoint: Path, edit: EditJson, field: str) -> None:
    edit("generation_config.json", do_sample=True, **{field: -1})
    with pytest.raises(CheckpointError, match=rf"generation_config.json: {field} -1(\.0)? is out of range"):
        _read(checkpoint)


def test_damaged(checkpoint: Path) -> None:
    (checkpoint / "generation_config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"generation_config.json cannot be used.*Download it again"):
        _read(checkpoint)


def _read(checkpoint: Path) -> GenerationFacts:
    shape = read_shape(checkpoint)
    return read_generation(checkpoint, shape, read_tokenizer(checkpoint, shape))


def _plain_tokenizer(checkpoint: Path) -> None:
    path = checkpoint / "tokenizer.json"
    content = json.loads(path.read_text())
    content["added_tokens"] = [{**token, "special": False} for token in content["added_tokens"]]
    path.write_text(json.dumps(content))
