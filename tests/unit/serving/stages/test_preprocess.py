from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_serving.engine import Sampling
from nemotron_serving.errors import InvalidRequestError, PackageError
from nemotron_serving.generation.budget import THINKING_CLOSE, ThinkingBudget
from nemotron_serving.guide import ForcedCalls, ResponseFormat, StockGuide
from nemotron_serving.output.assembler import OutputRules, ToolRules
from nemotron_serving.package import CHAT_TEMPLATE, Package, write_package
from nemotron_serving.stages.preprocess import Preprocessor
from tests.unit.serving.support import (
    CLOSE_IDS,
    END_OF_TEXT,
    IM_END,
    IM_START,
    byte_tokenizer,
    ids_of,
    make_package,
    serving_config,
    special_tags_tokenizer,
    text_of,
)

INT32_MAX = 2**31 - 1


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return make_package(tmp_path_factory.mktemp("preprocessor") / "package")


@pytest.fixture(scope="module")
def preprocessor(package: Package) -> Preprocessor:
    return Preprocessor(package)


def rules(*given: Any) -> OutputRules:
    """With the name of the package that all of these preprocessors have."""
    return msgspec.structs.replace(OutputRules(*given), package="small")


def with_config(package: Package, **changes: Any) -> Preprocessor:
    """A preprocessor of the same files with another serving.json."""
    return Preprocessor(Package(package.path, package.manifest, serving_config(**changes)))


def messages(*turns: str) -> str:
    roles = ("user", "assistant")
    return json.dumps([{"role": roles[number % 2], "content": text} for number, text in enumerate(turns)])


HI: dict[str, Any] = {"text_input": "Hi"}
HI_ON: dict[str, Any] = {"text_input": "Hi", "thinking": True}
TOOL = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
OTHER = {"name": "now"}
TOOLS = json.dumps([{"type": "function", "function": TOOL}, {"type": "function", "function": OTHER}])
NAMES = ("get_weather", "now")
TAGS = ("<tool_call>", "</tool_call>")
NAMED = '{"type": "function", "function": {"name": "now"}}'
JSON_OBJECT = '{"type": "json_object"}'
STOCK = {"guided_decoding_guide_type": "regex", "guided_decoding_guide": "[0-9]+"}
RAW: dict[str, Any] = {"text_input": "Once upon", "raw_prompt": True}

BEGUN: dict[str, Any] = {"messages": messages("Count.", "One, two,<|im_end|> "), "continue_final_message": True}

REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({}, "text_input: neither was given; send either text_input or messages"),
    ({**HI, "messages": messages("Hi")}, "text_input: both were given; send either"),
    ({"text_input": ""}, "text_input: empty, expected the user's text"),
    ({"messages": "[]"}, "messages: the list is empty"),
    ({"messages": "nope"}, "messages: not valid JSON"),
    ({"messages": messages("Hi", "Hello")}, "messages: the last message is from the assistant"),
    (
        {"messages": messages("Hi"), "continue_final_message": True},
        "continue_final_message: the last message has no text",
    ),
    (
        {"messages": messages("Hi", ""), "continue_final_message": True},
        "continue_final_message: the last message has no",
    ),
    (
        {"messages": '[{"role": "assistant", "content": "A"}]', "continue_final_message": True},
        "messages: the last message before the one to continue is from the assistant",
    ),
    ({**BEGUN, "thinking": True}, "continue_final_message: the answer has begun, so nothing is thought"),
    ({**BEGUN, "max_thinking_tokens": 9}, "max_thinking_tokens: thinking is off"),
    ({**BEGUN, "response_format": JSON_OBJECT}, "continue_final_message: it does not go with response_format"),
    (
        {**BEGUN, "tools": TOOLS, "tool_choice": "required"},
        "continue_final_message: it does not go with response_format",
    ),
    ({**HI, "continue_final_message": True}, "continue_final_message: there are no messages"),
    ({**RAW, "continue_final_message": True}, "continue_final_message: does not go with raw_prompt"),
    ({"text_input": "ก" * 2731}, "text_input: 8193 bytes were given, this server takes at most 8192"),
    ({"messages": messages("a" * 8192)}, r"messages: \d+ bytes were given, this server takes at most 8192"),
    ({"text_input": "a" * 2048}, r"text_input: the prompt has at least 20\d+ tokens, .*maximum context length is 2048"),
    (
        {"messages": messages("a" * 2048)},
        r"messages: the prompt has at least 20\d+ tokens, .*maximum context length is 2048",
    ),
    ({**HI, "stop_words": [""] * 33}, "stop_words: 33 were given, expected at most 32"),
    ({**HI, "bad_words": ["a"] * 33}, "bad_words: 33 were given, expected at most 32"),
    ({**HI, "logit_bias": " " * 65537}, "logit_bias: 65537 characters were given, expected at most 65536"),
    ({**RAW, "messages": messages("Hi")}, "messages: does not go with raw_prompt"),
    ({**RAW, "tools": TOOLS}, "tools: does not go with raw_prompt"),
    ({**RAW, "tool_choice": "auto"}, "tool_choice: does not go with raw_prompt"),
    ({**HI, "tools": TOOLS, "response_format": JSON_OBJECT}, "response_format: it does not go with tools"),
    ({**HI, "tool_choice": "required"}, "tool_choice: a call is required, but no tools were given"),
    ({**HI, "response_format": "{"}, "response_format: "),
    ({**HI, "response_format": JSON_OBJECT, "bad_words": ["x"]}, "bad_words: it does not go with response_format"),
    ({**HI, "response_format": JSON_OBJECT, "min_tokens": 5}, "min_tokens: it does not go with response_format"),
    ({**HI, "response_format": JSON_OBJECT, **STOCK}, "response_format: guided_decoding_guide was given as well"),
    ({**HI, "guided_decoding_guide_type": "ebnf_grammar", "guided_decoding_guide": "root ::= root"}, "guided_decoding"),
    ({**HI_ON, "response_format": JSON_OBJECT, "max_tokens": 9}, "max_tokens: 9 is too few to think and answer"),
    ({**HI, "tools": "[" + "a" * 8192}, "tools: 8193 bytes were given, this server takes at most 8192"),
    ({**RAW, "thinking": True}, "thinking: does not go with raw_prompt"),
    ({**RAW, "thinking": False}, "thinking: does not go with raw_prompt"),
    ({"raw_prompt": True}, "text_input: empty"),
    ({"raw_prompt": True, "text_input": ""}, "text_input: empty"),
    ({"raw_prompt": True, "text_input": "a" * 8193}, "text_input: 8193 bytes"),
    ({**RAW, "max_thinking_tokens": 5}, "max_thinking_tokens: thinking is off; end text_input with <think>"),
    ({**HI, "max_thinking_tokens": 5}, "max_thinking_tokens: thinking is off"),
    ({**HI, "max_tokens": 2048}, r"max_tokens: 2048 was given with a prompt of 44 tokens.* send at most 2004"),
]
OUT_OF_RANGE: dict[str, list[float]] = {
    "max_tokens": [0, -1],
    "max_thinking_tokens": [0, -1],
    "timeout_ms": [0, -5],
    "temperature": [-0.1, 10.5, math.nan, math.inf, -math.inf],
    "top_p": [-0.1, 1.1, math.nan, math.inf],
    "top_k": [-1],
    "repetition_penalty": [0.0, -1.0, 10.5, math.nan, math.inf],
    "presence_penalty": [-2.1, 2.1, math.nan, math.inf],
    "frequency_penalty": [-2.1, 2.1, math.nan, -math.inf],
    "min_tokens": [-1],
}
REFUSALS += [
    ({**HI_ON, field: value}, f"{field}: {value} was given, expected ")
    for field, values in OUT_OF_RANGE.items()
    for value in values
]


@pytest.mark.parametrize(("fields", "message"), REFUSALS, ids=lambda value: str(value)[:60])
def test_refusals_name_the_field_and_what_was_expected(
    preprocessor: Preprocessor, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequestError, match="^" + message):
        preprocessor.prepare(fields)


