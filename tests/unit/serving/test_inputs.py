from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nemotron_serving.contract import CALLER, ENSEMBLE_INPUTS, TOKEN_INPUTS, Option
from nemotron_serving.errors import InvalidRequestError
from nemotron_serving.inputs import NUMPY_TYPES, apply_parameters, check_id, read_inputs, read_parameters

INPUTS = ("text_input", "max_tokens", "temperature", "timeout_ms", "stop_words")


def apply(parameters: dict[str, Any], request_id: str = "", **fields: Any) -> dict[str, Any]:
    """The fields afterwards."""
    apply_parameters(fields, parameters, request_id, INPUTS)
    return fields


@pytest.mark.parametrize("request_id", ["", "question-1", "ไทย😀", "x" * 256])
def test_an_id_is_any_text_that_is_not_too_long(request_id: str) -> None:
    check_id(request_id)
    assert apply({"id": request_id}, request_id) == {}


def test_an_id_that_is_too_long_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match=r"^id: 257 characters were given, expected at most 256$"):
        check_id("x" * 257)


@pytest.mark.parametrize("value", ["other", 12, True, 0.5])
def test_an_id_that_is_not_the_requests_own_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"^id: it did not become the request's id"):
        apply({"id": value})


@pytest.mark.parametrize(
    ("timeout_us", "timeout_ms", "deadline_ms"),
    [
        (1_000_000, None, 1000),
        (1, None, 1),
        (1001, None, 2),
        (5_000_000, 300, 300),
        (300_000, 5000, 300),
        (0, None, None),
        (0, 300, 300),
        # gRPC has made this of -1.
        (2**64 - 1, None, 2**31 - 1),
        (2**64 - 1, 300, 300),
    ],
)
def test_tritons_timeout_is_a_deadline_and_the_shorter_one_holds(
    timeout_us: int, timeout_ms: int | None, deadline_ms: int | None
) -> None:
    fields: dict[str, Any] = {} if timeout_ms is None else {"timeout_ms": timeout_ms}
    assert apply({"timeout": timeout_us}, **fields).get("timeout_ms") == deadline_ms


@pytest.mark.parametrize("value", ["1000", 0.5, True, -1])
def test_a_timeout_that_is_no_count_of_microseconds_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"^timeout: .* was given, expected microseconds"):
        apply({"timeout": value})


@pytest.mark.parametrize("name", ["sequence_id", "sequence_start", "sequence_end"])
def test_sequences_are_refused_by_name_where_there_is_one(name: str) -> None:
    assert apply({name: 0}) == {}
    with pytest.raises(InvalidRequestError, match=f"^{name}: requests are independent"):
        apply({name: 1})


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        (True, {"stop": True}),
        (False, {"stop": True}),
        (True, {"streaming": True}),
        (True, {"request_settings": "{}"}),
        (True, {"stream": True}),
        (False, {"streaming": False}),
        (False, {}),
    ],
)
def test_nvidias_streaming_is_taken_where_it_says_nothing_new(value: bool, fields: dict[str, Any]) -> None:
    assert apply({"Streaming": value}, **fields) == fields


@pytest.mark.parametrize(("value", "fields"), [(True, {}), (True, {"stream": False}), (False, {"streaming": True})])
def test_streaming_that_contradicts_the_input_is_refused(value: bool, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match=r"^Streaming: .* send the input stream"):
        apply({"Streaming": value}, **fields)


def test_what_only_triton_reads_is_left_alone() -> None:
    assert apply({"binary_data_output": True, "triton_enable_empty_final_response": True}) == {}


MINE = "0123456789abcdef"


@pytest.mark.parametrize("name", ["nemotron-caller", "Nemotron-Caller"])
def test_a_callers_secret_is_kept_whatever_the_capitals_of_its_header(name: str) -> None:
    assert apply({name: MINE}) == {CALLER: MINE}


@pytest.mark.parametrize("value", ["", "alice", MINE[1:], 17 * MINE, 1234567890123456, True])
def test_a_secret_that_could_be_guessed_or_is_no_text_is_refused_and_not_shown(value: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"^nemotron-caller: expected a secret of 16 to 256") as error:
        apply({CALLER: value})
    assert not str(value) or str(value) not in str(error.value)


@pytest.mark.parametrize("second", ["nemotron-caller", "Nemotron-Caller"])
def test_a_header_and_a_parameter_of_its_name_are_refused(second: str) -> None:
    assert read_parameters("") == {}
    assert read_parameters(f'{{"timeout": 5, "nemotron-caller": "{MINE}"}}') == {"timeout": 5, CALLER: MINE}
    with pytest.raises(InvalidRequestError, match=r"^nemotron-caller: given twice"):
        read_parameters(f'{{"{second}": "of somebody else", "nemotron-caller": "{MINE}"}}')


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("temprature", r"did you mean temperature\?"),
        ("max_token", r"did you mean max_tokens\?"),
        ("max_completion_tokens", "send max_tokens"),
        ("stop", "send stop_words"),
        ("model", "the URL names the model"),
        ("foo", "docs/requests.md lists"),
    ],
)
def test_a_name_that_is_no_input_is_refused_with_what_was_meant(name: str, remedy: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"^{name}: this model has no such input; {remedy}"):
        apply({"timeout": 5, name: 1})


def text(*values: str | bytes) -> npt.NDArray[Any]:
    return np.array([[value.encode() if isinstance(value, str) else value for value in values]], dtype=np.object_)


