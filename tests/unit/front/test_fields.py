"""What a request may say: every field has a row, and each row does what it says."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import completion_create_params as chat_params
from openai.types.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming

from nemotron_client import AsyncClient, Options
from nemotron_client._contract import RANGES
from nemotron_client.testing import AsyncMockTransport, Fault
from nemotron_front import anthropic, responses
from nemotron_front.ask import Ask
from nemotron_front.chat import read_chat
from nemotron_front.errors import ApiError
from nemotron_front.fields import CHAT, COMPLETIONS
from tests.unit.front.conftest import FrontOf

HI = [{"role": "user", "content": "Hi"}]
PATH = "/v1/chat/completions"
DOCS = Path(__file__).parents[3] / "docs"


def ask(**body: Any) -> Ask:
    return read_chat({"model": "m", "messages": HI, **body})


def refusal(**body: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        ask(**body)
    assert caught.value.status == 400
    return caught.value


def test_every_field_of_openai_has_a_row() -> None:
    openai = get_type_hints(chat_params.CompletionCreateParamsNonStreaming)
    assert openai.keys() - {row.name.partition(".")[0] for row in CHAT.rows} == set()


def test_every_field_of_openai_s_completions_has_a_row() -> None:
    openai = get_type_hints(CompletionCreateParamsNonStreaming)
    assert openai.keys() - {row.name.partition(".")[0] for row in COMPLETIONS.rows} == set()


def test_every_field_of_openai_s_responses_has_a_row() -> None:
    openai = get_type_hints(ResponseCreateParamsNonStreaming)
    assert openai.keys() - {row.name.partition(".")[0] for row in (*CHAT.rows, *responses.FIELDS.rows)} == set()


def test_every_option_of_the_contract_is_a_field_of_its_name() -> None:
    honoured = {row.name for row in CHAT.rows if row.use == "honoured"}
    assert Options.__annotations__.keys() - honoured == {"request_id"}  # the front has its own


def test_every_row_says_what_it_is_for() -> None:
    rows = (*CHAT.rows, *COMPLETIONS.rows, *responses.FIELDS.rows, *anthropic.FIELDS.rows)
    assert [row.name for row in rows if not row.doc] == []


def test_the_page_is_up_to_date() -> None:
    page = runpy.run_path(str(DOCS / "make_fields.py"))["page"]()
    assert (DOCS / "openai" / "fields.md").read_text() == page, "run 'make docs'"


@pytest.mark.parametrize("name", [row.name for row in CHAT.rows if row.name not in ("model", "messages")])
def test_null_is_the_same_as_nothing(name: str) -> None:
    value: Any = None
    for part in reversed(name.split(".")):
        value = {part: value}
    assert ask(**value) == ask()


# What has no room in a table of values: their range is another one, or their value another JSON.
RANGED = [
    row for row in CHAT.rows if row.range and row.option == row.name and row.name in RANGES and row.becomes is None
]


@pytest.mark.parametrize("row", RANGED, ids=lambda row: row.name)
def test_numbers_keep_to_the_range_of_the_contract(row: Any) -> None:
    least, greatest = RANGES[row.name]
    assert least <= row.range[0]
    assert row.range[1] <= greatest
    told = refusal(**{row.name: row.range[1] + 1})
    assert told.param == row.name
    assert str(row.range[0]).removesuffix(".0") in str(told)


HONOURED = [
    ({"max_tokens": 5}, {"max_tokens": 5}),
    ({"max_tokens": 5, "max_completion_tokens": 9}, {"max_tokens": 9}),
    ({"max_tokens": 5.0}, {"max_tokens": 5}),
    ({"temperature": 0, "top_p": 1}, {"temperature": 0, "top_p": 1}),
    ({"frequency_penalty": -2, "presence_penalty": 2.0}, {"frequency_penalty": -2, "presence_penalty": 2.0}),
    ({"seed": 7}, {"seed": 7}),
    ({"seed": -1}, {"seed": 2**64 - 1}),
    ({"stop": "END"}, {"stop_words": ["END"]}),
    ({"stop": ["a", "b"]}, {"stop_words": ["a", "b"]}),
    ({"stop": []}, {}),
    ({"top_k": 5}, {"top_k": 5}),
    ({"top_k": -1}, {"top_k": 0}),
    ({"nvext": {"top_k": 3, "repetition_penalty": 1.1}}, {"top_k": 3, "repetition_penalty": 1.1}),
    ({"repeat_penalty": 1.2}, {"repetition_penalty": 1.2}),
    ({"stop_token_ids": [2]}, {"end_id": 2}),
    ({"max_tokens": 8, "ignore_eos": True}, {"max_tokens": 8, "min_tokens": 8}),
    ({"max_tokens": 8, "nvext": {"ignore_eos": True}}, {"max_tokens": 8, "min_tokens": 8}),
    ({"ignore_eos": False}, {}),
    ({"logprobs": True, "top_logprobs": 3}, {"return_log_probs": True, "top_logprobs": 3}),
    ({"logprobs": False}, {}),
    ({"return_log_probs": True, "top_logprobs": 3}, {"return_log_probs": True, "top_logprobs": 3}),
    ({"logit_bias": {"50": -100}}, {"logit_bias": {"50": -100}}),
    ({"continue_final_message": True, "add_generation_prompt": False}, {"continue_final_message": True}),
    # Options of ours.
    ({"min_p": 0.1, "bad_words": ["x"], "priority": -3}, {"min_p": 0.1, "bad_words": ["x"], "priority": -3}),
    ({"timeout_ms": 100, "repetition_guard": True}, {"timeout_ms": 100, "repetition_guard": True}),
    ({"stop_words": "END", "min_tokens": 3}, {"stop_words": "END", "min_tokens": 3}),
]


@pytest.mark.parametrize(("body", "options"), HONOURED, ids=str)
def test_fields_become_options(body: dict[str, Any], options: dict[str, Any]) -> None:
    assert ask(**body).options == options


HARMLESS = [
    {"user": "u"},
    {"user": {"id": 7}},
    {"metadata": {"a": "b"}},
    {"store": True},
    {"service_tier": "auto"},
    {"prompt_cache_key": "k"},
    {"prompt_cache_options": {"mode": "implicit"}},
    {"safety_identifier": "s"},
    {"verbosity": "low"},
    {"prediction": {"type": "content", "content": "x"}},
    {"cache_salt": "x", "session_id": "s", "request_id": "r", "cache_prompt": True, "timings_per_token": True},
    {"nvext": {"agent_hints": {"a": 1}, "annotations": ["x"], "use_raw_prompt": False, "greed_sampling": False}},
    {"kv_transfer_params": {"a": 1}, "vllm_xargs": {}, "data_parallel_rank": 0, "early_stopping": False},
    {"no_stop_trim": False, "return_hidden_states": False, "detokenize": True},
    # Values that ask nothing of what is refused.
    {"modalities": ["text"]},
    {"best_of": 1, "use_beam_search": False, "length_penalty": 1.0},
    {"echo": False, "add_generation_prompt": True},
    {"skip_special_tokens": True, "return_token_ids": False},
    {"functions": [], "documents": [], "logits_processors": []},
    {"function_call": "none"},
    {"chat_template_kwargs": {}, "nvext": {}, "extra_body": None},
    {"parallel_tool_calls": True},
    {"include_reasoning": True, "separate_reasoning": True},
]


@pytest.mark.parametrize("body", HARMLESS, ids=str)
def test_what_cannot_change_the_answer_is_ignored(body: dict[str, Any]) -> None:
    body.pop("extra_body", None)
    assert ask(**body) == ask()


REFUSED = [
    ({"temperature": "hot"}, "temperature", "invalid_value", '"hot" was given, expected a number from 0 to 2'),
    ({"temperature": 9}, "temperature", "invalid_value", "9 was given, expected a number from 0 to 2"),
    ({"temperature": True}, "temperature", "invalid_value", "expected a number"),
    ({"top_p": 1.5}, "top_p", "invalid_value", "from 0 to 1"),
    ({"max_tokens": 0}, "max_tokens", "invalid_value", "1 or more"),
    ({"max_tokens": 2**40}, "max_tokens", "invalid_value", "an integer, 1 to 2147483647"),
    ({"seed": 2**64}, "seed", "invalid_value", "to 18446744073709551615"),
    ({"max_tokens": 5.5}, "max_tokens", "invalid_value", "an integer"),
    ({"max_completion_tokens": -1}, "max_completion_tokens", "invalid_value", "1 or more"),
    ({"n": 17}, "n", "invalid_value", "from 1 to 16"),
    ({"n": 0}, "n", "invalid_value", "from 1 to 16"),
    ({"stop": ["a", ""]}, "stop", "invalid_value", "empty string"),
    ({"stop": [1]}, "stop", "invalid_value", "a list of strings"),
    ({"stop_token_ids": [1, 2]}, "stop_token_ids", "invalid_value", "at most one"),
    ({"stream": "yes"}, "stream", "invalid_value", "true or false"),
    ({"seed": 2**64}, "seed", "invalid_value", "expected an integer"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value", "stream true"),
    ({"stream_options": {"include_usage": False}}, "stream_options", "invalid_value", "stream true"),
    ({"stream_options": 1}, "stream_options", "invalid_value", "an object"),
    ({"top_logprobs": 2}, "top_logprobs", "invalid_value", "logprobs true"),
    ({"logprobs": 5}, "logprobs", "invalid_value", "true or false"),
    ({"ignore_eos": True}, "ignore_eos", "invalid_value", "max_tokens"),
    ({"reasoning_effort": "huge"}, "reasoning_effort", "invalid_value", "one of none, minimal"),
    ({"foo": 1}, "foo", "unknown_parameter", "docs/openai/fields.md"),
    ({"temprature": 1}, "temprature", "unknown_parameter", "did you mean temperature?"),
    ({"chat_template_kwargs": {"thinkin": True}}, "chat_template_kwargs.thinkin", "unknown_parameter", "thinking?"),
    ({"nvext": {"foo": 1}}, "nvext.foo", "unknown_parameter", "no such field"),
    ({"functions": [{"name": "f"}]}, "functions", "unsupported_parameter", "use tools"),
    ({"function_call": {"name": "f"}}, "function_call", "unsupported_parameter", "use tool_choice"),
    ({"audio": {"voice": "alloy"}}, "audio", "unsupported_parameter", "text"),
    ({"modalities": ["text", "audio"]}, "modalities", "unsupported_parameter", "text"),
    ({"web_search_options": {}}, "web_search_options", "unsupported_parameter", "web search"),
    ({"guided_grammar": "root ::= x"}, "guided_grammar", "unsupported_parameter", "guided_regex"),
    ({"best_of": 2}, "best_of", "unsupported_parameter", "send n"),
    ({"echo": True}, "echo", "unsupported_parameter", "leave it out"),
    ({"add_generation_prompt": False}, "add_generation_prompt", "unsupported_parameter", "continue_final_message"),
    ({"use_beam_search": True}, "use_beam_search", "unsupported_parameter", "beam search"),
    ({"chat_template": "x"}, "chat_template", "unsupported_parameter", "chat format"),
    ({"logprobs": True, "include_reasoning": False}, "include_reasoning", "unsupported_parameter", "thinking included"),
    ({"logprobs": True, "reasoning": {"exclude": True}}, "reasoning.exclude", "unsupported_parameter", "thinking"),
    ({"prompt_logprobs": 1}, "prompt_logprobs", "unsupported_parameter", "answer"),
    ({"stop_regex": "x"}, "stop_regex", "unsupported_parameter", "use stop"),
    ({"no_stop_trim": True}, "no_stop_trim", "unsupported_parameter", "leave it out"),
    ({"nvext": {"greed_sampling": True}}, "nvext.greed_sampling", "unsupported_parameter", "temperature 0"),
    ({"vllm_xargs": {"a": 1}}, "vllm_xargs", "unsupported_parameter", "plug-ins"),
]


@pytest.mark.parametrize(("body", "param", "code", "message"), REFUSED, ids=str)
def test_what_cannot_be_honoured_is_refused_by_name(body: dict[str, Any], param: str, code: str, message: str) -> None:
    told = refusal(**body)
    assert (told.param, told.code) == (param, code)
    assert str(told).startswith(f"{param}: ")
    assert message in str(told)


def test_long_names_and_values_are_shortened() -> None:
    assert len(str(refusal(**{"x" * 5000: 1}))) < 200
    assert len(str(refusal(temperature="x" * 5000))) < 200


WORDS = (
    "auto",
    "none",
    "required",
    "function",
    "text",
    "json_object",
    "json_schema",
    "regex",
    "low",
    "enabled",
    "é",
    "",
)
KEYS = ("type", "name", "function", "tools", "mode", "allowed_tools", "json_schema", "schema", "content", "role")
NUMBERS = (-(2**63), -(2**31) - 1, -1, 0, 1, 5, 2**31, 2**64 - 1, 0.5, 1.0, 1e300)
VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.sampled_from(NUMBERS) | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([row.name for row in CHAT.rows if row.name != "model"]), VALUES, max_size=3))
def test_whatever_a_field_holds_is_read_or_refused(said: dict[str, Any]) -> None:
    body: dict[str, Any] = {}
    for name, value in said.items():
        outer, _, inner = name.partition(".")
        if not inner:
            body[outer] = value
        elif isinstance(body.setdefault(outer, {}), dict):
            body[outer][inner] = value
    try:
        read = ask(**body)
    except ApiError as error:
        assert error.status == 400
        assert len(str(error)) < 1000
    else:
        client = AsyncClient(transport=AsyncMockTransport("a"))
        client.stream_chat(read.messages or [], **read.options)  # which checks what it is given


def test_a_seed_is_counted_up_for_each_of_several_answers(front_of: FrontOf) -> None:
    front = front_of(["a", "b"])
    front.post(PATH, {"messages": HI, "n": 2, "seed": 2**64 - 1})
    assert sorted(request.options["seed"] for request in front.transport.requests) == [0, 2**64 - 1]


@pytest.mark.parametrize(
    ("body", "fault", "param"),
    [
        ({"max_completion_tokens": 5}, "max_tokens: 5 was given", "max_completion_tokens"),
        ({"max_tokens": 5}, "max_tokens: 5 was given", "max_tokens"),
        ({"stop": "x"}, "stop_words: 33 were given", "stop"),
        ({"logprobs": True}, "return_log_probs: the engine has none", "logprobs"),
        ({"guided_json": {}}, "response_format: schema.a: not supported", "guided_json"),
        ({}, "messages[0].content: empty", "messages[0].content"),
    ],
    ids=str,
)
def test_errors_of_the_server_name_the_caller_s_field(
    front_of: FrontOf, body: dict[str, Any], fault: str, param: str
) -> None:
    answer = front_of(Fault.invalid(fault)).post(PATH, {"messages": HI, **body})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert error["message"] == f"{param}: {fault.partition(': ')[2]}"


def test_what_does_not_fit_the_context_has_a_code_of_its_own(front_of: FrontOf) -> None:
    fault = Fault.invalid("messages: the prompt has 9 tokens, and this model's maximum context length is 8 tokens")
    error = front_of(fault).post(PATH, {"messages": HI}).json()["error"]
    assert error["code"] == "context_length_exceeded"