def test_text_input_is_a_conversation_of_one_message(preprocessor: Preprocessor) -> None:
    from_text, text_settings = preprocessor.prepare(HI)
    from_messages, message_settings = preprocessor.prepare({"messages": messages("Hi")})
    assert from_text.tolist() == from_messages.tolist()
    assert text_settings == message_settings
    expected = [
        *(IM_START, *ids_of("system\nYou are small"), IM_END, *ids_of("\n")),
        *(IM_START, *ids_of("user\nHi"), IM_END, *ids_of("\n")),
        *(IM_START, *ids_of("assistant\n")),
    ]
    assert from_text.tolist() == expected
    assert from_text.dtype == "int32"


def test_a_request_that_says_nothing_gets_the_packages_defaults(preprocessor: Preprocessor) -> None:
    _, settings = preprocessor.prepare(HI)
    assert settings.sampling == Sampling(temperature=0.0, top_p=1.0)
    assert settings.max_tokens == 256
    assert settings.timeout_ms == 60_000
    assert settings.stream is False
    assert set(settings.stop_token_ids) == {END_OF_TEXT, IM_END}
    assert settings.budget is None
    assert settings.output == rules("answer", ())
    assert (settings.guide, settings.repetition_guard, settings.priority) == (None, False, 0)


def test_what_a_request_says_goes_before_the_defaults(preprocessor: Preprocessor) -> None:
    given_values: dict[str, Any] = {
        "temperature": 0.5, "top_p": 0.25, "top_k": 7, "seed": 2**64 - 1, "min_tokens": 3,
        "repetition_penalty": 1.5, "presence_penalty": -2.0, "frequency_penalty": 2.0,
    }  # fmt: skip
    more = {"max_tokens": 9, "timeout_ms": 5, "stream": True, "end_id": 77, "stop_words": ["", "END", "\n\n"]}
    _, settings = preprocessor.prepare({**HI, **given_values, **more})
    assert settings.sampling == Sampling(**given_values)
    assert (settings.max_tokens, settings.timeout_ms, settings.stream) == (9, 5, True)
    assert set(settings.stop_token_ids) == {END_OF_TEXT, IM_END, 77}
    assert settings.output == rules("answer", ("END", "\n\n"))


@pytest.mark.parametrize(
    ("fields", "prompt"),
    [
        (HI, "Hi"),
        ({"messages": messages("Hi")}, "system\nYou are small\nuser\nHi\nassistant\n"),
        ({"raw_prompt": True, "text_input": "<|im_start|>user\nHi<|im_end|>"}, "user\nHi"),
    ],
)
def test_the_prompt_is_returned_to_who_asks_for_it_and_takes_one_response(
    preprocessor: Preprocessor, fields: dict[str, Any], prompt: str
) -> None:
    def returned(**more: bool) -> str:
        output = preprocessor.prepare({**fields, **more})[1].output
        assert output is not None
        return output.prompt

    assert returned(exclude_input_in_output=False) == returned(exclude_input_in_output=False, stream=False) == prompt
    assert returned() == returned(exclude_input_in_output=True) == ""
    assert returned(exclude_input_in_output=False, stream=True) == ""


def test_top_p_of_zero_means_not_set(preprocessor: Preprocessor) -> None:
    assert preprocessor.prepare({**HI, "top_p": 0.0})[1].sampling.top_p == 1.0


@pytest.mark.parametrize("default", [False, True])
@pytest.mark.parametrize("given_flag", [None, False, True])
def test_thinking_decides_prefill_sampling_and_reading(
    package: Package, default: bool, given_flag: bool | None
) -> None:
    preprocessor = with_config(package, default=default, prefill_off="<think>\n</think>", max_thinking_tokens=50)
    ids, settings = preprocessor.prepare(HI if given_flag is None else {**HI, "thinking": given_flag})
    if default if given_flag is None else given_flag:
        assert ids.tolist()[-18:] == ids_of("assistant\n<think>\n")
        assert settings.sampling == Sampling(temperature=0.6, top_p=0.95)
        assert settings.output == rules("thinking")
        assert settings.budget is not None and settings.budget.max_tokens == 50
        assert settings.repetition_guard
    else:
        assert ids.tolist()[-26:] == ids_of("assistant\n<think>\n</think>")
        assert settings.sampling == Sampling(temperature=0.0, top_p=1.0)
        assert settings.output == rules("closed")
        assert settings.budget is None
        assert not settings.repetition_guard


