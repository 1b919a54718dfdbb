"""What TensorRT-LLM's scripts are given: data they can read, paths they do not misread."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tokenizers import Tokenizer

from nemotron_build.checkpoint.check import Checkpoint, check_checkpoint
from nemotron_build.convert.calibration import calibration_texts
from nemotron_build.convert.trtllm import convert_command, quantize_command, scripts_are_here, write_dataset
from nemotron_build.errors import UnsupportedError
from nemotron_build.profiles import Calibration, load_profile
from tests.unit.build.tiny import BEGIN_OF_TEXT, tiny_checkpoint

PROFILE = msgspec.structs.replace(load_profile("h100-fp8"), calibration=Calibration(max_tokens=200))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return check_checkpoint(tiny_checkpoint(tmp_path_factory.mktemp("source")))


def test_no_row_of_the_data_set_is_padded(checkpoint: Checkpoint, tmp_path: Path) -> None:
    texts = calibration_texts(checkpoint, None, 40)
    directory = write_dataset(checkpoint, PROFILE, texts, tmp_path / "texts")
    rows = [json.loads(line)["text"] for line in (directory / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    tokenizer = Tokenizer.from_file(str(checkpoint.path / "tokenizer.json"))
    assert len(rows) > 1
    assert not any(row.startswith(BEGIN_OF_TEXT) for row in rows)
    assert all(len(tokenizer.encode(row, add_special_tokens=False).ids) >= 200 for row in rows)
    joined = BEGIN_OF_TEXT + BEGIN_OF_TEXT.join(rows)
    assert joined.startswith("".join(texts))
    assert joined.removeprefix("".join(texts)) in "".join(texts)  # the last row is filled up with the first texts


def test_one_short_text_fills_a_row(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_dataset(checkpoint, PROFILE, ["Hello."], tmp_path)
    assert json.loads((tmp_path / "train.jsonl").read_text())["text"].startswith("Hello.Hello.")


@pytest.mark.parametrize("place", ["prompts/8b", "empty", "LLaVA", "vila"])
def test_a_path_that_would_be_misread_is_refused(checkpoint: Checkpoint, place: str) -> None:
    elsewhere = replace(checkpoint, path=Path("/models") / place)
    with pytest.raises(UnsupportedError, match=f"/models/{place}, contains '.*'.*Move it"):
        convert_command(elsewhere, PROFILE, Path("/out"))
    with pytest.raises(UnsupportedError, match=f"/models/{place}, contains '.*'.*Move it"):
        quantize_command(elsewhere, PROFILE, Path("/texts"), Path("/out"))


def test_a_data_path_that_would_be_misread_is_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(UnsupportedError, match="calibration data's path"):
        quantize_command(checkpoint, PROFILE, Path("/data/cnn_dailymail"), Path("/out"))


def test_an_uneven_split_is_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(UnsupportedError, match="tp_size 3"):
        convert_command(checkpoint, msgspec.structs.replace(PROFILE, tp_size=3), Path("/out"))


def test_this_is_not_the_serving_image() -> None:
    assert not scripts_are_here()
