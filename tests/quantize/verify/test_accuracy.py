"""The accuracy gate: what it measures, and that it fails where weights and scales look right."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nemotron_build.checkpoint.check import Checkpoint
from nemotron_build.errors import BuildError, VerificationError
from nemotron_build.profiles import Accuracy
from nemotron_build.verify.accuracy import AccuracyFigures, check_accuracy
from nemotron_build.verify.expected import Converted
from tests.quantize.modelopt import fp8_with_kv_cache
from tests.quantize.verify.conftest import HELD_OUT, Planted

Plant = Callable[..., Planted]
ANY = Accuracy(min_top1_agreement=0, max_mean_kl=math.inf, max_perplexity_ratio=math.inf)
GOOD = AccuracyFigures(
    top1_agreement=0.95, mean_kl=0.01, perplexity_ratio=1.01, source_perplexity=9.0, positions=100, texts=2
)


def figures(planted: Planted, held_out: list[str] | None = None) -> AccuracyFigures:
    found = planted.verify(held_out=held_out or HELD_OUT, accuracy=ANY)
    assert found is not None
    return found


def test_figures_that_are_good_enough() -> None:
    check_accuracy(GOOD, Accuracy(min_top1_agreement=0.95, max_mean_kl=0.01, max_perplexity_ratio=1.01))


@pytest.mark.parametrize(
    "change",
    [
        {"top1_agreement": 0.8},
        {"mean_kl": 0.2},
        {"perplexity_ratio": 1.2},
        {"mean_kl": math.nan},
        {"perplexity_ratio": math.nan},
        {"top1_agreement": math.nan},
    ],
)
def test_each_figure_can_fail_and_all_are_named(change: dict[str, Any]) -> None:
    with pytest.raises(VerificationError) as error:
        check_accuracy(dataclasses.replace(GOOD, **change), Accuracy(0.9, 0.05, 1.05))
    for part in ("agreement", "(at least 0.9)", "mean KL", "(at most 0.05)", "perplexity ratio", "(at most 1.05)"):
        assert part in str(error.value)


@pytest.mark.parametrize("name", ["trt", "trt-kv", "hf", "hf-kv"])
def test_fp8_is_close_to_its_source_but_not_equal(plant: Plant, name: str) -> None:
    found = figures(plant(name))
    assert found.top1_agreement > 0.8
    assert 1e-4 < found.mean_kl < 0.1
    assert found.perplexity_ratio == pytest.approx(1, abs=0.1)
    assert found.texts == len(HELD_OUT)


def test_both_formats_and_any_number_of_ranks_say_the_same(plant: Plant, tmp_path: Any) -> None:
    trt = figures(plant("trt"))
    (tmp_path / "converted").rename(tmp_path / "other")
    assert figures(plant("hf")).mean_kl == pytest.approx(trt.mean_kl, rel=0.05)


def test_what_is_held_against_itself_is_equal(plant: Plant, source: Checkpoint) -> None:
    from nemotron_build.verify.accuracy import measure
    from nemotron_build.verify.tensorrt_llm import TensorRtLlmConfig

    planted = plant("trt-bf16")
    converted = TensorRtLlmConfig(planted.directory).converted(source.shape, planted.profile)
    found = measure(converted, source, HELD_OUT, lambda _what, _done, _total: None)
    assert found.top1_agreement == 1
    assert found.mean_kl == pytest.approx(0, abs=1e-6)
    assert found.perplexity_ratio == pytest.approx(1, abs=1e-6)


def test_a_tied_model_can_be_measured(plant: Plant, tied_source: Checkpoint) -> None:
    assert 0 < figures(plant("trt", tied_source)).mean_kl < 0.1


def test_the_figures_are_those_of_transformers(plant: Plant, source: Checkpoint) -> None:
    """Perplexity of the source, worked out with transformers' own loss."""
    import torch
    from tokenizers import Tokenizer
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(source.path, dtype=torch.float32)
    tokenizer = Tokenizer.from_file(str(source.path / "tokenizer.json"))
    loss, count = 0.0, 0
    for text in HELD_OUT:
        ids = torch.tensor([tokenizer.encode(text, add_special_tokens=False).ids])
        with torch.inference_mode():
            loss += float(model(ids, labels=ids).loss) * (ids.shape[1] - 1)
        count += ids.shape[1] - 1
    found = figures(plant("hf"))
    assert found.positions == count
    assert found.source_perplexity == pytest.approx(math.exp(loss / count), rel=1e-4)