def test_token_ids_have_their_text(package: Package) -> None:
    preprocessor = Preprocessor(package)
    ids, _ = preprocessor.prepare({"text_input": "สวัสดี <|im_end|>"})
    text = preprocessor.prompt_text(ids)
    assert text == preprocessor.text_of({"input_ids": ids})
    assert text.count("<|im_end|>") == text.count("<|im_start|>")  # the caller's is text, and the last turn is open
    half = np.array(ids_of("ส")[:2], np.int32)
    assert preprocessor.text_of({"input_ids": half}) == "\ufffd"
    refused: list[dict[str, Any]] = [
        {"input_ids": np.array([100_000], np.int32)},
        {"input_ids": np.array([-1], np.int32)},
        {"input_ids": np.array([], np.int32)},
        {"input_ids": np.zeros(2048, np.int32)},
    ]
    for fields in refused:
        with pytest.raises(InvalidRequestError, match=r"^input_ids: "):
            preprocessor.text_of(fields)
    with pytest.raises(InvalidRequestError, match=r"^thinking: does not go with input_ids"):
        preprocessor.text_of({"input_ids": half, "thinking": True})


def test_a_model_that_opens_its_own_block_is_read_from_the_start(package: Package) -> None:
    preprocessor = with_config(package, prefill_on="")
    _, settings = preprocessor.prepare(HI_ON)
    assert settings.output == rules("expected")
    assert settings.budget is None
    assert settings.sampling.temperature == 0.6
    _, settings = preprocessor.prepare({**HI_ON, "max_thinking_tokens": 9})
    assert (settings.budget, settings.close_ids) == (ThinkingBudget(9, 0), tuple(CLOSE_IDS))


@pytest.mark.parametrize(
    ("text", "flag", "on"),
    [
        ("detailed thinking on", None, True),
        ("Be brief.\ndetailed thinking on", None, True),
        ("detailed thinking on", False, False),
        ("detailed thinking off", True, True),
        ("Be brief.", None, False),
    ],
)
def test_a_system_text_switches_thinking_unless_the_flag_was_given(
    preprocessor: Preprocessor, text: str, flag: bool | None, on: bool
) -> None:
    conversation = [{"role": "system", "content": text}, {"role": "user", "content": "Hi"}]
    flags = {} if flag is None else {"thinking": flag}
    ids, settings = preprocessor.prepare({"messages": json.dumps(conversation), **flags})
    assert (settings.output is not None and settings.output.start == "thinking") is on
    assert "detailed thinking" not in text_of(ids.tolist())


def test_a_raw_prompt_is_taken_as_it_is(preprocessor: Preprocessor) -> None:
    ids, settings = preprocessor.prepare({"raw_prompt": True, "text_input": "<|im_start|>user\nHi<|im_end|>"})
    assert ids.tolist() == [IM_START, *ids_of("user\nHi"), IM_END]
    assert settings.output == rules("detect")
    ids, settings = preprocessor.prepare({"raw_prompt": False, "text_input": "<|im_end|>"})
    assert ids.tolist().count(IM_END) == 2


def test_a_raw_prompt_that_opens_a_block_is_thinking(preprocessor: Preprocessor) -> None:
    fields = {"raw_prompt": True, "text_input": "<|im_start|>assistant\n<think>\n", "max_thinking_tokens": 40}
    _, settings = preprocessor.prepare(fields)
    assert settings.output == rules("thinking")
    assert settings.budget is not None and settings.budget.max_tokens == 40


def test_an_opener_typed_by_the_user_opens_nothing(preprocessor: Preprocessor) -> None:
    _, settings = preprocessor.prepare({"text_input": "<think>\n"})
    assert settings.output == rules("answer")


def test_max_tokens_may_fill_the_sequence_exactly(preprocessor: Preprocessor) -> None:
    prompt_tokens = len(preprocessor.prepare(HI)[0])
    assert preprocessor.prepare({**HI, "max_tokens": 2048 - prompt_tokens})[1].max_tokens == 2048 - prompt_tokens
    with pytest.raises(InvalidRequestError, match=f"send at most {2048 - prompt_tokens}$"):
        preprocessor.prepare({**HI, "max_tokens": 2049 - prompt_tokens})


