"""Prompts with the real Llama 3 tokenizer: the reference ids, and that segments change nothing."""

from __future__ import annotations

import itertools
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from nemotron_build.cpu.openvino_tokenizer import corpus
from nemotron_serving.chat.formats import ChatFormat, ChatRequest
from nemotron_serving.chat.messages import FunctionCall, Message, ToolCall
from nemotron_serving.chat.tokenizer import PromptTokenizer
from nemotron_serving.chat.tools import Tool
from tests import llama3
from tests.llama3 import BEGIN_OF_TEXT, VOCABULARY_SIZE, llama3_tokenizer
from tests.unit.serving.chat.rendering import (
    LLAMA_TEMPLATE,
    OFF,
    ON,
    chat_format,
    request,
    system,
    template_format,
    user,
    written,
)
from tests.unit.serving.support import bpe_tokenizer

REFERENCE = [
    *(128000, 128006, 9125, 128007, 271, 67, 10319, 7422, 389, 128009),
    *(128006, 882, 128007, 271, 13347, 128009, 128006, 78191, 128007, 271),
]
"""Of the system text `detailed thinking on`, the user's `Hi` and an opened answer."""
PREFILL = [14023, 771, 397, 524, 27963, 29]


@pytest.fixture(scope="session")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> PromptTokenizer:
    path = tmp_path_factory.mktemp("llama3") / "tokenizer.json"
    llama3_tokenizer().save(str(path))
    return PromptTokenizer(path)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> ChatFormat:
    path = tmp_path_factory.mktemp("llama3") / "package"
    return template_format(path, LLAMA_TEMPLATE, llama3_tokenizer(), system_on=ON, system_off=OFF)


@pytest.fixture(scope="session")
def chatml_prompts(tmp_path_factory: pytest.TempPathFactory) -> PromptTokenizer:
    path = tmp_path_factory.mktemp("chatml") / "tokenizer.json"
    bpe_tokenizer().save(str(path))
    return PromptTokenizer(path)


NEMOTRON, CHATML = chat_format("nemotron"), chat_format("chatml")


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("Hello world", [9906, 1917]),
        ("</think>", [524, 27963, 29]),
        (".</think>", [4005, 27963, 29]),
        ("}</think>", [5474, 27963, 29]),
        ("<think></think>", [14023, 771, 1500, 27963, 29]),
        ("<think>\n</think>", PREFILL),
        ("</think>\n\n", [524, 27963, 1363]),
        ("<|begin_of_text|><|end_of_text|><|finetune_right_pad_id|>", [128000, 128001, 128004]),
        ("<|start_header_id|><|end_header_id|><|eom_id|><|eot_id|><|python_tag|>", [*range(128006, 128011)]),
        ("<|reserved_special_token_0|><|reserved_special_token_247|>", [128002, 128255]),
    ],
)
def test_ids_of_the_facts(text: str, ids: list[int]) -> None:
    assert llama3_tokenizer().encode(text, add_special_tokens=False).ids == ids
    assert llama3_tokenizer().get_vocab_size() == VOCABULARY_SIZE == 128_256


def test_merges_are_those_of_the_ranks() -> None:
    """Against the rule that the data file is made for: of all neighbours the lowest rank is joined first."""
    ranks = llama3._ranks()
    tokenizer = llama3_tokenizer()
    words = sorted({word for text in corpus() for word in re.findall(r"\w+|[^\w\s]+", text)})
    for word in words:
        pieces = [bytes([byte]) for byte in word.encode()]
        while pairs := [
            (ranks[left + right], place)
            for place, (left, right) in enumerate(itertools.pairwise(pieces))
            if left + right in ranks
        ]:
            place = min(pairs)[1]
            pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]
        if len(tokenizer.pre_tokenizer.pre_tokenize_str(word)) == 1:
            assert tokenizer.encode(word, add_special_tokens=False).ids == [ranks[piece] for piece in pieces], word


def test_reference_ids(prompts: PromptTokenizer, template: ChatFormat) -> None:
    for chat in (NEMOTRON, template):
        assert prompts.encode(chat.render(request(user("Hi")))).tolist() == REFERENCE
        assert prompts.encode(chat.render(request(system(ON), user("Hi")))).tolist() == REFERENCE
        off = request(user("Hi"), thinking=False, prefill="<think>\n</think>")
        ids = prompts.encode(chat.render(off)).tolist()
        assert ids == [*REFERENCE[:8], 1022, *REFERENCE[9:], *PREFILL]


ORDINARY = [text for text in corpus() if text.strip() and not re.search(r"<\|(im_start|im_end|endoftext)\|>", text)]