@pytest.mark.parametrize("factor", [1e-3, 1e5])
@pytest.mark.parametrize(("name", "end"), [("trt", ".qkv.activation_scaling_factor"), ("hf", ".down_proj.input_scale")])
def test_absurd_input_scales_fail_the_gate_alone(plant: Plant, name: str, end: str, factor: float) -> None:
    def change(tensors: dict[str, Any]) -> None:
        for tensor, value in tensors.items():
            if tensor.endswith(end):
                value.mul_(factor)

    planted = plant(name)
    for rank in range(planted.profile.tp_size):
        planted.edit_tensors(change, rank)
    assert planted.verify(held_out=None) is None
    with pytest.raises(VerificationError, match="not accurate enough: top-1 agreement 0"):
        planted.verify(held_out=HELD_OUT)


@pytest.mark.parametrize("name", ["trt-kv", "hf-kv"])
def test_the_scales_of_the_kv_cache_count(plant: Plant, name: str) -> None:
    def change(tensors: dict[str, Any]) -> None:
        for tensor, value in tensors.items():
            if tensor.endswith(("kv_cache_scaling_factor", "v_scale")):
                value.fill_(1e4)

    planted = plant(name)
    before = figures(planted)
    planted.edit_tensors(change)
    assert figures(planted).mean_kl > 10 * before.mean_kl


def test_texts_without_two_tokens_cannot_be_measured(plant: Plant) -> None:
    with pytest.raises(BuildError, match="Name other texts"):
        plant("hf").verify(held_out=["", "a"])


def test_the_figures_for_the_manifest() -> None:
    assert AccuracyFigures(**GOOD.as_dict()) == GOOD  # type: ignore[arg-type]


def test_the_emulation_computes_what_modelopts_does(plant: Plant, source: Checkpoint) -> None:
    """ModelOpt's own simulation, with the checkpoint's weights and scales, gives the same attention and the same MLP.

    Of one layer, and by the median: where float32's last bit turns a rounding over, all that follows differs.
    """
    import torch
    from transformers import LlamaForCausalLM

    from nemotron_build.verify.emulation import converted_model
    from nemotron_build.verify.hugging_face import HuggingFaceConfig

    planted = plant("hf-kv")
    converted = HuggingFaceConfig(planted.directory).converted(source.shape, planted.profile)
    ids = torch.arange(100)[None]
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # what ModelOpt and what it imports say
        import modelopt.torch.quantization as mtq

        ours = converted_model(converted, torch.device("cpu"), lambda _what, _done, _total: None)
        theirs = LlamaForCausalLM.from_pretrained(source.path, dtype=torch.float32).eval()
        config = fp8_with_kv_cache(mtq)
        mtq.quantize(theirs, config, lambda model: model(ids, use_cache=False))
        mtq.disable_quantizer(theirs, "*weight_quantizer")
        for name, weight in ours.named_parameters():
            theirs.get_parameter(name).copy_(weight)
        for scale, quantizer in quantizers(converted, theirs):
            quantizer.amax = torch.tensor(scale * 448)
        for wanted, found in zip(first_layer(theirs, ids), first_layer(ours, ids), strict=True):
            assert (wanted - found).abs().median() < 1e-5
        mtq.disable_quantizer(theirs, "*")
        for plain, found in zip(first_layer(theirs, ids), first_layer(ours, ids), strict=True):
            assert (plain - found).abs().median() > 1e-4


def first_layer(model: Any, ids: Any) -> tuple[Any, Any]:
    """What attention makes of a text, and the MLP of some numbers."""
    import torch

    seen = []
    attention = model.model.layers[0].self_attn
    hook = attention.register_forward_hook(lambda _module, _inputs, outputs: seen.append(outputs[0]))
    model.model(ids, use_cache=False)
    hook.remove()
    numbers = torch.linspace(-2, 2, 1280).sin().view(10, 128)
    return seen[0], model.model.layers[0].mlp(numbers)


def quantizers(converted: Converted, model: Any) -> Iterator[tuple[float, Any]]:
    """Each scale of a unified Hugging Face checkpoint, and the quantizer of ModelOpt's that it belongs to."""
    names = {"weight_scale": "weight_quantizer", "input_scale": "input_quantizer"}
    for _, name in converted.scales():
        module, _, kind = name.rpartition(".")
        if kind in names:
            yield converted.scalar(0, name), getattr(model.get_submodule(module), names[kind])
        else:
            attention = model.get_submodule(module.rpartition(".")[0])
            yield converted.scalar(0, name), getattr(attention, f"{kind[0]}_bmm_quantizer")
