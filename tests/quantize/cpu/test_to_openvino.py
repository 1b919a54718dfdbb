"""Conversion against transformers: the same logits, far beyond the original context too."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from gguf import GGMLQuantizationType as Type
from tokenizers import Tokenizer

from nemotron_build.checkpoint.shape import LLAMA_31_8B, ModelShape, inverse_frequencies, read_shape
from nemotron_build.cpu.openvino_tokenizer import corpus
from nemotron_build.cpu.packed import weight_bytes
from nemotron_build.cpu.to_openvino import ENGINE_FILES, CpuResult, convert_for_cpu, converted_bytes
from nemotron_build.errors import BuildError, CheckpointError, UnsupportedError, VerificationError
from nemotron_build.profiles import Precision
from tests.quantize.cpu.logits import mean_kl, openvino_logits, transformers_logits
from tests.unit.build.cpu.conftest import Convert
from tests.unit.build.cpu.gguf_models import Array, write_gguf
from tests.unit.build.tiny import tiny_checkpoint, write_json

# Mean KL in nats. In FP32 arithmetic BF16 weights of a BF16 checkpoint lose nothing.
_EXACT = 1e-6
_ALLOWED: dict[Precision, float] = {"bf16": _EXACT, "int8": 0.003, "int4": 0.06}
_WRONG_ROPE = 0.1


@pytest.fixture(scope="module")
def expected(tiny: Path) -> Array:
    return transformers_logits(tiny)


@pytest.fixture(scope="module", params=["bf16", "int8", "int4"])
def converted(
    tiny: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[Precision, CpuResult, Path]:
    """The checkpoint in each precision: in which, what was said of it, and where it is."""
    output = tmp_path_factory.mktemp("cpu") / "converted"
    return request.param, convert_for_cpu(tiny, request.param, output, report=lambda *_: None), output


def test_safetensors_give_the_logits_of_transformers(
    expected: Array, converted: tuple[Precision, CpuResult, Path]
) -> None:
    precision, result, output = converted
    assert mean_kl(expected, openvino_logits(output)) < _ALLOWED[precision]
    assert result.accuracy.mean_kl < 0.1
    assert result.precision == f"{precision}, from BF16"
    assert sorted(file.name for file in output.iterdir()) == sorted([*ENGINE_FILES, "tokenizer.json"])


def test_norms_in_float32_beside_bfloat16(tiny: Path, tmp_path: Path, convert: Convert) -> None:
    from safetensors.numpy import load_file

    from tests.unit.build.tiny import write_weights

    mixed = shutil.copytree(tiny, tmp_path / "mixed")
    weights = load_file(mixed / "model.safetensors")
    # Values that BF16 does not have.
    norms = {name: values.astype("float32") * 1.001 for name, values in weights.items() if values.ndim == 1}
    write_weights(mixed, weights | norms)
    result, output = convert(mixed, "bf16")
    assert mean_kl(transformers_logits(mixed), openvino_logits(output)) < _EXACT
    assert result.precision == "bf16, from BF16 and F32"


def test_tied_embeddings(tmp_path: Path, convert: Convert) -> None:
    tied = tiny_checkpoint(tmp_path / "tied", tie=True, layers=1)
    for precision in ("bf16", "int8"):
        _, output = convert(tied, precision)
        assert mean_kl(transformers_logits(tied), openvino_logits(output)) < _ALLOWED[precision]


def test_a_dropped_rope_scaling_shows(tiny: Path, expected: Array, tmp_path: Path, convert: Convert) -> None:
    """The negative control: what the comparison above is for."""
    plain = shutil.copytree(tiny, tmp_path / "plain")
    config = json.loads((plain / "config.json").read_text())
    write_json(plain / "config.json", {**config, "rope_scaling": None})
    _, output = convert(plain, "bf16")
    assert mean_kl(expected, openvino_logits(output)) > _WRONG_ROPE


@pytest.mark.parametrize(
    ("kind", "precision", "allowed"),
    [
        (Type.F16, "bf16", 1e-3),
        (Type.BF16, "bf16", _EXACT),
        (Type.Q8_0, "int8", _EXACT),
        (Type.Q4_0, "int4", _EXACT),
        (Type.Q4_1, "int4", 1e-3),
        (Type.Q4_K, "int4", 1e-3),
        (Type.Q5_K, "int8", 0.01),
        (Type.Q6_K, "int8", 0.01),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_gguf_gives_the_logits_of_what_it_stands_for(
    tiny: Path, tmp_path: Path, convert: Convert, kind: Type, precision: Precision, allowed: float
) -> None:
    """Blocks with as many bits as asked for are taken over as they are; Q4_1's and Q4_K's minima become FP16."""
    weights = write_gguf(tiny, tmp_path / "tiny.gguf", kind)
    result, output = convert(tmp_path / "tiny.gguf", precision)
    assert mean_kl(transformers_logits(tiny, weights), openvino_logits(output)) < allowed
    assert result.precision == f"{precision}, from {kind.name}"


def test_a_gguf_without_rope_factors_is_another_model(tiny: Path, tmp_path: Path, convert: Convert) -> None:
    weights = write_gguf(tiny, tmp_path / "tiny.gguf", Type.F16, scaling=False)
    _, output = convert(tmp_path / "tiny.gguf", "bf16")
    assert mean_kl(transformers_logits(tiny, weights), openvino_logits(output)) > _WRONG_ROPE


@pytest.mark.parametrize("field", ["llama__rope__scaling__factor", "llama__rope__scale_linear"])
def test_a_linear_factor_gives_what_transformers_gives(
    tiny: Path, tmp_path: Path, convert: Convert, field: str
) -> None:
    """Neither file names a type. The reference of the build's own check reads the same fields, this one does not."""
    factor: dict[str, Any] = {field: 4.0}
    weights = write_gguf(tiny, tmp_path / "tiny.gguf", Type.BF16, scaling=False, **factor)
    linear = shutil.copytree(tiny, tmp_path / "linear")
    config = json.loads((linear / "config.json").read_text())
    write_json(linear / "config.json", {**config, "rope_scaling": {"rope_type": "linear", "factor": 4.0}})
    _, output = convert(tmp_path / "tiny.gguf", "bf16")
    found = openvino_logits(output)
    assert mean_kl(transformers_logits(linear, weights), found) < _EXACT
    write_json(linear / "config.json", {**config, "rope_scaling": None})
    assert mean_kl(transformers_logits(linear, weights), found) > _WRONG_ROPE / 2


