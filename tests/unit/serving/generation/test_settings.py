from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from nemotron_serving.contract import LIBRARY_OPTIONS, Option
from nemotron_serving.engine import Feature, Sampling
from nemotron_serving.errors import InvalidRequestError
from nemotron_serving.generation.settings import GenerationSettings, read_generation_request
from nemotron_serving.guide import StockGuide
from tests.unit.serving.support import (
    END_OF_TEXT,
    IM_END,
    byte_tokenizer,
    serving_config,
    settings,
    vocabulary_of,
)

with tempfile.TemporaryDirectory() as directory:
    VOCABULARY = vocabulary_of(byte_tokenizer(), Path(directory))
CONFIG = serving_config(max_seq_len=1024)
FEATURES: frozenset[Feature] = frozenset(
    ("guided_decoding", "logit_bias", "logprobs", "min_tokens", "sampled_logprobs")
)


def read(features: frozenset[Feature] = FEATURES, **fields: Any) -> tuple[list[int], GenerationSettings]:
    if "input_ids" in fields:
        fields["input_ids"] = np.array(fields["input_ids"], np.int32)
    return read_generation_request(fields, CONFIG, VOCABULARY, features)


def as_json(**changes: Any) -> str:
    """Settings as preprocessing writes them, with some fields replaced."""
    content = msgspec.json.decode(msgspec.json.encode(settings(thinking=True, budget=(8, 3))))
    for name, value in changes.items():
        content[name] = value
    return msgspec.json.encode(content).decode()


IDS = [5, 6, 7]


def test_settings_of_preprocessing_are_taken_as_they_are() -> None:
    given = settings(thinking=True, budget=(8, 3), stop_words=("END",), seed=2**64 - 1)
    assert read(input_ids=IDS, request_settings=msgspec.json.encode(given).decode()) == (IDS, given)


def test_token_level_tensors_by_their_own_names() -> None:
    prompt, given = read(
        input_ids=IDS, request_output_len=9, streaming=True, timeout_ms=77, end_id=9,
        runtime_top_k=5, runtime_top_p=0.5, temperature=0.25, seed=3, min_tokens=2,
        repetition_penalty=1.5, presence_penalty=-1.0, frequency_penalty=1.0, features=FEATURES | {"penalties"},
    )  # fmt: skip
    assert prompt == IDS
    assert given.sampling == Sampling(0.25, 0.5, 5, 3, 1.5, -1.0, 1.0, 2)
    assert (given.max_tokens, given.stream, given.timeout_ms) == (9, True, 77)
    assert set(given.stop_token_ids) == {IM_END, END_OF_TEXT, 9}
    assert (given.output, given.budget) == (None, None)


def test_token_level_defaults_are_greedy_and_the_packages_deadline() -> None:
    _, given = read(input_ids=IDS, request_output_len=1)
    assert given.sampling == Sampling()
    assert (given.stream, given.timeout_ms) == (False, 60_000)


@pytest.mark.parametrize(
    ("fields", "included"),
    [
        ({}, False),
        ({"exclude_input_in_output": True}, False),
        ({"exclude_input_in_output": False}, True),
        ({"exclude_input_in_output": False, "streaming": False}, True),
        ({"exclude_input_in_output": False, "streaming": True}, False),
    ],
)
def test_the_prompt_is_returned_to_who_asks_for_it_and_takes_one_response(
    fields: dict[str, Any], included: bool
) -> None:
    assert read(input_ids=IDS, request_output_len=1, **fields)[1].include_prompt is included


def test_one_token_at_the_least_needs_no_feature_as_stock_clients_send_it() -> None:
    fields = {"input_ids": IDS, "request_output_len": 9, "min_tokens": 1}
    assert read(FEATURES - {"min_tokens"}, **fields)[1].sampling.min_tokens == 1


