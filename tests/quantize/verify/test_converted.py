"""Good checkpoints pass, in both formats, with what varies between them."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nemotron_build.checkpoint.check import Checkpoint
from nemotron_build.errors import UnsupportedError, VerificationError
from nemotron_build.verify.converted import verify_converted
from tests.quantize.modelopt import fp8_with_kv_cache
from tests.quantize.verify.conftest import HELD_OUT, PROFILES, Planted

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
    code = "import sys; import nemotron_build.verify.converted; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=directory, timeout=60)


def test_measuring_without_torch_says_what_to_install(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = plant("hf")
    monkeypatch.setattr("nemotron_build.machine.find_spec", lambda _name: None)
    with pytest.raises(UnsupportedError, match=r"needs torch, .* pip install '\.\[quantize\]'"):
        planted.verify(held_out=HELD_OUT)
    assert planted.verify() is None


def test_modelopts_own_export_fails_for_its_lost_rope_alone(source: Checkpoint, tmp_path: Path) -> None:
    """What ModelOpt writes where TensorRT-LLM is not installed, with the KV scales and the split embedding it adds.

    With transformers 5 it loses the rope; with 4, in the serving image, it would not.
    """
    torch = pytest.importorskip("torch")
    directory = tmp_path / "converted"
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # what ModelOpt and what it imports say
        mtq = pytest.importorskip("modelopt.torch.quantization")
        from modelopt.torch.export import export_tensorrt_llm_checkpoint
        from transformers import LlamaForCausalLM

        model = LlamaForCausalLM.from_pretrained(source.path, dtype=torch.bfloat16)
        config = fp8_with_kv_cache(mtq)
        mtq.quantize(model, config, lambda model: model(torch.arange(100)[None], use_cache=False))
        export_tensorrt_llm_checkpoint(model, "llama", torch.bfloat16, directory, inference_tensor_parallel=2)
    planted = Planted(directory, source, msgspec.structs.replace(PROFILES["trt"], kv_cache="fp8"))
    if int(importlib.metadata.version("transformers").partition(".")[0]) < 5:
        assert planted.verify() is None
        planted.edit_json(lambda config: [config.pop(name) for name in ("rotary_base", "rotary_scaling")])
    with pytest.raises(VerificationError, match=r"rotary_base is missing, which means 10000.0, expected 500000.0"):
        planted.verify()
    planted.edit_json(lambda config: config.update(rotary_base=500000))
    with pytest.raises(VerificationError, match="rotary_scaling is missing, which means None, expected 'llama3'"):
        planted.verify()
    scaling = json.loads((source.path / "config.json").read_text())["rope_scaling"]
    planted.edit_json(lambda config: config.update(rotary_scaling=scaling))
    assert planted.verify() is None
