"""Good checkpoints pass, in both formats, with what varies between them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nemotron_build.checkpoint.check import Checkpoint
from nemotron_build.converted.verify import verify_converted
from tests.unit.build.converted.conftest import PROFILES, Planted

Plant = Callable[..., Planted]


@pytest.mark.parametrize("name", PROFILES)
def test_a_good_checkpoint(plant: Plant, name: str) -> None:
    assert plant(name).verify() is None


@pytest.mark.parametrize("name", ["trt", "hf-kv"])
def test_a_good_checkpoint_of_a_model_with_tied_embeddings(plant: Plant, name: str, tied_source: Checkpoint) -> None:
    assert plant(name, tied_source).verify() is None


def test_an_epsilon_that_went_through_float32(plant: Plant) -> None:
    planted = plant("trt")
    planted.edit_json(lambda config: config.update(norm_epsilon=9.999999747378752e-06))
    planted.verify()


def test_a_tied_output_layer_that_is_left_out(plant: Plant, tied_source: Checkpoint) -> None:
    planted = plant("trt-bf16", tied_source)
    planted.edit_json(lambda config: config.update(share_embedding_table=True))
    planted.edit_tensors(lambda tensors: tensors.pop("lm_head.weight"))
    planted.verify()


def test_an_embedding_that_is_spread_over_the_ranks(plant: Plant) -> None:
    def halve(rank: int) -> Callable[[dict[str, Any]], None]:
        def change(tensors: dict[str, Any]) -> None:
            whole = tensors["transformer.vocab_embedding.weight"]
            tensors["transformer.vocab_embedding.weight"] = whole.chunk(2)[rank].clone()

        return change

    planted = plant("trt")
    planted.edit_json(lambda config: config.update(use_parallel_embedding=True))
    for rank in (0, 1):
        planted.edit_tensors(halve(rank), rank)
    planted.verify()


def test_progress_reaches_its_end(plant: Plant, source: Checkpoint) -> None:
    planted = plant("hf")
    said: list[tuple[str, int, int]] = []
    verify_converted(
        planted.directory, source, planted.profile, held_out=None, report=lambda *progress: said.append(progress)
    )
    assert said[0][1] == 0
    assert said[-1][1] == said[-1][2] == len(source.tensors)


def test_torch_is_not_loaded_before_it_is_needed() -> None:
    directory = Path(__file__).parents[4]
    code = "import sys; import nemotron_build.converted.verify; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=directory, timeout=60)