def test_what_is_asked_for_beyond_plain_sampling() -> None:
    _, given = read(
        input_ids=IDS, request_output_len=9, logit_bias='{"7": -100, "8": 1.5}', return_log_probs=True, priority=-3,
        guided_decoding_guide_type="regex", guided_decoding_guide="[0-9]{4}",
    )  # fmt: skip
    assert given.sampling.logit_bias == {7: -100.0, 8: 1.5}
    assert given.sampling.logprobs == 0
    assert given.priority == -3
    assert given.guide == StockGuide("regex", "[0-9]{4}")
    assert read(input_ids=IDS, request_settings=msgspec.json.encode(given).decode())[1] == given


def test_end_id_is_a_stop_token_too_and_minus_one_is_none() -> None:
    defaults = read(input_ids=IDS, request_output_len=1)[1].stop_token_ids
    assert read(input_ids=IDS, request_output_len=1, end_id=50)[1].stop_token_ids == (*defaults, 50)
    assert read(input_ids=IDS, request_output_len=1, end_id=-1)[1].stop_token_ids == defaults


def test_input_lengths_cuts_the_padding_off() -> None:
    assert read(input_ids=[5, 6, 0, 0], input_lengths=2, request_output_len=1)[0] == [5, 6]
    assert read(input_ids=[5, 6, -1], input_lengths=2, request_output_len=1)[0] == [5, 6]


def test_prompt_and_output_may_fill_the_sequence_exactly() -> None:
    assert read(input_ids=IDS, request_output_len=1021)[1].max_tokens == 1021


NO_TOOLS = {"type": "ForcedCalls", "tools": [], "open_tag": "<a>", "close_tag": "</a>", "single": False}


@pytest.mark.parametrize(
    ("sampling", "is_taken"),
    [
        ({"temperature": 0.0}, True),
        ({"temperature": 0.0, "runtime_top_k": 50}, True),
        ({"temperature": 0.6, "runtime_top_k": 1}, True),
        ({"temperature": 0.6, "runtime_top_k": 20}, True),
        ({"temperature": 0.6, "runtime_top_k": 21}, False),
        ({"temperature": 0.6, "runtime_top_k": 0}, False),
    ],
)
def test_log_probabilities_where_the_chosen_token_may_not_be_among_them(
    sampling: dict[str, Any], is_taken: bool
) -> None:
    fields = {"input_ids": IDS, "request_output_len": 5, "return_log_probs": True, **sampling}
    assert read(**fields)[1].sampling.logprobs == 0
    if is_taken:
        read(features=FEATURES - {"sampled_logprobs"}, **fields)
        return
    with pytest.raises(InvalidRequestError, match=r"^return_log_probs: .*set top_k to 1 to 20 or temperature to 0"):
        read(features=FEATURES - {"sampled_logprobs"}, **fields)


@pytest.mark.parametrize("option", LIBRARY_OPTIONS, ids=lambda option: option.name)
def test_what_the_engine_cannot_do_is_refused_by_name_and_what_asks_nothing_taken(option: Option) -> None:
    assert option.range is not None and option.only
    fields = {"input_ids": IDS, "request_output_len": 5}
    for value in option.only:
        assert not read(frozenset(), **fields, **{option.name: value})[1].sampling.handed_on
    with pytest.raises(InvalidRequestError, match=rf"^[^:]*\b{option.name}\b.*: the engine of this package has no "):
        read(frozenset(), **fields, **{option.name: option.range[1]})


