"""The chat format fits the tokenizer, or the build says so."""

from __future__ import annotations

import json

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, pre_tokenizers

from nemotron_build.chat_format import check_tokenizer, choose_format, order_stop_tokens
from nemotron_build.errors import CheckpointError, VerificationError
from tests.llama3 import llama3_tokenizer
from tests.unit.build.tiny import tiny_tokenizer


def chatml() -> Tokenizer:
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in ("<|im_start|>", "<|im_end|>")])
    return tokenizer


def test_llama3s_tokenizer_gives_the_reference_ids() -> None:
    tokenizer = llama3_tokenizer()
    assert choose_format(tokenizer, None, has_template=False) == "nemotron"
    found = check_tokenizer(tokenizer, "nemotron", [128009, 128008, 128001])
    assert "20 ids that Llama 3's tokenizer gives" in found


def test_another_word_pattern_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real vocabulary, cut into words another way: for this test alone, as making it takes seconds."""
    other = pre_tokenizers.Split(Regex(r"[^\n]+|\n"), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)
    tokenizer = llama3_tokenizer()
    monkeypatch.setattr(tokenizer, "pre_tokenizer", pre_tokenizers.Sequence(list(other)))
    with pytest.raises(VerificationError, match="Llama 3's tokenizer as"):
        check_tokenizer(tokenizer, "nemotron", [128009])


def test_control_tokens_have_to_be_one_id() -> None:
    content = json.loads(tiny_tokenizer().to_str())
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] != "<|eot_id|>"]
    lacking = Tokenizer.from_str(json.dumps(content))
    with pytest.raises(VerificationError, match=r"<\|eot_id\|> as one id"):
        check_tokenizer(lacking, "nemotron", [1])


def test_stop_ids_have_to_be_known() -> None:
    with pytest.raises(VerificationError, match="does not know 99999"):
        check_tokenizer(tiny_tokenizer(), "nemotron", [99999])


def test_the_format_is_the_one_that_the_tokenizer_has() -> None:
    assert choose_format(tiny_tokenizer(), None, has_template=True) == "nemotron"
    only_chatml = Tokenizer.from_str(chatml().to_str().replace("<|start_header_id|>", "<|other|>"))
    assert choose_format(only_chatml, None, has_template=True) == "chatml"
    end = only_chatml.token_to_id("<|im_end|>")
    assert end is not None
    assert "there and back" in check_tokenizer(only_chatml, "chatml", [end])


def test_a_template_is_used_on_demand_and_has_to_be_there() -> None:
    assert choose_format(tiny_tokenizer(), "template", has_template=True) == "template"
    assert "prompts are written by" in check_tokenizer(tiny_tokenizer(), "template", [1])
    with pytest.raises(CheckpointError, match="has no chat template"):
        choose_format(tiny_tokenizer(), "template", has_template=False)


def test_a_format_without_its_tokens_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"--chat-format chatml needs the token <\|im_start\|>"):
        choose_format(tiny_tokenizer(), "chatml", has_template=False)
    plain = Tokenizer.from_str(tiny_tokenizer().to_str().replace("<|start_header_id|>", "<|other|>"))
    with pytest.raises(CheckpointError, match="--chat-format template"):
        choose_format(plain, None, has_template=False)


def test_the_end_of_a_turn_comes_first() -> None:
    tokenizer = llama3_tokenizer()
    assert order_stop_tokens(tokenizer, (128001, 128008, 128009, 128001)) == (128009, 128001, 128008)
    assert order_stop_tokens(tokenizer, (7, 5)) == (7, 5)
