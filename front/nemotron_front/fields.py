"""The one table of what a request may say: every field of OpenAI's, what other servers have, and our own options.

Options of the server need no row: each is a field of its own name, with the type and the range of the contract. A row
is for another name, another range, or more to do. Of two rows that are the same option the upper one is listened to,
which is how precedence among the ways to switch thinking is written down.

docs/openai/fields.md is made from it: `make render`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args, get_origin, get_type_hints

from nemotron_client import Options
from nemotron_client._contract import DTYPES, RANGES
from nemotron_client._request import LIMITS
from nemotron_front.errors import invalid
from nemotron_front.reading import Field, Fields, Kind
from nemotron_front.thinking import EFFORTS, TYPES, of_budget, of_budget_and_switch, of_effort, of_type

MOST_SEED = 2**64 - 1
MOST_CHOICES = 16
"""Answers that one request may have: each takes a place on the server."""

_KINDS: Mapping[Any, tuple[Kind, ...]] = {
    bool: ("boolean",),
    int: ("integer",),
    float: ("number",),
    str: ("string",),
    Mapping: ("object",),
}
_BUDGET_RANGE = (-1, RANGES["max_thinking_tokens"][1])
_SEED_RANGE = (-(2**63), MOST_SEED)


def _kinds(annotation: Any) -> tuple[Kind, ...]:
    """What JSON may be for an option of the client: its type, or a text or several, or else anything."""
    kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
    if len(kinds) == 1:
        return _KINDS.get(get_origin(kinds[0]) or kinds[0], ())
    return ("string", "array of strings") if str in kinds else ()


def _range(name: str) -> tuple[float, float] | None:
    """What numbers an option may be: as the contract says, or at least what its type holds."""
    return RANGES.get(name) or LIMITS.get(DTYPES.get(name, ""))


def _docs() -> dict[str, str]:
    """What the contract says of each option."""
    text = (Options.__doc__ or "").partition("Attributes:")[2]
    found = re.findall(r"^        (\w+): (.*(?:\n {12,}.*)*)", text, re.MULTILINE)
    return {name: " ".join(doc.split()) for name, doc in found}


_HINTS, _DOCS = get_type_hints(Options), _docs()
_OWN = {
    name: Field(name, doc=_DOCS.get(name, ""), kinds=_kinds(hint), range=_range(name), option=name)
    for name, hint in _HINTS.items()
    if name != "request_id"  # the front's own
}


def _as(option: str, name: str = "", doc: str = "", **changes: Any) -> Field:
    """A field that is an option of the server, with what differs from it."""
    own = _OWN[option]
    about = doc or (f"`{option}`" if name else own.doc)
    return Field(name or option, doc=about, **{"kinds": own.kinds, "range": own.range, "option": option, **changes})


def _flag(name: str, doc: str) -> Field:
    return Field(name, doc=doc, kinds=("boolean",))


def _ignored(doc: str, *names: str) -> list[Field]:
    return [Field(name, "ignored", doc) for name in names]


def _refused(name: str, doc: str, *only: Any) -> Field:
    return Field(name, "refused", doc, only=only)


def _seed(_: str, value: int) -> dict[str, Any]:
    return {"seed": value & MOST_SEED}


def _top_k(_: str, value: int) -> dict[str, Any]:
    return {"top_k": max(value, 0)}


def _stop(name: str, value: str | list[str]) -> dict[str, Any]:
    words = [value] if isinstance(value, str) else value
    if "" in words:
        raise invalid(name, f"{name}: an empty string was given, expected texts that end the answer")
    return {"stop_words": words}


def _end_id(name: str, value: list[int]) -> dict[str, Any]:
    if len(value) > 1:
        raise invalid(name, f"{name}: {len(value)} were given, expected at most one; use stop for texts")
    return {"end_id": replace(_OWN["end_id"], name=name).checked(value[0])}


NO_USE = "The server has no use for it."
"""Why most fields of other servers are ignored."""

_FORMS = (
    Field("response_format", doc="`text`, `json_object`, `json_schema`; also `regex` and `choice`.", kinds=("object",)),
    *(Field(name, doc="The answer follows this JSON schema.", kinds=("object", "string"))
      for name in ("guided_json", "nvext.guided_json", "structured_outputs.json", "json_schema")),
    *(Field(name, doc="The answer fits this pattern.", kinds=("string",))
      for name in ("guided_regex", "nvext.guided_regex", "structured_outputs.regex", "regex")),
    *(Field(name, doc="The answer is one of these.", kinds=("array of strings",))
      for name in ("guided_choice", "nvext.guided_choice", "structured_outputs.choice")),
    _flag("structured_outputs.json_object", "The answer is a JSON object."),
    *(_refused(name, "grammars are not taken; use response_format, guided_json, guided_regex or guided_choice")
      for name in ("guided_grammar", "nvext.guided_grammar", "structured_outputs.grammar", "grammar", "ebnf",
                   "structured_outputs.structural_tag", "structural_tag", "guided_whitespace_pattern")),
    *_ignored("There is one way to hold the form.", "guided_decoding_backend"),
)  # fmt: skip

_SWITCHES = (
    _as("thinking", "chat_template_kwargs.enable_thinking"),
    _as("thinking", "chat_template_kwargs.thinking"),
    _as("thinking", "enable_thinking"),
    _as("thinking"),
    Field("thinking.type", doc="Anthropic's switch; `adaptive` is on, `auto` says nothing.",
          kinds=("string",), values=tuple(TYPES), becomes=of_type),
    _as("thinking", "reasoning.enabled", "OpenRouter's switch."),
)  # fmt: skip

_BUDGETS = (
    _as("max_thinking_tokens"),
    *(_as("max_thinking_tokens", name, "`max_thinking_tokens`; -1 is none, 0 is no thinking.",
          range=_BUDGET_RANGE, becomes=of_budget)
      for name in ("nvext.max_thinking_tokens", "thinking_token_budget", "reasoning_budget", "thinking_budget",
                   "chat_template_kwargs.reasoning_budget", "chat_template_kwargs.thinking_budget")),
)  # fmt: skip

_EFFORTS = (
    *(_as("max_thinking_tokens", name, "Thinking, for so many tokens; 0 is no thinking.",
          range=(0, _BUDGET_RANGE[1]), becomes=of_budget_and_switch)
      for name in ("thinking.budget_tokens", "reasoning.max_tokens")),
    *(Field(name, doc="`none` switches thinking off; `minimal`, `low` and `medium` give it 256, 1,024 and 4,096 "
            "tokens; the others leave it free.", kinds=("string",), values=tuple(EFFORTS), becomes=of_effort)
      for name in ("reasoning.effort", "reasoning_effort")),
)  # fmt: skip

_SHOWN = (
    _flag("include_reasoning", "False leaves the thinking out of the answer; it is still done. Not with `logprobs`."),
    _flag("reasoning.exclude", "True leaves the thinking out of the answer. Not with `logprobs`."),
    _flag("separate_reasoning", "False puts the thinking into the content, between its tags."),
    *_ignored("The thinking is streamed as it comes.", "stream_reasoning", "reasoning.summary"),
)

# What all APIs with a body like this have, in front of what says how the model thinks and behind it.
_COMMON = (
    Field("model", doc="One of `/v1/models`; without it the first of them.", kinds=("string",)),
    _as("max_tokens", "max_completion_tokens", "`max_tokens`, under OpenAI's name of today; it wins."),
    _as("max_tokens"),
    _as("temperature", range=(0.0, 2.0)),
    _as("top_p"),
    *(_as("top_k", name, "How many tokens are drawn from; 1 is greedy, 0 or -1 all.",
          range=(-1, RANGES["top_k"][1]), becomes=_top_k)
      for name in ("top_k", "nvext.top_k")),
    _as("min_p"),
    *(_as("repetition_penalty", name, _OWN["repetition_penalty"].doc)
      for name in ("repetition_penalty", "nvext.repetition_penalty", "repeat_penalty")),
    _as("seed", "", "The same seed and request give the same text; each of `n` answers counts it up.",
        range=_SEED_RANGE, becomes=_seed),
    _as("stop_words", "stop", "Texts that end the answer, at most 32 of 256 characters; not in thinking.",
        becomes=_stop),
    _as("end_id", "stop_token_ids", "One token that ends the output.",
        kinds=("array of integers",), range=None, becomes=_end_id),
    *(_flag(name, "Writes as many tokens as `max_tokens` says, for load tests.")
      for name in ("ignore_eos", "nvext.ignore_eos")),
    Field("n", doc="Answers wanted.", kinds=("integer",), range=(1, MOST_CHOICES)),
    _flag("stream", "Whether the answer comes as server-sent events while it is written."),
    _flag("stream_options.include_usage", "Whether the stream ends with the token counts."),
    _flag("stream_options.continuous_usage_stats", "Whether every chunk has those so far."),
)  # fmt: skip
_COMMON_REST = (
    _as("top_logprobs", "", "So many alternatives each, with `logprobs`."),
    _as("return_log_probs", "", "Log probabilities, as `logprobs` asks for them."),
    *_FORMS,
    *_SHOWN,
    *_ignored("It pads chunks against who listens.", "stream_options.include_obfuscation"),
    _refused("best_of", "one answer is written for each that is returned; leave it out, or send n", 1),
    _refused("use_beam_search", "there is no beam search; leave it out", False),
    _refused("length_penalty", "there is no beam search; leave it out", 0, 1),
    _refused("logits_processors", "no code is taken from callers; leave it out"),
    _refused("allowed_token_ids", "use logit_bias"),
    _refused("prompt_logprobs", "log probabilities are those of the answer; leave it out"),
    _refused("truncate_prompt_tokens", "a prompt is never cut; shorten it"),
    *(_refused(name, "what ends the answer is not part of it; leave it out", False)
      for name in ("include_stop_str_in_output", "no_stop_trim")),
    _refused("stop_regex", "use stop"),
    _refused("skip_special_tokens", "special tokens are never in the text; leave it out", True),
    _refused("spaces_between_special_tokens", "special tokens are never in the text; leave it out", True),
    *(_refused(name, "answers are text; leave it out", False)
      for name in ("return_token_ids", "return_tokens_as_token_ids", "return_hidden_states")),
    _refused("detokenize", "answers are text; leave it out", True),
    _refused("nvext.use_raw_prompt", "use /v1/completions; leave it out", False),
    _refused("nvext.greed_sampling", "send temperature 0; leave it out", False),
    _refused("lora_path", "there are no adapters; leave it out"),
    *_ignored(NO_USE, "user", "safety_identifier", "metadata", "store", "service_tier", "prompt_cache_key",
              "prompt_cache_options", "prompt_cache_retention", "cache_salt", "session_id", "request_id", "rid"),
    *_ignored("Prompts are always cached where the engine can.", "cache_prompt"),
    *_ignored("Streams have counts with `stream_options`.", "timings_per_token", "return_progress"),
    *_ignored("A hint for the scheduler of another server.", "nvext.agent_hints", "nvext.annotations",
              "kv_transfer_params", "data_parallel_rank"),
    _refused("vllm_xargs", "they are for plug-ins of vLLM; leave it out", {}),
    _refused("early_stopping", "there is no beam search; leave it out", False),
)  # fmt: skip

_CHAT = (
    Field("messages", doc="The conversation; see [chat completions](chat-completions.md).", kinds=("array",)),
    *_COMMON,
    *(*_SWITCHES, *_BUDGETS, *_EFFORTS),
    Field("tools", doc="Functions that the model may call; see [tools](tools-and-formats.md).", kinds=("array",)),
    Field("tool_choice", doc="`auto`, `none`, `required`, one function, or `allowed_tools`.",
          kinds=("string", "object")),
    _flag("parallel_tool_calls", "False ends the answer with its first call."),
    _flag("logprobs", "Log probabilities of the answer's tokens."),
    *_COMMON_REST,
    _refused("functions", "use tools"),
    _refused("function_call", "use tool_choice", "none", "auto"),
    _refused("audio", "the model reads and writes text; leave it out"),
    _refused("modalities", "the model reads and writes text; leave it out", ["text"]),
    _refused("web_search_options", "there is no web search; leave it out"),
    _refused("echo", "a conversation is not sent back; leave it out", False),
    _flag("add_generation_prompt", "False goes with `continue_final_message` alone."),
    _refused("add_special_tokens", "the chat format writes them; leave it out", False),
    _refused("chat_template", "conversations are written in the model's own chat format; leave it out"),
    _refused("documents", "write them into a message"),
    _refused("mm_processor_kwargs", "the model reads text; leave it out", {}),
    *_ignored(NO_USE, "verbosity", "moderation"),
    *_ignored("It could only make the answer faster.", "prediction"),
)  # fmt: skip

_COMPLETIONS = (
    Field("prompt", doc="A complete prompt, or several.", kinds=("string", "array")),
    *_COMMON,
    *_BUDGETS,
    _as("top_logprobs", "logprobs", "Log probabilities, with so many alternatives each."),
    *_COMMON_REST,
    _refused("echo", "the prompt is not sent back; leave it out", False),
    _refused("continue_final_message", "a prompt is always continued; leave it out", False),
    _refused("suffix", "the model writes on, it does not fill in; leave it out", ""),
    _refused("add_special_tokens", "a prompt begins with the model's first token, once; leave it out", True),
    *(_refused(name, "a complete prompt says that itself; use /v1/chat/completions")
      for name in ("messages", "thinking", "tools", "tool_choice", "chat_template_kwargs", "reasoning_effort")),
)  # fmt: skip


def _fields(*rows: Field) -> Fields:
    """A table with the options that have no row of their own."""
    names = {row.name for row in rows}
    return Fields([*rows, *(own for name, own in _OWN.items() if name not in names)])


CHAT = _fields(*_CHAT)
"""Of /v1/chat/completions."""
COMPLETIONS = _fields(*_COMPLETIONS)
"""Of /v1/completions."""
