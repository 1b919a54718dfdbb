"""OpenVINO's tokenizer and detokenizer out of a tokenizer.json.

The engine gets token ids and gives token ids; it takes from these files the text of each token, which structured
answers are matched against, and the token that ends them. OpenVINO's own converter wants transformers and a tokenizer
object of it, so the steps that it would find are named here, for the byte-level BPE that Llama 3 and SmolLM have.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nemotron_build.errors import CheckpointError


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
