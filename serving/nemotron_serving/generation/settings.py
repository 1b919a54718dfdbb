"""What one request asks of the generation, checked and with every default filled in.

The preprocessing model sends this as JSON (`request_settings`) to the generating model, which hands `output` on
to postprocessing. Callers of the generating model itself say the same with NVIDIA's token-level tensors.
"""

from __future__ import annotations

import msgspec

from nemotron_serving.contract import MOST_LOGPROBS, OPTIONS, RANGES, Feature, Option
from nemotron_serving.engine import Sampling
from nemotron_serving.errors import InvalidRequestError
from nemotron_serving.generation.budget import ThinkingBudget
from nemotron_serving.generation.checks import check_bad_words, check_logit_bias, check_range, check_words
from nemotron_serving.generation.sampling import shortest_words
from nemotron_serving.guide.spec import ForcedCalls, GuideSpec, StockGuide
from nemotron_serving.output.assembler import OutputRules
from nemotron_serving.output.detokenizer import Vocabulary
from nemotron_serving.output.tags import CLOSE_TAG

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


def check_features(settings: GenerationSettings, features: frozenset[Feature]) -> None:
    """Refuse what this engine cannot do.

    Raises:
        InvalidRequestError: naming the field that asks for it.
    """
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


def check_settings(settings: GenerationSettings, vocabulary: Vocabulary) -> None:
    """Refuse settings that could do harm: whoever calls the generating model itself may write what it likes.

    Raises:
        InvalidRequestError: naming `request_settings` and what is wrong in it.
    """
    vocabulary_size = len(vocabulary)
    check_range("request_settings", settings.max_tokens, rule="max_tokens")
    check_range("request_settings", settings.timeout_ms, rule="timeout_ms")
    for field in Sampling.__struct_fields__:
        value = getattr(settings.sampling, field)
        if field in RANGES and value is not None:
            check_range("request_settings", value, rule=field)
    check_range("request_settings", settings.priority, rule="priority")
    check_bad_words("request_settings", settings.sampling.bad_words)
    if len(shortest_words(settings.sampling.bad_words)) < len(settings.sampling.bad_words):
        raise InvalidRequestError("request_settings", "bad words of which one begins with another")
    if settings.sampling.top_p == 0:
        raise InvalidRequestError("request_settings", "top_p is 0, expected more")
    check_logit_bias("request_settings", settings.sampling.logit_bias, vocabulary_size)
    if settings.sampling.logprobs is not None:
        check_range("request_settings", settings.sampling.logprobs, rule="top_logprobs")
    if settings.output is not None:
        check_words("request_settings", settings.output.stop_words)
        if settings.output.tools and not (settings.output.tools.open_tag and settings.output.tools.close_tag):
            raise InvalidRequestError("request_settings", "tools without tags")
        if settings.guide and settings.output.start == "thinking" and settings.budget is None:
            raise InvalidRequestError("request_settings", "a guide after thinking without a budget")
    budget = settings.budget
    ids = settings.stop_token_ids + (budget.close_ids if budget else ())
    if not settings.stop_token_ids or not all(0 <= index < vocabulary_size for index in ids):
        raise InvalidRequestError("request_settings", f"token ids {list(ids)}, expected stop ids of the vocabulary")
    if budget:
        check_range("request_settings", budget.max_tokens, rule="max_thinking_tokens")
        check_range("request_settings", budget.grace_tokens, rule="min_tokens")
        if CLOSE_TAG not in vocabulary.decode(budget.close_ids):
            raise InvalidRequestError("request_settings", "a thinking budget that does not close the thinking")