def test_the_default_of_max_tokens_shrinks_for_a_long_prompt(preprocessor: Preprocessor) -> None:
    ids, settings = preprocessor.prepare({"text_input": "a" * 1900})
    assert settings.max_tokens == 2048 - len(ids) < 256


@given(
    max_tokens=st.integers(1, 1500) | st.none(),
    asked=st.integers(1, 2000) | st.sampled_from([70, INT32_MAX]) | st.none(),
    default=st.integers(1, 2000) | st.none(),
    reserve=st.integers(1, 200),
)
def test_budget_grace_tag_and_answer_fit_in_max_tokens(
    package: Package, max_tokens: int | None, asked: int | None, default: int | None, reserve: int
) -> None:
    preprocessor = with_config(package, max_thinking_tokens=default, min_answer_tokens=reserve)
    fields = {"max_tokens": max_tokens, "max_thinking_tokens": asked}
    sent = {name: value for name, value in fields.items() if value is not None}
    wanted = asked or default
    least = len(CLOSE_IDS) + 2
    if asked and max_tokens and max_tokens < least:
        with pytest.raises(InvalidRequestError, match=f"^max_tokens: {max_tokens} is too few .* send {least}$"):
            preprocessor.prepare({**HI_ON, **sent})
        return
    _, settings = preprocessor.prepare({**HI_ON, **sent})
    room = settings.max_tokens - reserve - len(CLOSE_IDS)
    if wanted is None or settings.max_tokens < least:
        assert settings.budget is None
        return
    assert settings.budget is not None
    assert list(settings.close_ids) == ids_of(THINKING_CLOSE)
    used = settings.budget.max_tokens + settings.budget.grace_tokens
    assert 1 <= settings.budget.max_tokens <= wanted
    assert settings.budget.grace_tokens == settings.budget.max_tokens // 10
    # Where there is no room for the reserve, one token is thought.
    assert used <= max(room, 1) <= settings.max_tokens - len(CLOSE_IDS) - 1
    # And no smaller than it has to be.
    assert settings.budget.max_tokens == wanted or used + 2 >= room


def test_every_budget_leaves_the_answer_its_reserve_where_there_is_room(preprocessor: Preprocessor) -> None:
    least = len(CLOSE_IDS) + 2
    for max_tokens in range(least, 900):
        _, settings = preprocessor.prepare({**HI_ON, "max_tokens": max_tokens, "max_thinking_tokens": INT32_MAX})
        assert settings.budget is not None
        used = settings.budget.max_tokens + settings.budget.grace_tokens + len(CLOSE_IDS)
        assert used + min(16, max_tokens - least + 1) <= max_tokens


@pytest.mark.parametrize(("words", "message"), [(["a"] * 33, "33 were given"), (["a" * 257], "one of 257 characters")])
def test_stop_words_are_bounded(preprocessor: Preprocessor, words: list[str], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"^stop_words: {message}"):
        preprocessor.prepare({**HI, "stop_words": words})
    assert preprocessor.prepare({**HI, "stop_words": ["a" * 256] * 32})[1].output is not None


TURNS = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}<|im_start|>assistant\n"
OPENS, CLOSES = r"{{ '<think>\n' }}", r"{{ '<think>\n\n</think>\n\n' }}"
ALWAYS_THINKS, NEVER_THINKS = TURNS + OPENS, TURNS + CLOSES
SWITCHED = f"{TURNS}{{% if enable_thinking %}}{OPENS}{{% else %}}{CLOSES}{{% endif %}}"


