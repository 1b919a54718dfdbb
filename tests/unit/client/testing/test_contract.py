"""The fake server's tensors are the real one's."""

from __future__ import annotations

import types

import pytest

import nemotron_client.testing
from nemotron_client import _contract
from nemotron_client._contract import DTYPES, OCCASIONAL_OUTPUTS, READ_OUTPUTS
from nemotron_client._request import chat_call
from nemotron_serving import contract

Known = dict[str, tuple[str, tuple[int, ...]]]


def served(tensors: tuple[contract.Tensor, ...]) -> Known:
    return {tensor.name: (tensor.dtype.replace("STRING", "BYTES"), tensor.dims) for tensor in tensors}


def faked(tensors: dict[str, _contract.Tensor]) -> Known:
    return {name: (tensor.dtype, tensor.dims) for name, tensor in tensors.items()}


def test_ranges_are_those_of_the_clients_options() -> None:
    known = contract.RANGES.items()
    assert {name: most for name, most in known if name in _contract.Options.__annotations__} == _contract.RANGES


def test_the_ensemble_is_the_whole_ensemble() -> None:
    assert faked(_contract.INPUTS) == served(contract.ENSEMBLE_INPUTS)
    assert faked(_contract.OUTPUTS) == served(contract.ENSEMBLE_OUTPUTS)


def test_the_client_knows_which_outputs_it_may_ask_for_in_vain() -> None:
    asked = chat_call([{"role": "user", "content": "Hi"}], {"tools": [{"name": "f"}], "return_log_probs": True}).outputs
    assert set(asked) & contract.OCCASIONAL_OUTPUTS == OCCASIONAL_OUTPUTS


def test_a_response_that_says_nothing_has_what_every_response_has() -> None:
    assert _contract.NOTHING_NEW.keys() == served(contract.ENSEMBLE_OUTPUTS).keys() - contract.OCCASIONAL_OUTPUTS


def test_stops_and_sessions_are_a_part_of_the_generating_model() -> None:
    assert faked(_contract.CONTROL_INPUTS).items() <= served(contract.TOKEN_INPUTS).items()
    assert faked(_contract.CONTROL_OUTPUTS).items() <= served(contract.TOKEN_OUTPUTS).items()


def test_the_requests_of_sessions_have_the_whole_ensemble_of_their_own() -> None:
    assert faked(_contract.SESSION_INPUTS) == served(contract.SESSION_INPUTS)
    assert faked(_contract.ACCEPTED_OUTPUTS) == served(contract.ACCEPTED_OUTPUTS)


def test_all_that_the_client_sends_and_reads_is_there() -> None:
    assert faked(_contract.PREPROCESSING_INPUTS) == served(contract.PREPROCESSING_INPUTS)
    assert faked(_contract.PREPROCESSING_OUTPUTS) == served(contract.PREPROCESSING_OUTPUTS)
    inputs = {**_contract.PREPROCESSING_INPUTS, **_contract.CONTROL_INPUTS}
    assert {name: inputs[name].dtype for name in DTYPES} == DTYPES
    assert READ_OUTPUTS.keys() <= _contract.OUTPUTS.keys()


def test_all_is_what_is_public() -> None:
    public = [
        name
        for name, value in vars(nemotron_client.testing).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    ]
    assert sorted(public) == sorted(nemotron_client.testing.__all__)


@pytest.mark.parametrize("name", nemotron_client.testing.__all__)
def test_everything_public_is_documented(name: str) -> None:
    assert getattr(nemotron_client.testing, name).__doc__