def test_a_call_of_no_tool_is_refused_before_it_reaches_an_engine() -> None:
    _, given = read(input_ids=IDS, request_settings=as_json(guide=NO_TOOLS))
    assert given.guide is not None
    with pytest.raises(InvalidRequestError, match=r"^tools: "):
        given.guide.grammar()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"request_output_len": 5}, "input_ids: empty, expected the token ids of a prompt"),
        ({"input_ids": [], "request_output_len": 5}, "input_ids: empty"),
        ({"input_ids": [5, 259], "request_output_len": 5}, "input_ids: 259 is no token id, expected 0 to 258"),
        ({"input_ids": [-1, 5], "request_output_len": 5}, "input_ids: -1 is no token id, expected 0 to 258"),
        (
            {"input_ids": IDS, "input_lengths": 4, "request_output_len": 5},
            "input_lengths: 4 was given with 3 input_ids",
        ),
        ({"input_ids": IDS, "input_lengths": 0, "request_output_len": 5}, "input_lengths: 0 was given"),
        ({"input_ids": IDS, "input_lengths": -1, "request_output_len": 5}, "input_lengths: -1 was given"),
        ({"input_ids": IDS}, "request_output_len: missing, expected the most output tokens"),
        ({"input_ids": IDS, "request_output_len": 0}, "request_output_len: 0 was given, expected 1 to"),
        ({"input_ids": IDS, "request_output_len": 1022}, "request_output_len: 3 prompt tokens plus 1022 are over 1024"),
        ({"input_ids": IDS, "request_output_len": 5, "timeout_ms": 0}, "timeout_ms: 0 was given"),
        ({"input_ids": IDS, "request_output_len": 5, "temperature": math.nan}, "temperature: nan was given"),
        ({"input_ids": IDS, "request_output_len": 5, "runtime_top_p": 1.5}, "runtime_top_p: 1.5 was given"),
        ({"input_ids": IDS, "request_output_len": 5, "runtime_top_k": -1}, "runtime_top_k: -1 was given"),
        ({"input_ids": IDS, "request_output_len": 5, "end_id": 10**6}, "end_id: 1000000 is no token id"),
        ({"input_ids": IDS, "request_settings": "{"}, "request_settings: .*; it is written by the preprocessing model"),
        ({"input_ids": IDS, "request_settings": "{}"}, "request_settings: Object missing required field"),
        ({"input_ids": IDS, "request_settings": "\ud800"}, "request_settings: .*written by the preprocessing model"),
        ({"input_ids": IDS, "request_settings": as_json(colour=1)}, "request_settings: Object contains unknown field"),
        ({"input_ids": IDS, "request_settings": as_json(max_tokens=1022)}, "request_output_len: 3 prompt tokens plus"),
        (
            {"input_ids": IDS, "request_output_len": 5, "guided_decoding_guide_type": "json", "min_tokens": 2},
            "min_tokens: it does not go with response_format",
        ),
        ({"input_ids": IDS, "request_output_len": 5, "priority": 1001}, "priority: 1001 was given, expected -1000"),
        ({"input_ids": IDS, "request_output_len": 5, "logit_bias": "[1]"}, "logit_bias: .*a JSON object of biases"),
        ({"input_ids": IDS, "request_output_len": 5, "logit_bias": '{"259": 1}'}, "logit_bias: 259 is no token id"),
        ({"input_ids": IDS, "request_output_len": 5, "logit_bias": '{"1": 101}'}, "logit_bias: 101.0 was given"),
        ({"input_ids": IDS, "request_output_len": 5, "top_logprobs": 21}, "top_logprobs: 21 was given, expected 0"),
        (
            {"input_ids": IDS, "request_output_len": 5, "top_logprobs": 2},
            "top_logprobs: the engine of this package has no top logprobs; leave it out",
        ),
        (
            {"input_ids": IDS, "request_output_len": 5, "presence_penalty": 0.5},
            "repetition_penalty, presence_penalty or",
        ),
        (
            {
                "input_ids": IDS,
                "request_output_len": 5,
                "guided_decoding_guide_type": "json",
                "features": frozenset(),
            },
            "guided_decoding_guide_type: the engine of this package has no guided decoding",
        ),
        (
            {"input_ids": IDS, "request_output_len": 5, "min_tokens": 2, "features": FEATURES - {"min_tokens"}},
            "min_tokens: the engine of this package has no min tokens; leave it out",
        ),
        (
            {"input_ids": IDS, "request_settings": as_json(sampling={"bad_words": ["x"]})},
            "bad_words: the engine of this package has no bad words",
        ),
    ],
    ids=lambda value: str(value)[:70].encode("unicode_escape").decode(),
)
def test_refusals_name_the_field(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match="^" + message):
        read(**fields)
