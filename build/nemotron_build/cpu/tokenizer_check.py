"""Holds tokenizer.json against OpenVINO's tokenizer of the same vocabulary."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer

from nemotron_build.byte_level import letters_of_bytes
from nemotron_build.cpu.tokenizer_corpus import corpus
from nemotron_build.errors import VerificationError


def check_against_openvino(tokenizer: Tokenizer, openvino_directory: Path) -> int:
    """Compare the text of every token, encode the corpus with both and decode it again.

    Args:
        tokenizer: What goes into the package.
        openvino_directory: Has openvino_tokenizer.xml and openvino_detokenizer.xml.

    Returns:
        The number of strings on which both agree.

    Raises:
        VerificationError: naming the first token or string on which they differ, or that does not come back from
            decoding.
    """
    import openvino_genai

    reference = openvino_genai.Tokenizer(openvino_directory)
    _compare_tokens(tokenizer, {id_: text for text, id_ in reference.get_vocab().items()})
    by_merges = _without_whole_words(tokenizer)
    strings = corpus()
    for text in strings:
        ids = by_merges.encode(text, add_special_tokens=False).ids
        expected = reference.encode(text, add_special_tokens=False).input_ids.data[0].tolist()
        if ids != expected:
            raise VerificationError(f"tokenizer.json encodes {text!r} as {ids}, OpenVINO's tokenizer as {expected}.")
        check_round_trip(tokenizer, text, tokenizer.encode(text, add_special_tokens=False).ids)
    return len(strings)


def check_round_trip(tokenizer: Tokenizer, text: str, ids: list[int]) -> None:
    """Make sure that `ids` decode to `text`.

    Raises:
        VerificationError: naming the string and what it became.
    """
    decoded = tokenizer.decode(ids, skip_special_tokens=False)
    if decoded != text:
        raise VerificationError(f"tokenizer.json decodes {text!r} as {decoded!r}.")


def _compare_tokens(tokenizer: Tokenizer, texts: dict[int, bytes]) -> None:
    """Structured answers are matched against OpenVINO's texts, and written with the tokenizer's."""
    letters = letters_of_bytes()
    special = {id_: token.content for id_, token in tokenizer.get_added_tokens_decoder().items()}
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    for token, id_ in sorted(vocabulary.items(), key=lambda item: item[1]):
        text = special[id_].encode() if id_ in special else bytes(letters[letter] for letter in token)
        if texts.get(id_) != text:
            raise VerificationError(f"Token {id_} is {text!r} in tokenizer.json, {texts.get(id_)!r} in OpenVINO's.")


def _without_whole_words(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer as OpenVINO can have it.

    Llama 3 takes a word that is a token as that token, also where its merges do not lead there. OpenVINO's tokenizer
    follows the merges alone. It encodes nothing here: the server hands over ids.
    """
    content = json.loads(tokenizer.to_str())
    if not content["model"].get("ignore_merges"):
        return tokenizer
    content["model"]["ignore_merges"] = False
    return Tokenizer.from_str(json.dumps(content))