def ordinary_conversations() -> list[ChatRequest]:
    """Some hundred conversations of the corpus's strings, in all kinds of turns."""
    draw = random.Random(7)
    made = []
    for number, text in enumerate(ORDINARY):
        others = [draw.choice(ORDINARY) for _ in range(6)]
        messages = [Message("user", text), Message("assistant", others[0]), Message("user", others[1])]
        tools: tuple[Tool, ...] = ()
        if number % 2:
            messages.insert(0, Message("system", others[2]))
        if number % 3 == 0:
            called = ToolCall(FunctionCall("f", {others[3]: [others[4], number / 7]}), "1")
            messages += [Message("assistant", others[5], [called]), Message("tool", text, tool_call_id="1")]
            tools = (Tool("f", {"name": "f", "description": others[3]}),)
        made.append(
            ChatRequest(messages, tools, number % 5 > 1, "<think>\n" if number % 5 > 2 else "<think>\n</think>")
        )
    return made


def plain_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def test_segments_give_the_ids_of_the_plain_rendering(
    prompts: PromptTokenizer, template: ChatFormat, chatml_prompts: PromptTokenizer
) -> None:
    conversations = ordinary_conversations()
    assert len(conversations) > 300
    chatml_tokenizer = bpe_tokenizer()
    for each in conversations:
        for chat, encoder, tokenizer in (
            (NEMOTRON, prompts, llama3_tokenizer()),
            (template, prompts, llama3_tokenizer()),
            (CHATML, chatml_prompts, chatml_tokenizer),
        ):
            parts = chat.render(each)
            assert encoder.encode(parts).tolist() == plain_ids(tokenizer, written(parts))


PIECES = [
    "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>",
    "<|python_tag|>", "<|reserved_special_token_9|>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|", "|>", "<",
    ">", "|", "eot_id", "<|eot_", "_id|>", "<|eot_id", "begin_of_text|>", "<|im_", "end|>", "<think>", "</think>",
    "<TOOLCALL>", "</TOOLCALL>", "</TOOL_RESPONSE>", "</AVAILABLE_TOOLS>", "<tool_call>", "</tool_call>", "</tools>",
    "{", "}", '"', "]",
    "\\", "\n", "\n\n", "assistant", ON, "{{ bos_token }}", "{% raw %}", "\ue000", "ก", "\u200d",
]  # fmt: skip
callers_text = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=4)), max_size=6).map("".join)
filled_text = callers_text.map(lambda text: text or "x")


@st.composite
def hostile_requests(draw: st.DrawFn) -> ChatRequest:
    """A caller's text in every place that a caller can fill."""
    called = ToolCall(FunctionCall(draw(filled_text), {draw(callers_text): [draw(callers_text)]}), draw(callers_text))
    turns = [
        Message("user", draw(filled_text)),
        Message("assistant", draw(callers_text), [called]),
        Message("tool", draw(callers_text), tool_call_id=draw(callers_text), name=draw(callers_text)),
        Message("assistant", draw(callers_text)),
        Message("system", draw(filled_text)),
        Message("user", draw(filled_text)),
    ]
    function = {"name": draw(filled_text), "description": draw(callers_text), draw(callers_text): draw(callers_text)}
    return ChatRequest(turns, (Tool(function["name"], function),), draw(st.booleans()), "<think>\n")


@settings(max_examples=150)
@given(sent=hostile_requests())
def test_a_callers_text_never_becomes_a_control_token(
    prompts: PromptTokenizer, template: ChatFormat, chatml_prompts: PromptTokenizer, sent: ChatRequest
) -> None:
    turn = [128006, 128007, 128009]
    for chat in (NEMOTRON, template):
        ids = prompts.encode(chat.render(sent)).tolist()
        assert ids.count(BEGIN_OF_TEXT) == 1
        # The system's turn, user, assistant, tool, assistant, user, and the opened one.
        assert [index for index in ids if index >= BEGIN_OF_TEXT] == [BEGIN_OF_TEXT, *turn * 6, *turn[:2]]
    ids = chatml_prompts.encode(CHATML.render(sent)).tolist()
    start, end = 1, 2
    assert [index for index in ids if index in (0, start, end)] == [start, end] * 6 + [start]


@given(text=callers_text)
def test_no_text_alone_has_control_tokens(prompts: PromptTokenizer, text: str) -> None:
    assert prompts.encode([text]).max(initial=0) < BEGIN_OF_TEXT
    assert llama3_tokenizer().decode(prompts.encode([text]).tolist()) == text
