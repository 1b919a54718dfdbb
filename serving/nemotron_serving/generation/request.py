"""The generating model's inputs to a prompt and settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from nemotron_serving.contract import TOKEN_INPUT_NAMES, Feature
from nemotron_serving.errors import InvalidRequestError
from nemotron_serving.generation.checks import check_range
from nemotron_serving.generation.sampling import resolve_priority, resolve_sampling, resolve_stop_ids
from nemotron_serving.generation.settings import GenerationSettings, check_features, check_guide, check_settings
from nemotron_serving.guide.spec import stock_spec
from nemotron_serving.output.detokenizer import Vocabulary
from nemotron_serving.package import SamplingDefaults, ServingConfig

_GREEDY = SamplingDefaults()


def read_generation_request(
    fields: Mapping[str, Any], config: ServingConfig, vocabulary: Vocabulary, features: frozenset[Feature]
) -> tuple[list[int], GenerationSettings]:
    """Prompt ids and settings, from preprocessing's JSON or from NVIDIA's token-level tensors.

    Args:
        fields: Values by input name of the generating model; absent ones were not sent.
        config: Of the package.
        vocabulary: Of the package's tokenizer.
        features: What the engine can do.

    Raises:
        InvalidRequestError: naming the field, what was given and what was expected.
    """
    prompt_ids = _prompt_ids(fields, len(vocabulary), config.limits.max_seq_len)
    settings = (
        _from_json(fields["request_settings"], vocabulary)
        if "request_settings" in fields
        else _from_tensors(fields, config, len(vocabulary))
    )
    check_features(settings, features)
    check_guide(settings)
    total, limit = len(prompt_ids) + settings.max_tokens, config.limits.max_seq_len
    if total > limit:
        raise InvalidRequestError(
            "request_output_len", f"{len(prompt_ids)} prompt tokens plus {settings.max_tokens} are over {limit}"
        )
    return prompt_ids, settings


def _prompt_ids(fields: Mapping[str, Any], vocabulary_size: int, limit: int) -> list[int]:
    ids = fields.get("input_ids")
    if ids is None or not len(ids):
        raise InvalidRequestError("input_ids", "empty, expected the token ids of a prompt")
    length = fields.get("input_lengths", len(ids))
    if not 1 <= length <= len(ids):
        raise InvalidRequestError("input_lengths", f"{length} was given with {len(ids)} input_ids")
    if length >= limit:  # before work is done that grows with it
        raise InvalidRequestError("input_ids", f"{length} were given, this server takes at most {limit - 1}")
    ids = ids[:length]
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= vocabulary_size:
        raise InvalidRequestError(
            "input_ids", f"{low if low < 0 else high} is no token id, expected 0 to {vocabulary_size - 1}"
        )
    prompt_ids: list[int] = ids.tolist()
    return prompt_ids


def _from_json(value: str, vocabulary: Vocabulary) -> GenerationSettings:
    try:
        settings = msgspec.json.decode(value, type=GenerationSettings)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise InvalidRequestError("request_settings", f"{error}; it is written by the preprocessing model") from error
    check_settings(settings, vocabulary)
    return settings


def _from_tensors(fields: Mapping[str, Any], config: ServingConfig, vocabulary_size: int) -> GenerationSettings:
    if "request_output_len" not in fields:
        raise InvalidRequestError("request_output_len", "missing, expected the most output tokens")
    check_range("request_output_len", fields["request_output_len"], rule="max_tokens")
    timeout_ms = fields.get("timeout_ms", config.limits.default_timeout_ms)
    check_range("timeout_ms", timeout_ms)
    stream = fields.get("streaming", False)
    return GenerationSettings(
        sampling=resolve_sampling(fields, _GREEDY, TOKEN_INPUT_NAMES, vocabulary_size),
        max_tokens=fields["request_output_len"],
        stream=stream,
        timeout_ms=timeout_ms,
        stop_token_ids=resolve_stop_ids(fields, config.stop_token_ids, vocabulary_size),
        guide=stock_spec(fields),
        priority=resolve_priority(fields),
        include_prompt=not (stream or fields.get("exclude_input_in_output", True)),
    )
