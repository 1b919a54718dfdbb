"""A whole checkpoint, and one for each way in which it can be wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from nemotron_build.checkpoint.check import check_checkpoint
from nemotron_build.checkpoint.shape import read_shape
from nemotron_build.checkpoint.tensors import WEIGHTS, expected_tensors
from nemotron_build.errors import CheckpointError
from tests.unit.build.checkpoint.conftest import EditJson
from tests.unit.build.tiny import Array, random_weights, tiny_checkpoint, tiny_tokenizer, write_weights

_NORM = "model.layers.1.input_layernorm.weight"
_OUTPUT = "lm_head.weight"


@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize("shards", [1, 3])
def test_a_whole_checkpoint(tmp_path: Path, tie: bool, shards: int) -> None:
    directory = tiny_checkpoint(tmp_path, tie=tie, shards=shards)
    found = check_checkpoint(directory, scan_values=True)
    tokenizer = tiny_tokenizer()
    assert found.shape == read_shape(directory)
    assert {name: record.shape for name, record in found.tensors.items()} == expected_tensors(found.shape)
    assert (found.dtype, found.bytes) == ("bfloat16", 2 * found.shape.parameters)
    assert found.stop_token_ids[0] == tokenizer.token_to_id("<|eot_id|>")
    assert found.tokenizer.vocab_size == 512
    assert (found.notes, found.revision) == ((), None)
    assert {file.name for file in directory.iterdir()} == {file.name for file in found.files}


def test_not_a_directory(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is not there\. Name a Hugging Face checkpoint's directory"):
        check_checkpoint(tmp_path / "nothing")


def test_missing_tensors_are_counted(checkpoint: Path) -> None:
    weights = random_weights(checkpoint, 0)
    write_weights(checkpoint, {name: values for name, values in weights.items() if ".2." not in name})
    _refused(checkpoint, "model.layers.2.input_layernorm.weight is missing (and 8 more), of the 30 weights")


def test_one_layer_more_than_config_says(checkpoint: Path, edit: EditJson) -> None:
    edit("config.json", num_hidden_layers=2)
    _refused(checkpoint, "(and 8 more) is no weight of the Llama in config.json")


def test_scales_tell_of_a_quantized_checkpoint(checkpoint: Path) -> None:
    _add(checkpoint, {"model.layers.0.mlp.up_proj.weight_scale": np.ones(1, np.float32)})
    _refused(checkpoint, "up_proj.weight_scale is no weight", "Name the checkpoint that was quantized")


def test_bias(checkpoint: Path) -> None:
    _add(checkpoint, {"model.layers.0.self_attn.q_proj.bias": np.ones(128, ml_dtypes.bfloat16)})
    _refused(checkpoint, "q_proj.bias is no weight", "Biases and adapters cannot be built from")


def test_shape_of_another_model(checkpoint: Path, edit: EditJson) -> None:
    edit("config.json", num_key_value_heads=4)
    _refused(checkpoint, "k_proj.weight is [32, 128], config.json says [64, 128]")


def test_norms_may_be_in_another_dtype(checkpoint: Path) -> None:
    """As training in mixed precision leaves them."""
    _add(checkpoint, {_NORM: np.ones(128, np.float32)})
    found = check_checkpoint(checkpoint, scan_values=True)
    assert (found.dtype, found.tensors[_NORM].dtype) == ("bfloat16", "F32")


def test_an_output_layer_that_is_the_embedding_in_another_dtype(tmp_path: Path) -> None:
    tied = tiny_checkpoint(tmp_path, tie=True)
    embedding = random_weights(tied, 0)["model.embed_tokens.weight"]
    _add(tied, {_OUTPUT: embedding.astype(np.float32)})
    assert check_checkpoint(tied).notes == (f"{_OUTPUT}: ignored, not a weight of its own.",)
    _add(tied, {_OUTPUT: embedding.astype(np.float32) * 1.001})
    _refused(tied, "lm_head.weight is not model.embed_tokens.weight")


@pytest.mark.parametrize("named", ["torch.bfloat16", "auto", "bfloat16"])
@pytest.mark.parametrize("field", ["torch_dtype", "dtype"])
def test_names_of_a_dtype(checkpoint: Path, edit: EditJson, field: str, named: str) -> None:
    edit("config.json", torch_dtype=None)
    edit("config.json", **{field: named})
    assert check_checkpoint(checkpoint).shape.dtype == "bfloat16"


def test_dtype_that_nothing_is_built_from(checkpoint: Path) -> None:
    _add(checkpoint, {_NORM: np.ones(128, ml_dtypes.float8_e4m3fn)})
    _refused(checkpoint, f"{_NORM} is F8_E4M3, expected one of BF16, F16, F32")


def test_dtype_of_config_and_tensors_differ(checkpoint: Path, edit: EditJson) -> None:
    edit("config.json", torch_dtype="float16")
    _refused(checkpoint, "torch_dtype is 'float16', the tensors are bfloat16")


def test_the_tensors_say_the_dtype_where_config_does_not(checkpoint: Path, edit: EditJson) -> None:
    edit("config.json", torch_dtype=None)
    assert check_checkpoint(checkpoint).shape.dtype == "bfloat16"


@pytest.mark.parametrize(("dtype", "name"), [(np.float16, "float16"), (np.float32, "float32")])
def test_other_dtypes(checkpoint: Path, edit: EditJson, dtype: type, name: str) -> None:
    edit("config.json", torch_dtype=name)
    write_weights(checkpoint, {key: values.astype(dtype) for key, values in random_weights(checkpoint, 0).items()})
    assert check_checkpoint(checkpoint, scan_values=True).dtype == name


def test_rotary_buffers_are_ignored(checkpoint: Path) -> None:
    name = "model.layers.{}.self_attn.rotary_emb.inv_freq"
    _add(checkpoint, {name.format(layer): np.ones(8, np.float32) for layer in range(3)})
    found = check_checkpoint(checkpoint)
    assert name.format(0) not in found.tensors
    assert found.notes == (f"{name.format(0)} (and 2 more): ignored, not a weight of its own.",)


def test_tied_output_layer_may_be_stored_again(tmp_path: Path) -> None:
    directory = tiny_checkpoint(tmp_path, tie=True)
    embedding = random_weights(directory, 0)["model.embed_tokens.weight"]
    _add(directory, {_OUTPUT: embedding})
    assert _OUTPUT not in check_checkpoint(directory).tensors
    _add(directory, {_OUTPUT: embedding + embedding})
    _refused(directory, "config.json says tie_word_embeddings. Set it to false if the output layer was trained")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "training_args.bin", "optimizer.pt", "model.CKPT", "data.pkl"])
def test_pickle_beside_safetensors(checkpoint: Path, name: str) -> None:
    (checkpoint / name).write_bytes(b"\x80\x02")
    _refused(checkpoint, f"holds {name}: a pickle runs code when it is loaded. Remove it")


def test_nothing_but_pickles(checkpoint: Path) -> None:
    (checkpoint / WEIGHTS).unlink()
    for number in (1, 2):
        (checkpoint / f"pytorch_model-0000{number}-of-00002.bin").touch()
    _refused(checkpoint, "pytorch_model-00001-of-00002.bin (and 1 more)", "Download it as safetensors")


def test_subdirectories_and_other_files_are_left_alone(checkpoint: Path) -> None:
    (checkpoint / "original").mkdir()
    (checkpoint / "original" / "consolidated.00.pth").touch()
    (checkpoint / "modeling_llama.py").write_text("raise SystemExit")
    shutil.copyfile(checkpoint / WEIGHTS, checkpoint / "consolidated.safetensors")
    assert check_checkpoint(checkpoint).notes == (
        "modeling_llama.py: ignored, code of a checkpoint is never run.",
        "consolidated.safetensors: ignored, the model's weights are in other files.",
    )


def test_quantized_by_its_config(checkpoint: Path, edit: EditJson) -> None:
    edit("config.json", quantization_config={"quant_method": "modelopt"})
    _refused(checkpoint, "is quantized already: it has quantization_config in config.json. Name the checkpoint in BF16")


def test_quantized_by_a_file(checkpoint: Path) -> None:
    (checkpoint / "hf_quant_config.json").write_text("{}")
    _refused(checkpoint, "is quantized already: it has hf_quant_config.json")


@pytest.mark.parametrize(
    ("planted", "said"),
    [(np.nan, "holds a NaN or an infinity"), (-np.inf, "holds a NaN or an infinity"), (0.0, "is all zeros")],
    ids=str,
)
@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, np.float32])
def test_scan(checkpoint: Path, edit: EditJson, planted: float, said: str, dtype: type) -> None:
    edit("config.json", torch_dtype=None)
    weights: dict[str, Array] = {name: values.astype(dtype) for name, values in random_weights(checkpoint, 0).items()}
    if planted:
        weights[_NORM][77] = planted
    else:
        weights[_NORM][:] = planted
    write_weights(checkpoint, weights)
    check_checkpoint(checkpoint)
    with pytest.raises(CheckpointError, match=f"{_NORM} {said}"):
        check_checkpoint(checkpoint, scan_values=True)


def test_scan_tells_how_far_it_is(checkpoint: Path) -> None:
    told: list[tuple[str, int, int]] = []
    found = check_checkpoint(checkpoint, scan_values=True, progress=lambda *now: told.append(now))
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert told[-1][1:] == (found.bytes, found.bytes)
    assert {name for name, _, _ in told} == set(found.tensors)


def _refused(directory: Path, *said: str) -> None:
    with pytest.raises(CheckpointError) as refused:
        check_checkpoint(directory)
    message = str(refused.value)
    assert message.startswith(str(directory))
    assert "\n" not in message
    for part in said:
        assert part in message


def _add(directory: Path, tensors: dict[str, Array]) -> None:
    write_weights(directory, random_weights(directory, 0) | tensors)
