"""The model that a plan is for: from the headers of a checkpoint or GGUF file, or Nemotron Nano's known shape."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nemotron_build.checkpoint.shape import LLAMA_31_8B, ModelShape, read_shape
from nemotron_build.checkpoint.tensors import expected_tensors, read_tensors
from nemotron_build.errors import CheckpointError
from nemotron_serving.paths import is_gguf, no_checkpoint


@dataclass(frozen=True)
class PlannedModel:
    """A model's shape, and where it is known from."""

    shape: ModelShape
    description: str


def read_model(checkpoint: Path | None) -> PlannedModel:
    """Read config.json and the headers of the safetensors files, or a GGUF file's; no weights are loaded.

    Raises:
        CheckpointError: not a checkpoint of a Llama-shaped model, damaged, or not of the shape in its config.json.
    """
    if checkpoint is None:
        return PlannedModel(LLAMA_31_8B, "Llama 3.1 8B, the shape of Nemotron Nano 8B: no checkpoint was named")
    if is_gguf(checkpoint):
        return _from_gguf(checkpoint)
    if not checkpoint.is_dir():
        raise CheckpointError(no_checkpoint(checkpoint, gguf=True))
    shape = read_shape(checkpoint)
    size = f"{shape.parameters / 1e9:.2f} B parameters"
    if not any(checkpoint.glob("*.safetensors")):
        return PlannedModel(shape, f"{checkpoint}, {size} by its config.json: no weights are there yet")
    found = {name: record.shape for name, record in read_tensors(checkpoint).items()}
    for name, dimensions in expected_tensors(shape).items():
        if found.get(name) != dimensions:
            raise CheckpointError(
                f"{checkpoint}: {name} is {found.get(name, 'missing')}, its config.json says {dimensions}. "
                "See 'nemotron-build check'."
            )
    return PlannedModel(shape, f"{checkpoint}, {size} in {len(found)} tensors")


def _from_gguf(path: Path) -> PlannedModel:
    from nemotron_build.cpu.gguf_file import GgufFile
    from nemotron_build.cpu.gguf_weights import GgufSource

    shape = GgufSource(GgufFile(path)).shape
    return PlannedModel(shape, f"{path}, {shape.parameters / 1e9:.2f} B parameters, a GGUF file")
