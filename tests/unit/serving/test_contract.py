from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nemotron_serving.contract import (
    ENSEMBLE_INPUTS,
    OPTIONS,
    TOKEN_INPUTS,
    Option,
)
from nemotron_serving.engine import Sampling
from nemotron_serving.errors import InvalidRequestError
from nemotron_serving.inputs import NUMPY_TYPES, read_inputs


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


def test_a_default_that_the_contract_names_holds_in_sampling_too() -> None:
    for option in OPTIONS:
        if option.to in ("sampling", "library") and option.default is not None:
            assert getattr(Sampling(), option.name) == option.default, option.name
        if option.to == "library":
            assert getattr(Sampling(), option.name) in (option.only or ()), option.name
