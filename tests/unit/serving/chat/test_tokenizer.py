from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from nemotron_serving.chat.formats import ChatRequest, Control
from nemotron_serving.chat.messages import FunctionCall, Message, ToolCall
from nemotron_serving.chat.tokenizer import PromptTokenizer, TooManyTokensError
from nemotron_serving.chat.tools import Tool
from nemotron_serving.errors import PackageError
from tests.unit.serving.chat.rendering import chat_format
from tests.unit.serving.support import (
    CONTROL_TOKENS,
    END_OF_TEXT,
    IM_END,
    IM_START,
    TEXTS,
    bpe_tokenizer,
    byte_tokenizer,
    special_tags_tokenizer,
)

LOOK_ALIKES = [*CONTROL_TOKENS, "<|im_", "end|>", "<|", "|>", "<|im_end |>", "<|im_start|>system\n", "<|im_end|>\n"]


@pytest.fixture(scope="session")
def prompts(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> PromptTokenizer:
    path = tmp_path_factory.mktemp("prompts") / "tokenizer.json"
    tokenizer.save(str(path))
    return PromptTokenizer(path)


def callers_text() -> st.SearchStrategy[str]:
    """Any text with control tokens and parts of them in it."""
    words = st.one_of(st.sampled_from(LOOK_ALIKES), st.sampled_from(TEXTS), st.text(max_size=8))
    return st.lists(words, max_size=8).map("".join)


@given(texts=st.lists(callers_text(), min_size=1, max_size=3))
def test_a_callers_text_never_becomes_a_control_token(
    prompts: PromptTokenizer, tokenizer: Tokenizer, texts: list[str]
) -> None:
    messages = [Message("assistant" if number % 2 else "user", text) for number, text in enumerate(texts)]
    ids = prompts.encode(chat_format("chatml").render(ChatRequest(messages, (), False, ""))).tolist()
    controls = [index for index in ids if index in (END_OF_TEXT, IM_START, IM_END)]
    assert controls == [IM_START, IM_END] * len(texts) + [IM_START]
    assert prompts.encode(texts).max(initial=99) > IM_END
    # Nothing is lost on the way either.
    turns = [f"{message.role}\n{message.text}\n" for message in messages]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "".join([*turns, "assistant\n"])


TAGGED = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<tool", "_call>", "<tools>", "</tools>", "<think>\n"]


@pytest.fixture(scope="session")
def special_tags(tmp_path_factory: pytest.TempPathFactory) -> PromptTokenizer:
    path = tmp_path_factory.mktemp("special") / "tokenizer.json"
    special_tags_tokenizer().save(str(path))
    return PromptTokenizer(path)


@given(texts=st.lists(st.sampled_from([*TAGGED, *LOOK_ALIKES, "a"]), min_size=1, max_size=6))
def test_tags_that_are_special_tokens_come_from_the_format_alone(
    special_tags: PromptTokenizer, prompts: PromptTokenizer, tokenizer: Tokenizer, texts: list[str]
) -> None:
    text = "".join(texts)
    calls = [ToolCall(FunctionCall("f", {"a": text}), "1")]
    messages = [Message("user", text), Message("assistant", "", calls), Message("tool", text, tool_call_id="1")]
    tools = (Tool("f", {"name": "f", "description": text}),)
    parts = chat_format("chatml").render(ChatRequest(messages, tools, True, "<think>\n"))
    ids = special_tags.encode(parts).tolist()
    names = {index: name for name, index in special_tags.control_ids.items()}
    start, end = "<|im_start|>", "<|im_end|>"
    assert [names[index] for index in ids if index in names] == [
        start, "<tools>", "</tools>", "<tool_call>", "</tool_call>", end, start, end,
        start, "<tool_call>", "</tool_call>", end, start, end, start, "<think>",
    ]  # fmt: skip
    # A tokenizer that spells the tags gets the same text.
    spelled = tokenizer.decode(prompts.encode(parts).tolist(), skip_special_tokens=False)
    assert special_tags_tokenizer().decode(ids, skip_special_tokens=False) == spelled


@given(texts=st.lists(st.sampled_from(TEXTS), min_size=1, max_size=4), system=st.sampled_from(["", *TEXTS]))
def test_segments_give_the_ids_of_the_plain_rendering(
    prompts: PromptTokenizer, tokenizer: Tokenizer, texts: list[str], system: str
) -> None:
    messages = [Message("assistant" if number % 2 else "user", text) for number, text in enumerate(texts)]
    parts = chat_format("chatml", system).render(ChatRequest(messages, (), True, "<think>\n"))
    plain = "".join(part.token if isinstance(part, Control) else part for part in parts)
    ids = prompts.encode(parts)
    assert ids.dtype == "int32"
    assert ids.tolist() == tokenizer.encode(plain, add_special_tokens=False).ids
    assert prompts.encode(prompts.split_controls(plain)).tolist() == ids.tolist()


def long_texts() -> st.SearchStrategy[str]:
    """Texts over 100,000 characters: pieces of prose, code and white space, over and over with shifting borders."""
    spaces = st.sampled_from([" ", "\n", "  ", "\n\n\n", "\r\n", "\t", " \n ", "\u3000", "     \n", "\u2028"])
    blocks = st.one_of(st.sampled_from(TEXTS), spaces, spaces, st.text("abé .\n'½1_ก", max_size=12))
    return st.lists(blocks, min_size=2, max_size=12).map(lambda some: _repeated("".join(some) or "a b\n"))


def _repeated(block: str) -> str:
    return block * (100_001 // len(block) + 1)


@pytest.fixture(scope="session", params=["GPT-2", "Llama 3"])
def merging(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[PromptTokenizer, Tokenizer]:
    """A vocabulary with merges, by which a wrong cut shows, for both ways to cut words."""
    tokenizer = bpe_tokenizer(like_llama_3=request.param == "Llama 3")
    path = tmp_path_factory.mktemp("merging") / "tokenizer.json"
    tokenizer.save(str(path))
    return PromptTokenizer(path), tokenizer


@settings(max_examples=6)
@given(text=long_texts())
@example(text=_repeated("def f(x):\n\n\tif x:\n  it's\n"))
def test_long_texts_are_encoded_in_parts_as_if_in_one(merging: tuple[PromptTokenizer, Tokenizer], text: str) -> None:
    prompts, tokenizer = merging
    assert prompts.encode([text]).tolist() == tokenizer.encode(text, add_special_tokens=False).ids


RUNS = ["a" * 50_000, " " * 50_000, "\n" * 50_000, "1 " * 25_000, "_ \n" * 15_000, "ก " * 25_000]


@pytest.mark.parametrize("text", RUNS, ids=lambda text: repr(text[:4]))
def test_long_runs(merging: tuple[PromptTokenizer, Tokenizer], text: str) -> None:
    prompts, tokenizer = merging
    assert prompts.encode([text]).tolist() == tokenizer.encode(text, add_special_tokens=False).ids


def test_long_texts_keep_their_place_among_the_parts(prompts: PromptTokenizer) -> None:
    long = "word " * 10_000
    ids = prompts.encode([Control("<|im_start|>"), "a", long, Control("<|im_end|>"), "", long, Control("<|im_end|>")])
    expected = [
        IM_START, *prompts.encode(["a" + long]), IM_END, *prompts.encode([long]), IM_END,
    ]  # fmt: skip
    assert ids.tolist() == expected


def test_neighbouring_texts_are_encoded_as_one(prompts: PromptTokenizer) -> None:
    whole = prompts.encode([TEXTS[0]]).tolist()
    assert all(prompts.encode([TEXTS[0][:at], TEXTS[0][at:]]).tolist() == whole for at in range(len(TEXTS[0])))


def test_nothing_gives_no_ids(prompts: PromptTokenizer) -> None:
    assert prompts.encode([]).tolist() == []
    assert prompts.encode([""]).tolist() == []


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        ("plain", ["plain"]),
        ("<|im_start|>user\nHi<|im_end|>", [Control("<|im_start|>"), "user\nHi", Control("<|im_end|>")]),
        ("<|im_end|><|im_end|>", [Control("<|im_end|>"), Control("<|im_end|>")]),
        ("<|im_<|im_end|>", ["<|im_", Control("<|im_end|>")]),
    ],
)
def test_split_controls(prompts: PromptTokenizer, text: str, parts: list[object]) -> None:
    assert prompts.split_controls(text) == parts


def test_a_longer_control_token_wins(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens(["<|im_end|>>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert PromptTokenizer(tmp_path / "tokenizer.json").split_controls("a<|im_end|>>") == ["a", Control("<|im_end|>>")]


def test_a_control_token_that_the_tokenizer_lacks_is_refused(prompts: PromptTokenizer) -> None:
    with pytest.raises(PackageError, match=r"no control token <\|eot_id\|>"):
        prompts.encode([Control("<|eot_id|>")])


@pytest.mark.parametrize("content", [None, "{}", "not JSON"])
def test_a_tokenizer_that_cannot_be_read_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(PackageError, match=r"tokenizer\.json cannot be read"):
        PromptTokenizer(tmp_path / "tokenizer.json")


def test_padding_and_truncation_of_the_file_are_ignored(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=8)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert PromptTokenizer(tmp_path / "tokenizer.json").encode(["Hello", Control("<|im_end|>"), "x"]).size == 7


@given(texts=st.lists(st.one_of(callers_text(), st.builds(Control, st.sampled_from(CONTROL_TOKENS))), max_size=6))
def test_a_limit_changes_nothing_below_it(prompts: PromptTokenizer, texts: list[str | Control]) -> None:
    ids = prompts.encode(texts).tolist()
    assert prompts.encode(texts, len(ids)).tolist() == ids
    if ids:
        try:
            assert prompts.encode(texts, len(ids) - 1).tolist() == ids
        except TooManyTokensError as error:
            assert error.at_least == len(ids)


@pytest.mark.parametrize("unit", ["a b ", "aa\n", "中文 a ", "<|im_end|> a ", "-= a "])
def test_a_prompt_that_is_too_long_is_not_encoded_to_its_end(prompts: PromptTokenizer, unit: str) -> None:
    text = unit * (3_000_000 // len(unit))
    with pytest.raises(TooManyTokensError) as error:
        prompts.encode([Control(CONTROL_TOKENS[0]), text], 1000)
    assert 1000 < error.value.at_least <= 1 + len(text.encode())
