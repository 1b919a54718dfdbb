"""Holds tokenizer.json against the tokenizer that OpenVINO made from the same GGUF."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from nemotron_build.errors import BuildError
from nemotron_build.tokenizer_corpus import corpus


def check_against_openvino(tokenizer: Tokenizer, openvino_directory: Path) -> int:
    """Encode the corpus with both and decode it again.

    Args:
        tokenizer: What goes into the package.
        openvino_directory: Has openvino_tokenizer.xml.

    Returns:
        The number of strings on which both agree.

    Raises:
        BuildError: naming the first string on which they differ, or that does not come back from decoding.
    """
    import openvino_genai

    reference = openvino_genai.Tokenizer(openvino_directory)
    strings = corpus()
    for text in strings:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        expected = reference.encode(text, add_special_tokens=False).input_ids.data[0].tolist()
        if ids != expected:
            raise BuildError(f"tokenizer.json encodes {text!r} as {ids}, OpenVINO's tokenizer as {expected}.")
        check_round_trip(tokenizer, text, ids)
    return len(strings)


def check_round_trip(tokenizer: Tokenizer, text: str, ids: list[int]) -> None:
    """Make sure that `ids` decode to `text`.

    Raises:
        BuildError: naming the string and what it became.
    """
    decoded = tokenizer.decode(ids, skip_special_tokens=False)
    if decoded != text:
        raise BuildError(f"tokenizer.json decodes {text!r} as {decoded!r}.")
