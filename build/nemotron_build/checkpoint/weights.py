"""Whether the tensors of a checkpoint are the weights of the Llama that its config.json describes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nemotron_build.checkpoint.files import and_more
from nemotron_build.checkpoint.shape import CONFIG, ModelShape
from nemotron_build.checkpoint.tensors import EMBEDDING, OUTPUT, TensorRecord, expected_tensors
from nemotron_build.checkpoint.values import same_values
from nemotron_build.errors import CheckpointError

DTYPE_NAMES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
"""What a source may be stored in: safetensors' word, and that of config.json."""

# Old checkpoints store what is computed from rope_theta.
_COMPUTED = ".rotary_emb.inv_freq"


def own_tensors(path: Path, found: Mapping[str, TensorRecord], shape: ModelShape) -> dict[str, TensorRecord]:
    """Pick the weights that a Llama of this shape has, and make sure that there are no others.

    Raises:
        CheckpointError: naming the first that is missing, unknown or of other dimensions.
    """
    expected = expected_tensors(shape)
    _check_names(path, found, expected)
    for name, size in expected.items():
        if found[name].shape != size:
            raise CheckpointError(
                f"{found[name].file}: {name} is {list(found[name].shape)}, {CONFIG} says {list(size)}. "
                "They are not of the same model: download both again."
            )
    if OUTPUT in found and OUTPUT not in expected and not same_values(found[OUTPUT], found[EMBEDDING]):
        raise CheckpointError(
            f"{found[OUTPUT].file}: {OUTPUT} is not {EMBEDDING}, {CONFIG} says tie_word_embeddings. "
            "Set it to false if the output layer was trained."
        )
    return {name: found[name] for name in expected}


def main_dtype(tensors: Mapping[str, TensorRecord]) -> str:
    """The dtype of most weights, in config.json's words. Norms may be in another one.

    Raises:
        CheckpointError: naming the first of a dtype that nothing can be built from.
    """
    for name, record in tensors.items():
        if record.dtype not in DTYPE_NAMES:
            raise CheckpointError(
                f"{record.file}: {name} is {record.dtype}, expected one of {', '.join(DTYPE_NAMES)}. "
                "Name a checkpoint that is not quantized."
            )
    return DTYPE_NAMES[dtypes(tensors)[0]]


def dtypes(tensors: Mapping[str, TensorRecord]) -> list[str]:
    """The dtypes that weights have, in safetensors' words, that of the most bytes first."""
    sizes: Counter[str] = Counter()
    for record in tensors.values():
        sizes[record.dtype] += record.bytes
    return [dtype for dtype, _ in sizes.most_common()]


def _check_names(path: Path, found: Mapping[str, TensorRecord], expected: Mapping[str, Any]) -> None:
    missing = [name for name in expected if name not in found]
    if missing:
        raise CheckpointError(
            f"{path}: {missing[0]} is missing{and_more(missing)}, of the {len(expected)} weights of the "
            f"Llama in {CONFIG}. Download it again."
        )
    unknown = [name for name in found if name not in expected and not _harmless(name)]
    if unknown:
        remedy = (
            "Name the checkpoint that was quantized."
            if "scale" in unknown[0]
            else "Biases and adapters cannot be built from; if there should be none, download both again."
        )
        raise CheckpointError(
            f"{found[unknown[0]].file}: {unknown[0]}{and_more(unknown)} is no weight of the Llama in {CONFIG}. {remedy}"
        )


def _harmless(name: str) -> bool:
    return name == OUTPUT or name.endswith(_COMPUTED)