def test_a_gguf_brings_its_tokenizer(tiny: Path, tmp_path: Path, convert: Convert) -> None:
    write_gguf(tiny, tmp_path / "tiny.gguf", Type.Q8_0)
    result, output = convert(tmp_path / "tiny.gguf", "int8")
    original = Tokenizer.from_file(str(tiny / "tokenizer.json"))
    made = Tokenizer.from_file(str(output / "tokenizer.json"))
    for text in corpus():
        assert made.encode(text).ids == original.encode(text, add_special_tokens=False).ids, text
    names = ("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>")
    assert result.stop_token_ids == tuple(original.token_to_id(name) for name in names)
    assert (result.context_length, result.chat_template) == (512, None)


def test_wrong_frequencies_are_found_while_building(
    tiny: Path, convert: Convert, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check of the build itself, which has no transformers at hand."""
    from nemotron_build.cpu import graph

    def without_scaling(path: Path, shape: ModelShape, _: Array, *rest: Any) -> None:
        write(path, shape, inverse_frequencies(dataclasses.replace(shape, rope_scaling=None)), *rest)

    write = graph.write_graph
    monkeypatch.setattr(graph, "write_graph", without_scaling)
    with pytest.raises(VerificationError, match="answers otherwise than its source: mean KL"):
        convert(tiny, "bf16")


def test_sizes_that_do_not_divide_are_refused(tmp_path: Path) -> None:
    odd = tiny_checkpoint(tmp_path / "odd", hidden=48, heads=4, layers=1)
    with pytest.raises(UnsupportedError, match=r"hidden size is 48, which int4 .* Use the profile cpu-bf16"):
        convert_for_cpu(odd, "int4", tmp_path / "out", report=lambda *_: None)


def test_weights_that_are_no_numbers_are_refused(tiny: Path, tmp_path: Path, convert: Convert) -> None:
    from safetensors.numpy import load_file

    from tests.unit.build.tiny import write_weights

    broken = shutil.copytree(tiny, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    weights[name] = weights[name].copy()
    weights[name][3, 5] = float("nan")
    write_weights(broken, weights)
    for precision in ("bf16", "int8", "int4"):
        with pytest.raises(CheckpointError, match=f"{name} holds values that are not finite"):
            convert(broken, precision)


def test_openvinos_own_words_are_one_line(tiny: Path, convert: Convert, monkeypatch: pytest.MonkeyPatch) -> None:
    from nemotron_build.cpu import graph

    def fail(*_: object) -> None:
        raise RuntimeError("Check failed\n  at some line\n")

    monkeypatch.setattr(graph, "write_graph", fail)
    with pytest.raises(BuildError, match=r"OpenVINO cannot convert tiny: Check failed at some line$"):
        convert(tiny, "bf16")


def test_the_size_is_known_beforehand(tiny: Path, converted: tuple[Precision, CpuResult, Path]) -> None:
    precision, _, output = converted
    shape, written = read_shape(tiny), (output / "openvino_model.bin").stat().st_size
    assert 0 <= written - weight_bytes(shape, precision) < 10_000  # the graph's own constants
    assert written < converted_bytes(shape, precision)


def test_the_size_of_llama_31_8b() -> None:
    """16.06 GB in BF16; 8.5 bits a weight; 5 bits a weight of the layers and 8.5 of the vocabulary."""
    sizes = {precision: converted_bytes(LLAMA_31_8B, precision) / 1e9 for precision in ("bf16", "int8", "int4")}
    assert sizes == {"bf16": pytest.approx(16.09, abs=0.01), "int8": pytest.approx(8.57, abs=0.01),
                     "int4": pytest.approx(5.51, abs=0.01)}  # fmt: skip
