# ruff: noqa: RUF001 - look-alikes of Latin letters are among what is tested here
"""OpenVINO's tokenizer and detokenizer out of a tokenizer.json, and tokenizer.json held against them.

The engine gets token ids and gives token ids; it takes from these files the text of each token, which structured
answers are matched against, and the token that ends them. OpenVINO's own converter wants transformers and a tokenizer
object of it, so the steps that it would find are named here, for the byte-level BPE that Llama 3 and SmolLM have.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from nemotron_build.errors import CheckpointError, VerificationError
from nemotron_serving.output.detokenizer import byte_of_character


def write_tokenizer_ir(tokenizer_json: Path, directory: Path, stop_token_ids: Sequence[int]) -> None:
    """Write openvino_tokenizer.* and openvino_detokenizer.*.

    Args:
        tokenizer_json: A byte-level BPE. No tokens are added at its begin or end: prompts come with theirs.
        directory: Where to write.
        stop_token_ids: The first one ends a structured answer.

    Raises:
        CheckpointError: another kind of tokenizer.
    """
    import openvino
    from openvino_tokenizers.constants import UTF8ReplaceMode
    from openvino_tokenizers.tokenizer_pipeline import (
        BPETokenizationStep,
        BytesToCharsStep,
        CharsToBytesStep,
        PaddingStep,
        SpecialToken,
        SpecialTokensSplit,
        TokenizerPipeline,
        UTF8ValidateStep,
        VocabDecoderStep,
    )
    from openvino_tokenizers.utils import (
        change_inputs_type,
        change_outputs_type,
        update_rt_info_with_environment,
    )

    content = json.loads(tokenizer_json.read_text(encoding="utf-8"))
    _check(content, tokenizer_json)
    added = content["added_tokens"]
    pipeline = TokenizerPipeline()
    pipeline.add_steps(
        SpecialTokensSplit([SpecialToken(token["content"], token["lstrip"], token["rstrip"]) for token in added])
    )
    pipeline.add_steps([*_splits(content["pre_tokenizer"], tokenizer_json), BytesToCharsStep()])
    pipeline.add_steps(BPETokenizationStep.from_hf_json(content))
    pipeline.vocab = pipeline[-1].vocab
    pipeline.add_steps(PaddingStep(pad_right=False))
    skipped = [token["id"] for token in added if token["special"]]
    pipeline.add_steps([VocabDecoderStep(None, skipped), CharsToBytesStep(), UTF8ValidateStep(UTF8ReplaceMode.REPLACE)])
    tokenizer = change_outputs_type(pipeline.get_tokenizer_ov_subgraph(), openvino.Type.i64)
    detokenizer = change_inputs_type(pipeline.get_detokenizer_ov_subgraph(), openvino.Type.i64)
    for name, model in (("tokenizer", tokenizer), ("detokenizer", detokenizer)):
        update_rt_info_with_environment(model)
        model.set_rt_info(stop_token_ids[0], "eos_token_id")
        model.set_rt_info(stop_token_ids[0], "pad_token_id")
        openvino.save_model(model, directory / f"openvino_{name}.xml", compress_to_fp16=False)


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


def _splits(pre_tokenizer: dict[str, Any], where: Path) -> list[Any]:
    """The regular expressions that cut a text into words."""
    from openvino_tokenizers.tokenizer_pipeline import RegexSplitStep

    found = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    match [step["type"] for step in found], found:
        case ["Split", "ByteLevel"], [{"behavior": "Isolated", "pattern": {"Regex": pattern}}, {"use_regex": False}]:
            return [RegexSplitStep(pattern, behaviour="isolate")]
        case ["Digits", "ByteLevel"], [{"individual_digits": True}, {"use_regex": True}]:
            words = RegexSplitStep.byte_level_splitter()
            # One after the other: joined to one expression they cut the space before a digit elsewhere.
            return [RegexSplitStep(r"\p{N}", behaviour="isolate", mergeable=False), words]
        case ["ByteLevel"], [{"use_regex": True}]:
            return [RegexSplitStep.byte_level_splitter()]
    raise CheckpointError(
        f"{where}: the pre-tokenizer {' then '.join(step['type'] for step in found)} is not one of those known here. "
        "Only tokenizers of Llama 3's and SmolLM's kind can be built for the CPU."
    )


def _check(content: dict[str, Any], where: Path) -> None:
    kind = content["model"]["type"]
    if kind != "BPE" or (content["decoder"] or {}).get("type") != "ByteLevel":
        raise CheckpointError(f"{where}: a {kind} tokenizer; only byte-level BPE can be built for the CPU.")
    if content["pre_tokenizer"] is None:
        raise CheckpointError(
            f"{where} has no pre-tokenizer; only tokenizers of Llama 3's and SmolLM's kind can be built."
        )
    if content["normalizer"] is not None:
        raise CheckpointError(f"{where} has a normalizer; only tokenizers without one can be built for the CPU.")


def _compare_tokens(tokenizer: Tokenizer, texts: dict[int, bytes]) -> None:
    """Structured answers are matched against OpenVINO's texts, and written with the tokenizer's."""
    letters = byte_of_character()
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


_WORDS = (
    "Hello world",
    "naïve façade, Ærøskøbing, Łódź, Çeşme, Việt Nam",
    "e\u0301 n\u0303 o\u0302\u0323 a\u0308\u0304",
    "สวัสดีครับ ผมชื่อสมชาย",
    "กำลังทดสอบ น้ำ ที่นี่",
    "नमस्ते दुनिया, क्षत्रिय",
    "আমি বাংলায় কথা বলি",
    "வணக்கம் உலகம்",
    "كيف حالك؟ السَّلَامُ عَلَيْكُمْ",
    "שלום עולם, בְּרֵאשִׁית",
    "中文测试,繁體字。",
    "日本語のテスト、カタカナとひらがな",
    "안녕하세요 세계",
    "Привет, мир! Ёлка",
    "Γειά σου Κόσμε, ἀρχή",
    "Բարեւ աշխարհ",
    "გამარჯობა მსოფლიო",
    "ሰላም ዓለም",
    "မင်္ဂလာပါ",
    "ជំរាបសួរ",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🇹🇭🇺🇸",
    "👍🏽👋🏿 ❤️ 1️⃣ ☕",
    "1234567890",
    "3.14159 1,000,000 0x7fFF 1e-9",
    "½ ² ३ ٤ ３ Ⅷ",
    "don't we'll I'M they've HE'D",
    "def f(x):\n    return {'a': [x, *y]}  # ok",
    'SELECT * FROM "t" WHERE a <> b;',
    "https://example.org/a?b=c&d=%20#e",
    '{"name": "get_weather", "arguments": {"city": "Bangkok"}}',
    "<think>\n2 + 2 = 4\n</think>\n\n",
    "<|im_start|>user\nhi<|im_end|>\n",
    "<|endoftext|>",
    "<|im_start> <im_end|> <|im_start |> |im_end|>",
    "<|im_end|><|im_end|>",
    "$€¥฿ ∑∫√∞ ≠≤ → ⇒",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈 𓀀 𠜎",
    "«quotes» „low“ ‘single’ … — –",
    "Pneumonoultramicroscopicsilicovolcanoconiosis",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "\u200b\u200d\u2060\ufeff\u00ad",
    "\u202eright to left\u202c",
    "\u0000\u0001\u001f\u007f",
    "\ufffd\uffff\U0010ffff",
)
_SPACES = (" ", "  ", "   ", "\t", "\n", "\n\n\n", "\r\n", "\r\n\r\n", " \n ", "\u00a0", "\u3000", "\u2028", "\x0b\x0c")


def corpus() -> list[str]:
    """Some four hundred strings on which two tokenizers must agree, in many scripts and shapes.

    Each word alone, each in all kinds of white space, and each beside others.
    """
    strings = list(_WORDS) + list(_SPACES)
    for index, word in enumerate(_WORDS):
        space, other = _SPACES[index % len(_SPACES)], _SPACES[(index * 5 + 3) % len(_SPACES)]
        following = _WORDS[(index + 1) % len(_WORDS)]
        distant = _WORDS[(index * 7 + 3) % len(_WORDS)]
        strings += [
            space + word,
            word + space,
            other + word + other,
            word + following,
            word + space + distant,
            f"{word}{index}{distant}",
            f"{distant}'{word}'s",
            f"{word}.{word}!{word}",
        ]
    return strings
