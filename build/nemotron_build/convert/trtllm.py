"""The command lines of TensorRT-LLM's own scripts, for the serving image, where they lie beside the library.

Every option is one that the scripts of 1.2.1 know; tests/contract/test_build_options.py holds them against their lists.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Tokenizer

from nemotron_build.checkpoint.tensor_parallel import check_tp_size
from nemotron_build.errors import UnsupportedError

if TYPE_CHECKING:
    from nemotron_build.checkpoint.check import Checkpoint
    from nemotron_build.profiles import Profile

_EXAMPLES = Path("/app/tensorrt_llm/examples")
CONVERT_SCRIPT = _EXAMPLES / "models" / "core" / "llama" / "convert_checkpoint.py"
QUANTIZE_SCRIPT = _EXAMPLES / "quantization" / "quantize.py"

_DATASET_FILE = "train.jsonl"  # `datasets` reads the split from the name
_BEGIN_OF_TEXT = "<|begin_of_text|>"
# Where the scripts find one of these in a path, they take the model, or the data, for another kind.
_MISREAD_MODELS = ("vila", "llava", "mpt")
_MISREAD_DATASETS = ("cnn_dailymail", "scienceqa", "science_qa")


def scripts_are_here() -> bool:
    """Whether this is the serving image: TensorRT-LLM is installed and its scripts are in their place."""
    return find_spec("tensorrt_llm") is not None and CONVERT_SCRIPT.is_file() and QUANTIZE_SCRIPT.is_file()


def convert_command(checkpoint: Checkpoint, profile: Profile, output: Path) -> list[str]:
    """BF16: convert_checkpoint.py.

    Raises:
        UnsupportedError: tp_size does not divide the model, or the path would be misread.
    """
    check_tp_size(checkpoint.shape, profile.tp_size)
    _check_path("The checkpoint's path", checkpoint.path, _MISREAD_MODELS)
    return [
        *(sys.executable, str(CONVERT_SCRIPT)),
        *("--model_dir", str(checkpoint.path)),
        *("--output_dir", str(output)),
        *("--dtype", "bfloat16"),
        *("--tp_size", str(profile.tp_size)),
    ]


def quantize_command(checkpoint: Checkpoint, profile: Profile, dataset: Path, output: Path) -> list[str]:
    """FP8 weights, FP8 KV cache or both: quantize.py.

    Args:
        checkpoint: The source.
        profile: Says what becomes FP8, and how many samples are read.
        dataset: A directory that `write_dataset` wrote.
        output: Directory to make.

    Raises:
        UnsupportedError: as `convert_command`.
    """
    check_tp_size(checkpoint.shape, profile.tp_size)
    _check_path("The checkpoint's path", checkpoint.path, _MISREAD_MODELS)
    _check_path("The calibration data's path", dataset, _MISREAD_DATASETS)
    command = [
        *(sys.executable, str(QUANTIZE_SCRIPT)),
        *("--model_dir", str(checkpoint.path)),
        *("--output_dir", str(output)),
        *("--dtype", "bfloat16"),
        *("--qformat", "fp8" if profile.precision == "fp8" else "full_prec"),
        *("--calib_dataset", str(dataset)),
        *("--calib_size", str(profile.calibration.samples)),
        *("--calib_max_seq_length", str(profile.calibration.max_tokens)),
        *("--tp_size", str(profile.tp_size)),
    ]
    return [*command, "--kv_cache_dtype", "fp8"] if profile.kv_cache == "fp8" else command


def write_dataset(checkpoint: Checkpoint, profile: Profile, texts: Sequence[str], directory: Path) -> Path:
    """Write calibration texts as a data set that quantize.py loads offline.

    The script pads its rows to the longest and does not tell the model so. Texts are therefore joined to rows that are
    all too long, and cut there to `max_tokens` each.

    Args:
        checkpoint: Its tokenizer counts.
        profile: Says how long a row is.
        texts: As `calibration_texts` returns them.
        directory: Made if it is not there.

    Returns:
        `directory`.
    """
    tokenizer = Tokenizer.from_file(str(checkpoint.tokenizer.path))
    lengths = [len(encoded.ids) for encoded in tokenizer.encode_batch(list(texts), add_special_tokens=False)]
    rows = _joined(list(zip(texts, lengths, strict=True)), profile.calibration.max_tokens)
    directory.mkdir(parents=True, exist_ok=True)
    # The script's tokenizer adds the first beginning of text.
    lines = (json.dumps({"text": row.removeprefix(_BEGIN_OF_TEXT)}, ensure_ascii=False) + "\n" for row in rows)
    (directory / _DATASET_FILE).write_text("".join(lines), encoding="utf-8")
    return directory


def _joined(texts: list[tuple[str, int]], size: int) -> Iterator[str]:
    """Join texts, given with their tokens, to rows of more than `size`; the last is filled up from the first texts."""
    row, tokens = "", 0
    for place, (text, length) in enumerate(cycle(texts)):
        if place >= len(texts) and not row:
            return
        row, tokens = row + text, tokens + length
        if tokens > size:
            yield row
            row, tokens = "", 0


def _check_path(what: str, path: Path, misread: tuple[str, ...]) -> None:
    for word in misread:
        if word in str(path).lower():
            raise UnsupportedError(
                f"{what}, {path}, contains {word!r}, which TensorRT-LLM's scripts take for another kind. "
                "Move it, or name it through a link without that."
            )