@pytest.mark.parametrize("special", [False, True], ids=["spelled", "special tokens"])
@pytest.mark.parametrize("prefill_on", ["<think>\n", ""])
@pytest.mark.parametrize(
    ("template", "asked", "start", "end"),
    [
        (ALWAYS_THINKS, None, "thinking", "assistant\n<think>\n"),
        (ALWAYS_THINKS, True, "thinking", "assistant\n<think>\n"),
        (ALWAYS_THINKS, False, "closed", "assistant\n<think>\n\n</think>\n\n"),
        (NEVER_THINKS, True, "closed", "<think>\n\n</think>\n\n"),
        (NEVER_THINKS, None, "closed", "<think>\n\n</think>\n\n"),
        (NEVER_THINKS, False, "closed", "<think>\n\n</think>\n\n"),
        (SWITCHED, None, "closed", "assistant\n<think>\n\n</think>\n\n"),
        (SWITCHED, True, "thinking", "assistant\n<think>\n"),
        (SWITCHED, False, "closed", "assistant\n<think>\n\n</think>\n\n"),
    ],
)
def test_what_a_template_opens_or_closes_is_read_off_the_prompt(
    tmp_path: Path,
    template: str,
    asked: bool | None,
    start: str,
    end: str,
    prefill_on: str,
    special: bool,
) -> None:
    path = tmp_path / "package"
    path.mkdir()
    (path / CHAT_TEMPLATE).write_text(template)
    tokenizer = special_tags_tokenizer() if special else byte_tokenizer()
    package = make_package(path, tokenizer=tokenizer, chat_format="template", prefill_on=prefill_on)
    fields = HI if asked is None else {**HI, "thinking": asked}
    ids, settings = Preprocessor(package).prepare(fields)
    assert tokenizer.decode(ids.tolist(), skip_special_tokens=False).endswith(end)
    assert tokenizer.decode(ids.tolist(), skip_special_tokens=False).count("<think>") == 1
    assert settings.output == rules(start)
    assert settings.repetition_guard is (start == "thinking")
    assert special == any(index in ids for index in [tokenizer.token_to_id("<think>")] if index is not None)


SAID_OFF = '[{"role": "system", "content": "detailed thinking off"}, {"role": "user", "content": "Hi"}]'


@pytest.mark.parametrize("off", [{**HI, "thinking": False}, {"messages": SAID_OFF}], ids=["option", "line"])
def test_a_budget_limits_nothing_where_the_request_switches_thinking_off(off: dict[str, Any], tmp_path: Path) -> None:
    preprocessor = Preprocessor(make_package(tmp_path))
    assert preprocessor.prepare({**off, "max_thinking_tokens": 5})[1] == preprocessor.prepare(off)[1]


def test_a_budget_is_refused_where_the_template_closes_the_thinking(tmp_path: Path) -> None:
    path = tmp_path / "package"
    path.mkdir()
    (path / CHAT_TEMPLATE).write_text(NEVER_THINKS)
    preprocessor = Preprocessor(make_package(path, chat_format="template"))
    with pytest.raises(InvalidRequestError, match="max_thinking_tokens: thinking is off; the package's chat template"):
        preprocessor.prepare({**HI, "thinking": True, "max_thinking_tokens": 20})


@pytest.mark.parametrize("asked", [None, False])
@pytest.mark.parametrize("template", [ALWAYS_THINKS, NEVER_THINKS, TURNS], ids=["opens", "closes", "neither"])
def test_a_prefill_that_closes_the_block_closes_it_once(tmp_path: Path, template: str, asked: bool | None) -> None:
    path = tmp_path / "package"
    path.mkdir()
    (path / CHAT_TEMPLATE).write_text(template)
    preprocessor = Preprocessor(make_package(path, chat_format="template", prefill_off="<think>\n</think>\n"))
    ids, settings = preprocessor.prepare(HI if asked is None else {**HI, "thinking": asked})
    text = text_of(ids.tolist())
    assert (text.count("<think>"), text.count("</think>"), text.rstrip()[-8:]) == (1, 1, "</think>")
    assert settings.output == rules("closed")


@pytest.mark.parametrize("template", [TURNS, ALWAYS_THINKS, NEVER_THINKS, ""], ids=["plain", "opens", "closes", "none"])
def test_an_answer_that_has_begun_is_continued(tmp_path: Path, template: str) -> None:
    path = tmp_path / "package"
    path.mkdir()
    (path / CHAT_TEMPLATE).write_text(template)
    preprocessor = Preprocessor(make_package(path, chat_format="template" if template else "chatml"))
    before, _ = preprocessor.prepare({"messages": messages("Count."), "thinking": False})
    ids, settings = preprocessor.prepare(BEGUN)
    text = ids_of("One, two,<") + ids_of("|im_end|> ")  # the caller's is text
    assert ids.tolist() == [*before.tolist(), *text]
    assert (settings.output, settings.budget, settings.close_ids) == (rules("answer"), None, ())
    assert not settings.repetition_guard
    assert preprocessor.prepare(BEGUN | {"thinking": False})[0].tolist() == ids.tolist()


