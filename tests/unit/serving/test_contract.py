"""Rows of the contract that go together with others, or with what is written by hand beside them."""

from __future__ import annotations

import pytest

from nemotron_serving.contract import ENSEMBLE_OUTPUTS, OPTIONS, Option, Output
from nemotron_serving.engine import Sampling
from nemotron_serving.features import FEATURES


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_an_option_goes_with_its_own_range_and_default(option: Option) -> None:
    values = [*(option.only or ()), *([] if option.default is None else [option.default])]
    if option.range is not None:
        least, most = option.range
        assert least < most
        assert all(least <= value <= most for value in values)
    if option.to in ("sampling", "library"):
        assert hasattr(Sampling(), option.name)
        assert option.default in (None, getattr(Sampling(), option.name))
    if option.to == "library":
        assert option.range is not None and option.feature is not None
        assert getattr(Sampling(), option.name) in (option.only or ())


def test_an_option_of_the_client_is_documented_and_one_with_a_feature_has_values_that_need_none() -> None:
    assert [option.name for option in OPTIONS if option.python and not option.doc] == []
    assert [option.name for option in OPTIONS if option.feature and not option.only] == []
    used = {option.feature for option in OPTIONS if option.feature}
    assert used | {"guided_decoding", "sampled_logprobs"} == FEATURES.keys()


@pytest.mark.parametrize("output", ENSEMBLE_OUTPUTS, ids=lambda output: output.name)
def test_an_output_that_is_sent_is_documented_and_read_with_an_option_there_is(output: Output) -> None:
    assert bool(output.doc) == (output.sent != "never")
    assert output.read in {"", "always", *(option.name for option in OPTIONS)}
    assert not (output.read == "always" and output.sent not in {"always", "first"})
