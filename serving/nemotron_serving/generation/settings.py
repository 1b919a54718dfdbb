"""What one request asks of the generation, checked and with every default filled in.

The preprocessing model sends this as JSON (`request_settings`) to the generating model, which hands `output` on
to postprocessing. Callers of the generating model itself say the same with NVIDIA's token-level tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from nemotron_serving.contract import MOST_LOGPROBS, OPTIONS, TOKEN_INPUT_NAMES, Option
from nemotron_serving.engine import Sampling
from nemotron_serving.errors import InvalidRequestError
from nemotron_serving.features import Feature
from nemotron_serving.generation.budget import ThinkingBudget
from nemotron_serving.generation.sampling import resolve_sampling, resolve_stop_ids
from nemotron_serving.guide import ForcedCalls, GuideSpec, StockGuide, stock_spec
from nemotron_serving.inputs import check_ranges, value_of
from nemotron_serving.output.assembler import OutputRules
from nemotron_serving.output.detokenizer import Vocabulary
from nemotron_serving.package import SamplingDefaults, ServingConfig

_GREEDY = SamplingDefaults()
_OPTIONS_BY_FEATURE: dict[Feature, list[Option]] = {}
for _option in OPTIONS:
    if _option.feature is not None:
        _OPTIONS_BY_FEATURE.setdefault(_option.feature, []).append(_option)


class GenerationSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings of one request.

    Attributes:
        max_tokens: Output tokens in all: thinking, its closing tag and the answer.
        stream: Many responses rather than one.
        timeout_ms: Deadline from the arrival at the generating model.
        stop_token_ids: Tokens that end the output.
        budget: None leaves the end of the thinking to the model.
        close_ids: What closes the thinking in the model's place, the tag with its newlines; empty where nothing may.
        guide: What the answer must look like; None leaves it free. After thinking it needs a budget, which says how
            thinking is closed.
        repetition_guard: Whether an endless loop ends the output.
        priority: Seconds by which it stands behind others that wait; see `WaitingRequests`.
        output: How postprocessing reads the output; None for a caller that takes token ids.
        include_prompt: Whether such a caller gets the prompt's ids in front of the output's.
    """

    sampling: Sampling
    max_tokens: int
    stream: bool
    timeout_ms: int
    stop_token_ids: tuple[int, ...]
    budget: ThinkingBudget | None = None
    close_ids: tuple[int, ...] = ()
    guide: GuideSpec | None = None
    repetition_guard: bool = False
    priority: int = 0
    output: OutputRules | None = None
    include_prompt: bool = False

    @property
    def form_field(self) -> str:
        """The input that asks for a form of the answer."""
        if isinstance(self.guide, ForcedCalls):
            return "tool_choice"
        if isinstance(self.guide, StockGuide):
            return "guided_decoding_guide_type"
        return "bad_words" if self.guide is None else "response_format"


def read_generation_request(
    fields: Mapping[str, Any], config: ServingConfig, vocabulary: Vocabulary, features: frozenset[Feature]
) -> tuple[list[int], GenerationSettings]:
    """Prompt ids and settings, from preprocessing's JSON or from NVIDIA's token-level tensors.

    Args:
        fields: Values by input name of the generating model; absent ones were not sent.
        config: The package's configuration.
        vocabulary: The package's vocabulary.
        features: What the engine can do.

    Raises:
        InvalidRequestError: naming the field, what was given and what was expected.
    """
    prompt_ids = prompt_ids_of(fields, len(vocabulary), config.limits.max_seq_len)
    settings = (
        _from_json(fields["request_settings"])
        if "request_settings" in fields
        else _from_tensors(fields, config, len(vocabulary))
    )
    _check_features(settings, features)
    check_guide(settings)
    total, limit = len(prompt_ids) + settings.max_tokens, config.limits.max_seq_len
    if total > limit:
        raise InvalidRequestError(
            "request_output_len", f"{len(prompt_ids)} prompt tokens plus {settings.max_tokens} are over {limit}"
        )
    return prompt_ids, settings


def check_guide(settings: GenerationSettings) -> None:
    """Refuse what would break the form of an answer.

    Raises:
        InvalidRequestError: naming the field.
    """
    for field in ("bad_words", "min_tokens"):
        if settings.guide is not None and getattr(settings.sampling, field):
            raise InvalidRequestError(
                field,
                "it does not go with response_format or a required call, whose form says what comes and when it ends",
            )


def prompt_ids_of(fields: Mapping[str, Any], vocabulary_size: int, limit: int) -> list[int]:
    """The input `input_ids`, checked.

    Args:
        fields: Values by input name.
        vocabulary_size: Ids are below it.
        limit: There are fewer of them than this.

    Raises:
        InvalidRequestError: naming the field, what was given and what was expected.
    """
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


def _from_json(value: str) -> GenerationSettings:
    """What preprocessing has checked; the seal says that it is as preprocessing wrote it."""
    try:
        return msgspec.json.decode(value, type=GenerationSettings)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise InvalidRequestError("request_settings", f"{error}; it is written by the preprocessing model") from error


def _from_tensors(fields: Mapping[str, Any], config: ServingConfig, vocabulary_size: int) -> GenerationSettings:
    if "request_output_len" not in fields:
        raise InvalidRequestError("request_output_len", "missing, expected the most output tokens")
    check_ranges(fields)
    stream = value_of(fields, "streaming")
    return GenerationSettings(
        sampling=resolve_sampling(fields, _GREEDY, TOKEN_INPUT_NAMES, vocabulary_size),
        max_tokens=fields["request_output_len"],
        stream=stream,
        timeout_ms=fields.get("timeout_ms", config.limits.default_timeout_ms),
        stop_token_ids=resolve_stop_ids(fields, config.stop_token_ids, vocabulary_size),
        guide=stock_spec(fields),
        priority=value_of(fields, "priority"),
        include_prompt=not (stream or value_of(fields, "exclude_input_in_output")),
    )


def _check_features(settings: GenerationSettings, features: frozenset[Feature]) -> None:
    """Refuse what this engine cannot do, naming the field that asks for it."""
    sampling = settings.sampling
    if settings.guide is not None and "guided_decoding" not in features:
        raise _missing(settings.form_field, "guided_decoding")
    for feature, options in _OPTIONS_BY_FEATURE.items():
        if feature not in features and any(_asks(option, sampling) for option in options):
            *others, last = (option.name for option in options)
            raise _missing(f"{', '.join(others)} or {last}" if others else last, feature)
    if sampling.logprobs is not None and not sampling.chosen_among_few and "sampled_logprobs" not in features:
        raise InvalidRequestError(
            "return_log_probs",
            f"the engine of this package has them for at most {MOST_LOGPROBS} tokens a place, and this request chooses "
            f"among more; set top_k to 1 to {MOST_LOGPROBS} or temperature to 0, or leave it out",
        )


def _asks(option: Option, sampling: Sampling) -> bool:
    asked = {
        "return_log_probs": sampling.logprobs is not None,
        "top_logprobs": sampling.logprobs or 0,
    }
    value = asked[option.name] if option.name in asked else getattr(sampling, option.name)
    return value not in (option.only or ())


def _missing(field: str, feature: Feature) -> InvalidRequestError:
    return InvalidRequestError(field, f"the engine of this package has no {feature.replace('_', ' ')}; leave it out")