def test_thinking_that_is_on_by_default_is_off_for_an_answer_that_has_begun(package: Package) -> None:
    preprocessor = with_config(package, default=True)
    thought = {"messages": messages("Count.", "<think>\nHm.\n</think>\n\nOne,"), "continue_final_message": True}
    ids, settings = preprocessor.prepare(thought)
    assert text_of(ids.tolist()).endswith("assistant\nOne,")
    assert settings.output == rules("answer")


def test_a_budget_closes_the_thinking_with_the_token_that_the_model_knows(tmp_path: Path) -> None:
    tokenizer = special_tags_tokenizer()
    preprocessor = Preprocessor(make_package(tmp_path / "package", tokenizer=tokenizer))
    ids, settings = preprocessor.prepare({**HI_ON, "max_thinking_tokens": 20})
    newline, close = ids_of("\n")[0], tokenizer.token_to_id("</think>")
    assert settings.close_ids == (newline, close, newline, newline)
    assert ids.tolist()[-2:] == [tokenizer.token_to_id("<think>"), newline]


@pytest.mark.parametrize("opened", ["<think>", "<think>\n"])
def test_a_complete_prompt_may_open_the_thinking_with_a_special_token(tmp_path: Path, opened: str) -> None:
    preprocessor = Preprocessor(make_package(tmp_path / "package", tokenizer=special_tags_tokenizer()))
    fields = {"raw_prompt": True, "text_input": f"<|im_start|>assistant\n{opened}", "max_thinking_tokens": 40}
    assert preprocessor.prepare(fields)[1].output == rules("thinking")


def test_a_stop_word_that_is_a_special_token_is_looked_for_among_the_tokens(tmp_path: Path) -> None:
    tokenizer = special_tags_tokenizer()
    tokenizer.add_special_tokens(["<|call|>"])
    preprocessor = Preprocessor(make_package(tmp_path / "package", tokenizer=tokenizer))
    words = ["<|call|>", "<|im_end|>", "<|call|>", "</think>", "STOP"]
    _, settings = preprocessor.prepare({**HI, "stop_words": words})
    assert settings.stop_token_ids == (IM_END, END_OF_TEXT, tokenizer.token_to_id("<|call|>"))
    assert settings.output is not None and settings.output.stop_words == tuple(words)


def test_a_format_whose_control_tokens_the_tokenizer_lacks_is_refused(tmp_path: Path) -> None:
    content = byte_tokenizer().to_str().replace("<|im_start|>", "<|other|>")
    tokenizer = byte_tokenizer().from_str(content)
    preprocessor = Preprocessor(make_package(tmp_path / "package", tokenizer=tokenizer))
    with pytest.raises(PackageError, match=r"no control token <\|im_start\|>"):
        preprocessor.prepare(HI)


def test_an_unknown_chat_format_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="chat_format 'other' is not known here"):
        Preprocessor(make_package(tmp_path / "package", chat_format="other"))


def test_tools_are_shown_and_their_calls_are_read(preprocessor: Preprocessor) -> None:
    ids, settings = preprocessor.prepare({**HI, "tools": TOOLS})
    assert '"name": "get_weather"' in text_of(ids.tolist())
    assert settings.guide is None
    assert settings.output == rules("answer", (), ToolRules(NAMES, *TAGS, ends_thinking=True))


def test_with_tool_choice_none_no_tool_is_shown_and_no_call_is_read(preprocessor: Preprocessor) -> None:
    ids, settings = preprocessor.prepare({**HI, "tools": TOOLS, "tool_choice": "none"})
    assert ids.tolist() == preprocessor.prepare(HI)[0].tolist()
    assert settings.output == rules("answer")
    # Then an answer may have a form.
    fields = {**HI, "tools": TOOLS, "tool_choice": "none", "response_format": JSON_OBJECT}
    assert preprocessor.prepare(fields)[1].guide == ResponseFormat(JSON_OBJECT)


