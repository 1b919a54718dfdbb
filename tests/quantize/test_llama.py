"""The rope that the installed transformers builds: what the config says, whatever the release and the spelling."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nemotron_build.checkpoint.shape import LLAMA_31_8B, ModelShape, inverse_frequencies, read_shape
from nemotron_build.errors import UnsupportedError
from tests.unit.build.tiny import tiny_checkpoint

TINY = replace(
    LLAMA_31_8B,
    hidden_size=64,
    intermediate_size=64,
    num_layers=1,
    num_heads=4,
    num_kv_heads=2,
    head_dim=16,
    vocab_size=32,
)


def llama(shape: ModelShape) -> Any:
    from transformers import LlamaForCausalLM

    from nemotron_build.checkpoint.llama import llama_config

    return LlamaForCausalLM(llama_config(shape))


def closed_formula(shape: ModelShape, pair: int) -> float:
    """Llama 3.1's frequency of one pair of a head, as its paper's code has it."""
    plain: float = shape.rope_theta ** (-2 * pair / shape.head_dim)
    scaling = shape.rope_scaling
    if scaling is None:
        return plain
    wave = 2 * math.pi / plain
    context = scaling.original_max_position_embeddings
    if wave < context / scaling.high_freq_factor:
        return plain
    if wave > context / scaling.low_freq_factor:
        return plain / scaling.factor
    smooth = (context / wave - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    return (1 - smooth) * plain / scaling.factor + smooth * plain


@pytest.mark.parametrize("head_dim", [16, 128])
@pytest.mark.parametrize("theta", [10000.0, 500000.0])
@pytest.mark.parametrize("scaled", [True, False])
def test_the_frequencies_are_those_of_the_shape(head_dim: int, theta: float, scaled: bool) -> None:
    from nemotron_build.checkpoint.llama import check_rope

    shape = replace(
        TINY, head_dim=head_dim, rope_theta=theta, rope_scaling=LLAMA_31_8B.rope_scaling if scaled else None
    )
    model = llama(shape)
    found = model.model.rotary_emb.inv_freq
    assert found.tolist() == pytest.approx([closed_formula(shape, pair) for pair in range(head_dim // 2)], rel=1e-5)
    check_rope(model, shape)


@pytest.mark.parametrize(
    "other", [{"rope_theta": 10000.0}, {"rope_scaling": None}, {"head_dim": 32}], ids=["base", "scaling", "pairs"]
)
def test_a_model_with_another_rope_is_refused(other: dict[str, Any]) -> None:
    from nemotron_build.checkpoint.llama import check_rope

    with pytest.raises(UnsupportedError, match=r"transformers \d.*other angles than its config says.*Install"):
        check_rope(llama(replace(TINY, **other)), TINY)


def spell_as_transformers_5(config: dict[str, Any]) -> dict[str, Any]:
    scaling = config.pop("rope_scaling")
    return {**config, "rope_parameters": {**scaling, "rope_theta": config.pop("rope_theta")}}


def test_calibration_reads_both_spellings_of_the_rope_alike(tmp_path: Path) -> None:
    """What attention makes of a text goes into o_proj, so another rope gives other scales."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what ModelOpt and what it imports say
        pytest.importorskip("modelopt")
        from nemotron_build.convert.fp8 import measure_scales

        classic = tiny_checkpoint(tmp_path / "classic")
        newer = tiny_checkpoint(tmp_path / "newer")
        config = json.loads((newer / "config.json").read_text())
        (newer / "config.json").write_text(json.dumps(spell_as_transformers_5(config)))
        found = [
            measure_scales(
                path,
                read_shape(path),
                [list(range(3, 90))],
                weights=True,
                kv_cache=False,
                report=lambda _what, _done, _total: None,
            )
            for path in (classic, newer)
        ]
    assert found[0] == found[1]


def test_llama_31_8b_as_transformers_has_it() -> None:
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    from nemotron_build.checkpoint.llama import llama_config

    expected, _ = ROPE_INIT_FUNCTIONS["llama3"](llama_config(LLAMA_31_8B), "cpu")
    np.testing.assert_allclose(inverse_frequencies(LLAMA_31_8B), expected.numpy(), rtol=1e-6)
