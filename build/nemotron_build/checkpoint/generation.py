"""generation_config.json: which tokens end an output, and how the model's makers sample."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from nemotron_build.checkpoint.shape import CONFIG, ModelShape
from nemotron_build.checkpoint.tokenizer import TokenizerFacts
from nemotron_build.errors import CheckpointError
from nemotron_build.json_file import read_json
from nemotron_build.serving_defaults import NEMOTRON_STOP_TOKENS
from nemotron_serving.package import SamplingDefaults

GENERATION_CONFIG = "generation_config.json"


@dataclass(frozen=True)
class GenerationFacts:
    """How outputs begin and end.

    Attributes:
        stop_token_ids: Every token that ends an output, `<|eot_id|>` first: TensorRT-LLM's end id is the first.
        sampling: What the checkpoint recommends; None where it says nothing.
    """

    stop_token_ids: tuple[int, ...]
    sampling: SamplingDefaults | None


def read_generation(checkpoint: Path, shape: ModelShape, tokenizer: TokenizerFacts) -> GenerationFacts:
    """Read generation_config.json; where it names no end of output, config.json does.

    Raises:
        CheckpointError: it is not JSON, names a token that the model does not have or an impossible sampling, or
            nothing at all ends an output.
    """
    path = checkpoint / GENERATION_CONFIG
    generation = read_json(path, _Generation) if path.is_file() else _Generation()
    where, named = path, generation.ends
    if not named:
        where = checkpoint / CONFIG
        named = read_json(where, _Generation).ends
    for id_ in named:
        if not 0 <= id_ < shape.vocab_size:
            raise CheckpointError(
                f"{where}: eos_token_id {id_} is not an id below vocab_size {shape.vocab_size}. Download it again."
            )
    known = [tokenizer.control_ids[name] for name in NEMOTRON_STOP_TOKENS if name in tokenizer.control_ids]
    stops = tuple(dict.fromkeys([*known, *named]))
    if not stops:
        raise CheckpointError(f"{checkpoint} names no eos_token_id in {GENERATION_CONFIG} or {CONFIG}. Add it.")
    return GenerationFacts(stops, _sampling(generation, path))


class _Generation(msgspec.Struct):
    eos_token_id: int | list[int] | None = None
    do_sample: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None

    @property
    def ends(self) -> list[int]:
        if self.eos_token_id is None:
            return []
        return [self.eos_token_id] if isinstance(self.eos_token_id, int) else self.eos_token_id


def _sampling(generation: _Generation, path: Path) -> SamplingDefaults | None:
    if not generation.do_sample:
        return None if generation.do_sample is None else SamplingDefaults()
    given = {
        "temperature": 1.0 if generation.temperature is None else generation.temperature,
        "top_p": generation.top_p,
        "top_k": generation.top_k,
        "repetition_penalty": generation.repetition_penalty,
    }
    sampling = msgspec.convert({name: value for name, value in given.items() if value is not None}, SamplingDefaults)
    if (name := sampling.out_of_range()) is not None:
        raise CheckpointError(f"{path}: {name} {given[name]} is out of range. Correct or remove it.")
    return sampling
