"""From a checkpoint or a GGUF file to what the engine `openvino` loads."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nemotron_build.checkpoint.tensors import expected_tensors
from nemotron_build.cpu.gguf_file import GgufFile
from nemotron_build.cpu.packed import GROUP, Packed, element_of, pack, weight_bytes
from nemotron_build.cpu.weight_source import WeightSource, blocks
from nemotron_build.errors import BuildError, CheckpointError, UnsupportedError
from nemotron_serving.package import TOKENIZER

if TYPE_CHECKING:
    from nemotron_build.checkpoint.shape import ModelShape
    from nemotron_build.cpu.fidelity import CpuAccuracy
    from nemotron_build.profiles import Precision
    from nemotron_build.steps import Report

MODEL = "openvino_model.xml"
ENGINE_FILES = tuple(
    f"openvino_{name}.{end}" for name in ("model", "tokenizer", "detokenizer") for end in ("xml", "bin")
)
"""What the engine loads. Structured answers are matched against the texts of the two tokenizers' tokens."""

_OTHER_BYTES = 32_000_000  # the two tokenizers, tokenizer.json, the graph


@dataclass(frozen=True)
class CpuResult:
    """What was made, for the package.

    Attributes:
        precision: How the weights are stored, for people, such as `int4, from Q4_1 and Q8_0`.
        openvino: Version of OpenVINO GenAI.
        stop_token_ids: Tokens that end an output, the one that ends a turn first.
        context_length: Tokens that the model was made for.
        chat_template: Its own Jinja template, if it has one.
        accuracy: Against the source, on one short prompt.
    """

    precision: str
    openvino: str
    stop_token_ids: tuple[int, ...]
    context_length: int
    chat_template: str | None
    accuracy: CpuAccuracy


def convert_for_cpu(path: Path | GgufFile, precision: Precision, output: Path, *, report: Report) -> CpuResult:
    """Write `ENGINE_FILES` and tokenizer.json, and compare them with the source.

    Memory: the weights in their new precision, and one block of FP32. Disk: `converted_bytes`.

    Args:
        path: Directory of a Hugging Face checkpoint, or a GGUF file.
        precision: `bf16`, `int8` or `int4`. A vocabulary's matrix has 8 bits where layers have 4. Blocks of a GGUF
            file that have just these bits are taken over as they are.
        output: Directory to write into, made if it is not there.
        report: Told what is going on.

    Raises:
        CheckpointError: the source is damaged, no plain Llama, or of a tokenizer that cannot be reproduced.
        UnsupportedError: sizes that do not divide into groups of 32 weights.
        VerificationError: what was written is not what the source says.
    """
    output.mkdir(parents=True, exist_ok=True)
    if isinstance(path, Path) and path.is_dir():
        opened = _from_checkpoint(path, output)
    else:
        opened = _from_gguf(path if isinstance(path, GgufFile) else GgufFile(path), output)
    _check_sizes(opened.source.shape, precision)
    try:
        return _convert(opened, precision, output, report)
    except RuntimeError as error:
        raise BuildError(f"OpenVINO cannot convert {opened.name}: {' '.join(str(error).split())}") from error


def converted_bytes(shape: ModelShape, precision: Precision) -> int:
    """Size of what `convert_for_cpu` writes, give or take a hundredth."""
    return weight_bytes(shape, precision) + _OTHER_BYTES


@dataclass(frozen=True)
class _Opened:
    name: str
    source: WeightSource
    stop_token_ids: tuple[int, ...]
    chat_template: str | None


def _from_checkpoint(path: Path, output: Path) -> _Opened:
    from nemotron_build.checkpoint.check import check_checkpoint
    from nemotron_build.cpu.weight_source import SafetensorsSource

    checkpoint = check_checkpoint(path)
    shutil.copyfile(checkpoint.tokenizer.path, output / TOKENIZER)
    source = SafetensorsSource(checkpoint.shape, checkpoint.tensors)
    return _Opened(path.name, source, checkpoint.stop_token_ids, checkpoint.tokenizer.chat_template)


def _from_gguf(file: GgufFile, output: Path) -> _Opened:
    from nemotron_build.cpu.gguf_tokenizer import make_tokenizer, read_vocabulary
    from nemotron_build.cpu.gguf_weights import GgufSource

    source = GgufSource(file)
    vocabulary = read_vocabulary(file)
    if len(vocabulary.tokens) > source.shape.vocab_size:
        raise CheckpointError(
            f"{file.path.name} has {len(vocabulary.tokens)} tokens and {source.shape.vocab_size} rows in its "
            "token_embd.weight. Download it again."
        )
    make_tokenizer(vocabulary).save(str(output / TOKENIZER))
    return _Opened(file.path.name, source, vocabulary.stop_token_ids, vocabulary.chat_template or None)


def _check_sizes(shape: ModelShape, precision: Precision) -> None:
    sizes = {"hidden": shape.hidden_size, "intermediate": shape.intermediate_size, "query": shape.query_size}
    for name, size in sizes.items():
        if precision != "bf16" and size % GROUP:
            raise UnsupportedError(
                f"The {name} size is {size}, which {precision} cannot divide into groups of {GROUP} weights. "
                "Use the profile cpu-bf16."
            )


def _convert(opened: _Opened, precision: Precision, output: Path, report: Report) -> CpuResult:
    import openvino_genai
    from tokenizers import Tokenizer

    from nemotron_build.cpu.fidelity import check_answers, check_weights, prompt_ids
    from nemotron_build.cpu.graph import write_graph
    from nemotron_build.cpu.openvino_tokenizer import check_against_openvino, write_tokenizer_ir

    source, model = opened.source, output / MODEL
    matrices = [name for name, size in expected_tensors(source.shape).items() if len(size) > 1]

    def matrix(name: str) -> Packed:
        report(f"packing {name}", matrices.index(name), len(matrices))
        return _pack(source, name, precision)

    report("making the tokenizer", 0, len(matrices))
    write_tokenizer_ir(output / TOKENIZER, output, opened.stop_token_ids)
    tokenizer = Tokenizer.from_file(str(output / TOKENIZER))
    check_against_openvino(tokenizer, output)
    write_graph(model, source.shape, source.inverse_frequencies, matrix, source.vector)
    report("comparing weights", len(matrices), len(matrices))
    check_weights(model, source)
    report("comparing answers", len(matrices), len(matrices))
    accuracy = check_answers(model, source, precision, prompt_ids(tokenizer))
    return CpuResult(
        precision=f"{precision}, from {source.description}",
        openvino=openvino_genai.__version__.split("-")[0],
        stop_token_ids=opened.stop_token_ids,
        context_length=source.shape.max_position_embeddings,
        chat_template=opened.chat_template,
        accuracy=accuracy,
    )


def _pack(source: WeightSource, name: str, precision: Precision) -> Packed:
    element = element_of(name, precision)
    if precision == "int4" and source.stores_four_bits(name):
        element = "u4"
    packed = source.as_stored(name, element)
    if packed is None:
        rows, columns = expected_tensors(source.shape)[name]
        parts = (source.rows(name, np.arange(part.start, part.stop)) for part in blocks(rows, columns))
        packed = pack(parts, rows, columns, element)
    if not packed.is_finite():
        raise CheckpointError(f"{name} holds values that are not finite. Download the model again.")
    return packed
