"""JSON files as other programs write them: the checkpoint stays the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nemotron_build.checkpoint.check import Checkpoint, check_checkpoint
from nemotron_build.errors import CheckpointError
from tests.unit.build.tiny import tiny_checkpoint

_FILES = ("config.json", "generation_config.json", "tokenizer_config.json", "model.safetensors.index.json")


def _facts(checkpoint: Checkpoint) -> tuple[object, ...]:
    return checkpoint.shape, checkpoint.stop_token_ids, checkpoint.tokenizer, checkpoint.generation


@pytest.mark.parametrize("name", _FILES)
def test_a_byte_order_mark(tmp_path: Path, name: str) -> None:
    directory = tiny_checkpoint(tmp_path, shards=2)
    plain = check_checkpoint(directory)
    (directory / name).write_bytes(b"\xef\xbb\xbf" + (directory / name).read_bytes())
    assert _facts(check_checkpoint(directory)) == _facts(plain)


def test_a_byte_order_mark_in_a_template_is_not_part_of_the_prompt(checkpoint: Path) -> None:
    (checkpoint / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8-sig")
    assert check_checkpoint(checkpoint).tokenizer.chat_template == "{{ messages }}"


def test_a_byte_order_mark_that_the_tokenizer_does_not_take(checkpoint: Path) -> None:
    path = checkpoint / "tokenizer.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    with pytest.raises(
        CheckpointError, match=r"tokenizer.json begins with a byte order mark. Save it as UTF-8 without"
    ):
        check_checkpoint(checkpoint)


def _with_floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_floats(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_with_floats(one) for one in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


@pytest.mark.parametrize("name", _FILES[:2])
def test_integers_written_as_floats(checkpoint: Path, name: str) -> None:
    plain = check_checkpoint(checkpoint)
    content = json.loads((checkpoint / name).read_text())
    (checkpoint / name).write_text(json.dumps(_with_floats(content)))
    assert "512.0" in (checkpoint / name).read_text() or name != "config.json"
    assert _facts(check_checkpoint(checkpoint)) == _facts(plain)


def test_null_is_as_good_as_left_out(checkpoint: Path) -> None:
    path = checkpoint / "config.json"
    content = json.loads(path.read_text())
    optional = ("mlp_bias", "attention_bias", "hidden_act", "tie_word_embeddings", "model_type", "torch_dtype")
    plain = check_checkpoint(checkpoint)
    scaling = content["rope_scaling"] | {"type": None}
    nulls = dict.fromkeys((*optional, "quantization_config", "auto_map", "head_dim", "rope_parameters"))
    path.write_text(json.dumps(content | nulls | {"rope_scaling": scaling}))
    assert _facts(check_checkpoint(checkpoint)) == _facts(plain)


def test_no_number_in_a_field_that_nobody_reads(checkpoint: Path) -> None:
    plain = check_checkpoint(checkpoint)
    for name in _FILES[:3]:
        content = json.loads((checkpoint / name).read_text())
        odd = {"router_aux_loss": float("nan"), "model_max_length": float("inf"), "x": {"low": [-float("inf")]}}
        (checkpoint / name).write_text(json.dumps(content | odd))
    assert _facts(check_checkpoint(checkpoint)) == _facts(plain)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 8.5])
@pytest.mark.parametrize("field", ["rms_norm_eps", "rope_theta", "hidden_size", "rope_scaling.factor"])
def test_no_number_in_a_field_that_is_read(checkpoint: Path, field: str, value: float) -> None:
    path = checkpoint / "config.json"
    content = json.loads(path.read_text())
    name, _, inner = field.partition(".")
    content[name] = content[name] | {inner: value} if inner else value
    path.write_text(json.dumps(content))
    if value == 8.5 and field != "hidden_size":
        check_checkpoint(checkpoint)
        return
    with pytest.raises(CheckpointError, match=rf"config.json.*{inner or name}"):
        check_checkpoint(checkpoint)


@pytest.mark.parametrize("text", ["[1]", "", "{", '{"a": 01}', "[" * 100_000, "\xff"])
def test_what_is_no_object_is_refused(checkpoint: Path, text: str) -> None:
    (checkpoint / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"config.json cannot be used: .* Download it again"):
        check_checkpoint(checkpoint)