@pytest.mark.parametrize(
    ("choice", "may", "single"), [("required", ("get_weather", "now"), False), (NAMED, ("now",), True)]
)
def test_a_required_call_is_guided(preprocessor: Preprocessor, choice: str, may: tuple[str, ...], single: bool) -> None:
    _, settings = preprocessor.prepare({**HI, "tools": TOOLS, "tool_choice": choice})
    assert isinstance(settings.guide, ForcedCalls)
    assert tuple(name for name, _ in settings.guide.tools) == may
    assert settings.guide.single is single
    # The grammar begins after the thinking, so a tag inside thinking must not end it.
    assert settings.output == rules("answer", (), ToolRules(NAMES, *TAGS, ends_thinking=False))
    grammar = settings.guide.grammar() or ""
    assert all(name in grammar for name in may)


def test_a_guided_answer_needs_a_think_block_and_a_budget_that_closes_it(package: Package) -> None:
    preprocessor = with_config(package, prefill_on="", system_on="detailed thinking on", min_answer_tokens=16)
    fields = {**HI_ON, "response_format": JSON_OBJECT, "max_tokens": 100}
    ids, settings = preprocessor.prepare(fields)
    assert text_of(ids.tolist()).endswith("assistant\n<think>\n")
    assert settings.output == rules("thinking")
    assert settings.guide == ResponseFormat(JSON_OBJECT)
    assert settings.budget is not None
    assert settings.budget.max_tokens + settings.budget.grace_tokens + len(CLOSE_IDS) + 16 <= 100
    assert preprocessor.prepare({**fields, "max_thinking_tokens": 5})[1].budget == ThinkingBudget(5, 0)


def test_forms_that_ask_for_nothing_change_nothing(preprocessor: Preprocessor) -> None:
    plain = preprocessor.prepare(HI)[1]
    nothing = {"tools": "[]", "tool_choice": "", "response_format": '{"type": "text"}', "bad_words": [""]}
    stock = {"guided_decoding_guide_type": "", "guided_decoding_guide": ""}
    assert preprocessor.prepare({**HI, **nothing, **stock})[1] == plain


def test_nvidias_guided_decoding_inputs_are_read_too(preprocessor: Preprocessor) -> None:
    assert preprocessor.prepare({**HI, **STOCK})[1].guide == StockGuide("regex", "[0-9]+")


def test_what_else_a_request_may_ask_for(preprocessor: Preprocessor) -> None:
    asked = {
        "bad_words": ["", "badly", "bad", "bad", "worse"],
        "logit_bias": '{"5": -1}',
        "top_logprobs": 3,
        "priority": 2,
    }
    _, settings = preprocessor.prepare({**HI, **asked, "repetition_guard": True})
    # Where the shorter word is not written, no longer one is that begins with it.
    assert settings.sampling.bad_words == ("bad", "worse")
    assert settings.sampling.logit_bias == {5: -1.0}
    assert settings.sampling.logprobs == 3
    assert (settings.priority, settings.repetition_guard) == (2, True)
    assert preprocessor.prepare({**HI, "return_log_probs": True})[1].sampling.logprobs == 0


@pytest.mark.parametrize("thinking", [True, False])
def test_a_template_that_opens_or_closes_the_think_block_itself_is_recognised(tmp_path: Path, thinking: bool) -> None:
    source = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}<|im_start|>assistant\n"
        "<think>\n{% if not thinking %}</think>{% endif %}"
    )
    package = make_package(tmp_path / "package")
    (package.path / CHAT_TEMPLATE).write_text(source)
    serving = serving_config(chat_format="template", prefill_on="", default_system_prompt="")
    preprocessor = Preprocessor(write_package(package.path, package.manifest, serving))
    for form in ({}, {"response_format": JSON_OBJECT}):
        ids, settings = preprocessor.prepare({**HI, "thinking": thinking, **form})
        assert settings.output == rules("thinking" if thinking else "closed")
        assert text_of(ids.tolist()).count("<think>") == 1