def test_values_become_plain_python() -> None:
    fields = read_inputs(
        {
            "text_input": text("สวัสดี"),
            "stop_words": text("a", "b"),
            "max_tokens": np.array([[7]], np.int32),
            "temperature": np.array([[0.5]], np.float32),
            "seed": np.array([[2**64 - 1]], np.uint64),
            "stream": np.array([[True]]),
            "unknown": np.array([[1]]),
        },
        ENSEMBLE_INPUTS,
    )
    assert fields == {
        "text_input": "สวัสดี", "stop_words": ["a", "b"], "max_tokens": 7,
        "temperature": 0.5, "seed": 2**64 - 1, "stream": True,
    }  # fmt: skip
    assert {name: type(value) for name, value in fields.items()} == {
        "text_input": str, "stop_words": list, "max_tokens": int, "temperature": float, "seed": int, "stream": bool,
    }  # fmt: skip


def test_strings_of_a_local_caller_are_read_too() -> None:
    array = np.array([["Hi"]], dtype=np.object_)
    assert read_inputs({"text_input": array}, ENSEMBLE_INPUTS) == {"text_input": "Hi"}


def test_prompt_ids_stay_an_array() -> None:
    ids = read_inputs({"input_ids": np.array([[5, 6, 7]], np.int32)}, TOKEN_INPUTS)["input_ids"]
    assert ids.tolist() == [5, 6, 7]
    assert ids.shape == (3,)


@pytest.mark.parametrize("size", [0, 2])
def test_a_scalar_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(InvalidRequestError, match=f"^max_tokens: {size} values were given, expected one$"):
        read_inputs({"max_tokens": np.zeros([1, size], np.int32)}, ENSEMBLE_INPUTS)


@pytest.mark.parametrize("name", ["text_input", "messages", "stop_words"])
def test_invalid_utf_8_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequestError, match=rf"^{name}: not valid UTF-8 \(byte 2\)$"):
        read_inputs({name: text(b"ab\xff")}, ENSEMBLE_INPUTS)


UNSUPPORTED = [
    pytest.param(contract, tensor, id=f"{model}-{tensor.name}")
    for model, contract in {"ensemble": ENSEMBLE_INPUTS, "tensorrt_llm": TOKEN_INPUTS}.items()
    for tensor in contract
    if not tensor.supported
]


@pytest.mark.parametrize(("contract", "tensor"), UNSUPPORTED)
def test_what_is_not_supported_is_refused_by_name_when_it_is_used(contract: tuple[Option, ...], tensor: Option) -> None:
    with pytest.raises(
        InvalidRequestError, match=f"^{tensor.name}: .* which this server does not support; leave it out"
    ):
        read_inputs({tensor.name: example(tensor, using=True)}, contract)


@pytest.mark.parametrize(("contract", "tensor"), UNSUPPORTED)
def test_values_that_ask_nothing_of_it_are_accepted(contract: tuple[Option, ...], tensor: Option) -> None:
    for value in tensor.only or ():
        assert read_inputs({tensor.name: example(tensor, value)}, contract) == {}


def example(tensor: Option, value: Any = None, *, using: bool = False) -> npt.NDArray[Any]:
    """An array as Triton gives it, of a value, or of one that uses the feature."""
    if using:
        assert tensor.only is not None
        value = next(candidate for candidate in _candidates(tensor) if candidate not in tensor.only)
    dtype = NUMPY_TYPES[tensor.dtype]
    if tensor.dtype == "STRING":
        value = value.encode()
    return np.full([1, *(max(size, 1) for size in tensor.dims)], value, dtype=dtype)


def _candidates(tensor: Option) -> list[Any]:
    if tensor.dtype == "STRING":
        return ["used"]
    return [True, False] if tensor.dtype == "BOOL" else [5]


def test_a_list_is_refused_for_one_value_that_is_used() -> None:
    with pytest.raises(InvalidRequestError, match=r"^embedding_bias_words: 'swear'"):
        read_inputs({"embedding_bias_words": text("", "swear")}, ENSEMBLE_INPUTS)


def test_a_refusal_says_what_may_be_sent_instead() -> None:
    with pytest.raises(InvalidRequestError, match=r"beam_width: 4 was given.*leave it out or send 1$"):
        read_inputs({"beam_width": np.array([[4]], np.int32)}, ENSEMBLE_INPUTS)


OLD_NAMES = [
    pytest.param(contract, old, name, id=f"{model}-{old}")
    for model, contract in {"ensemble": ENSEMBLE_INPUTS, "tensorrt_llm": TOKEN_INPUTS}.items()
    for old, name in {"random_seed": "seed", "min_length": "min_tokens"}.items()
]


@pytest.mark.parametrize(("contract", "old", "name"), OLD_NAMES)
def test_an_old_name_means_the_input_of_today(contract: tuple[Option, ...], old: str, name: str) -> None:
    array = np.array([[7]], np.int32)
    assert read_inputs({old: array}, contract) == read_inputs({name: array}, contract) == {name: 7}


@pytest.mark.parametrize(("contract", "old", "name"), OLD_NAMES)
def test_an_input_under_both_of_its_names_is_refused(contract: tuple[Option, ...], old: str, name: str) -> None:
    array = np.array([[7]], np.int32)
    with pytest.raises(InvalidRequestError, match=f"^{old}: {name} was given as well"):
        read_inputs({old: array, name: array}, contract)
