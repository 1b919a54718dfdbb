"""All that can be asked and answered: the one table of options and outputs.

The ensemble is a superset of the one in NVIDIA's TensorRT-LLM repository (1.0 to 1.2.1), so that a client written
for that works unchanged. What this stack cannot do is in the contract too, and is refused by name when it is used.

A row says all there is to say of an option or an output. What is read and refused here follows from it, and so do the
files that `make render` writes: `model_repository/*/config.pbtxt`, the client's `_contract.py`, and tables in
docs/requests.md and docs/tensorrt-llm.md.

Shapes leave out the batch dimension, which is always 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from nemotron_serving.features import Feature

FinishReason = Literal["stop", "length", "tool_calls", "repetition", "cancelled", "timeout"]
"""What a caller reads in `finish_reason`."""

CALLER = "nemotron-caller"
"""A secret of the caller's, by which its stops are known to be its own. Triton hands it on from a header where
nemotron-serve asks it to, except for /generate, where it is a key of the body (server issue 8790)."""

MOST_LOGPROBS = 20
"""Most alternatives that a request may ask for, and that an engine without `sampled_logprobs` looks for a token in."""

MOST_INT32 = 2**31 - 1
_TEXTS = "Sequence[str] | str"
_REASONS = ", ".join(f"`{reason}`" for reason in get_args(FinishReason))


@dataclass(frozen=True)
class Tensor:
    """One input or output of a model.

    Attributes:
        name: As callers write it.
        dtype: Triton's name without TYPE_.
        dims: -1 is any length. `(1,)` is a scalar and reads as one value, `(-1,)` as a list.
    """

    name: str
    dtype: str
    dims: tuple[int, ...] = (1,)


@dataclass(frozen=True, kw_only=True)
class Option(Tensor):
    """What a caller may say: an input. All are optional.

    Attributes:
        range: The least and the greatest value.
        default: What holds where nothing is said; None where the package, the engine or another option says that.
        only: The values that ask nothing of it. Others need the `feature`; without one they are refused by every
            engine. None: every value is taken.
        feature: What an engine needs for other values than `only`.
        to: Where it goes: into the prompt, to the generation service, into the reading of the output, or into the
            choice of tokens, `Sampling`. There engines map a `sampling` option each in its own way; a `library` option
            they hand on, for their libraries have it under the same name.
        generating_name: Its name at the generating model, where that is another one.
        alias: Its name before TensorRT-LLM 1.0, which is taken as well.
        python: Its type in the client's `Options`; empty for what is no option there.
        doc: A line for the client's `Options` and for docs/requests.md.
        python_doc: What the client says instead, where its type is richer.
        more: What docs/requests.md adds, in Markdown.
    """

    range: tuple[float, float] | None = None
    default: Any = None
    only: tuple[Any, ...] | None = None
    feature: Feature | None = None
    to: Literal["prompt", "service", "output", "sampling", "library"] | None = None
    generating_name: str = ""
    alias: str = ""
    python: str = ""
    doc: str = ""
    python_doc: str = ""
    more: str = ""

    @property
    def supported(self) -> bool:
        """Whether some engine takes more than the values that ask nothing."""
        return self.only is None or self.feature is not None


@dataclass(frozen=True, kw_only=True)
class Output(Tensor):
    """What a caller gets.

    Attributes:
        sent: In every response, in the first one, in those that have something to say with it (each output has its
            price in every response), or in none.
        kind: A `delta` is new, to be put behind what has come; a `total` counts what has come so far; of a `state` the
            last one holds; what is there `once` is all there is.
        read: Our client asks for it with every request (`always`), or with the option named; empty: never.
        doc: A line for docs/requests.md, in Markdown.
    """

    sent: Literal["always", "first", "occasional", "never"] = "always"
    kind: Literal["delta", "total", "state", "once"] = "state"
    read: str = ""
    doc: str = ""

    @property
    def nothing(self) -> str | int | bool:
        """Its value where there is nothing to say."""
        nothing: dict[str, str | int | bool] = {"STRING": "", "INT32": 0, "BOOL": False}
        return nothing[self.dtype]


# Of the ensemble alone.
_TEXT_OPTIONS = (
    Option("text_input", "STRING", to="prompt", doc="The user's text; the chat format is put around it."),
    Option("messages", "STRING", to="prompt",
           doc="A conversation as JSON, at most 4,096 messages in OpenAI's shape.",
           more="Roles are `system`, `user`, `assistant`, `tool`; see [chat formats](chat-formats.md)."),
    Option("raw_prompt", "BOOL", to="prompt", default=False,
           doc="`text_input` is a complete prompt, control tokens included.",
           more="Do not build it from untrusted text."),
    Option("thinking", "BOOL", to="prompt", python="bool",
           doc="On or off; else what a system message says, else the package's default.",
           more="Such a system message is `detailed thinking on`."),
    Option("continue_final_message", "BOOL", to="prompt", default=False, python="bool",
           doc="The answer goes on with the text of the last message, which is the assistant's.",
           more="It has what follows that text. Without thinking, and not together with `response_format` or a call "
           "that has to be made."),
    Option("max_thinking_tokens", "INT32", to="service", range=(1, MOST_INT32), python="int",
           doc="The thinking is closed at the first newline after so many, and the answer follows.",
           more="That is at most 10 % later (rounded down: 64 ends at 70); see [budgets](#thinking-budgets)."),
    Option("stop_words", "STRING", (-1,), to="output", python=_TEXTS,
           doc="Strings that end the answer, at most 32 of 256 characters.",
           more="They are never part of it; they do not apply to thinking, nor inside tool calls. One that is a "
           "special token of the tokenizer, such as `<|eom_id|>`, ends the output wherever it comes."),
    Option("bad_words", "STRING", (-1,), only=((),), feature="bad_words", to="sampling", python=_TEXTS,
           doc="Strings that the output must not contain, at most 32 of 256 characters in all.",
           more="Not together with `response_format`."),
    Option("repetition_guard", "BOOL", to="service", python="bool",
           doc="Ends an output that repeats itself; on with thinking, else off.",
           more="It looks for one pattern of at most 64 tokens, over and over in the last 256."),
    Option("tools", "STRING", to="prompt", python="Any",
           doc="Functions that the model may call, as JSON in OpenAI's shape.",
           python_doc="Functions that the model may call: Python functions (see `tool_from_function`), or dicts in "
           "OpenAI's shape. `run_tools` calls them.",
           more="See [tools](tools.md)."),
    Option("tool_choice", "STRING", to="prompt", python="Any",
           doc="Whether it may, must or must not: `auto`, `none`, `required`, or one function as JSON.",
           python_doc="`auto`, `none`, `required`, or one function, as in `tools`."),
    Option("response_format", "STRING", to="prompt", python="Any",
           doc="What the answer must look like: JSON, a schema, a pattern, a choice.",
           python_doc="What the answer must look like: a dataclass, a TypedDict, a pydantic model or another type; "
           "a JSON schema; or a dict in OpenAI's shape. `reply.parsed` is the answer in this form. An answer that "
           "was cut off raises ParseError for a type; for a dict `parsed` is None.",
           more="As JSON in OpenAI's shape; see [structured answers](structured-answers.md)."),
    Option("decoder_text_input", "STRING", only=("",)),
    Option("prompt_table_extra_id", "UINT64", only=(0,)),
    Option("embedding_bias_words", "STRING", (-1,), only=("",)),
    Option("embedding_bias_weights", "FP32", (-1,), only=(0.0,)),
)  # fmt: skip

# Of the ensemble and of the generating model.
_SHARED_OPTIONS = (
    Option("max_tokens", "INT32", to="service", range=(1, MOST_INT32), generating_name="request_output_len",
           python="int", doc="Output tokens at most: of thinking, its closing tag and the answer together."),
    Option("min_tokens", "INT32", to="sampling", range=(0, MOST_INT32), default=0, only=(0, 1), feature="min_tokens",
           alias="min_length", python="int",
           doc="Output tokens before which the model may not stop.", more="Not together with `response_format`."),
    Option("stream", "BOOL", to="service", default=False, generating_name="streaming",
           doc="Many responses rather than one."),
    Option("temperature", "FP32", to="sampling", range=(0.0, 10.0), python="float", doc="0 is greedy."),
    Option("top_p", "FP32", to="sampling", range=(0.0, 1.0), generating_name="runtime_top_p", python="float",
           doc="The share of probability that is drawn from."),
    Option("top_k", "INT32", to="sampling", range=(0, MOST_INT32), generating_name="runtime_top_k", python="int",
           doc="How many tokens are drawn from; 1 is greedy."),
    Option("min_p", "FP32", to="library", range=(0.0, 1.0), only=(0.0,), feature="min_p", python="float",
           doc="The least probability as a share of the greatest; 0 is none, 1 is greedy.",
           more="NVIDIA's ensemble has no such input."),
    Option("seed", "UINT64", to="sampling", range=(0, 2**64 - 1), alias="random_seed", python="int",
           doc="The same seed and request give the same text.",
           more="So it is as far as the engine computes the same; see [known issues](known-issues.md#the-demo-model)."),
    Option("repetition_penalty", "FP32", to="library", range=(0.001, 10.0), only=(1.0,), feature="penalties",
           python="float", doc="1 is none."),
    Option("presence_penalty", "FP32", to="library", range=(-2.0, 2.0), only=(0.0,), feature="penalties",
           python="float", doc="0 is none."),
    Option("frequency_penalty", "FP32", to="library", range=(-2.0, 2.0), only=(0.0,),
           feature="penalties", python="float", doc="0 is none."),
    Option("logit_bias", "STRING", only=({},), feature="logit_bias", to="sampling", python="Mapping[int, float]",
           doc="Token id → what is added to its logit, -100 to 100.", more="It is a JSON object."),
    Option("return_log_probs", "BOOL", to="output", default=False, only=(False,), feature="logprobs", python="bool",
           doc="Log probabilities of the chosen tokens.", python_doc="Fills `reply.logprobs`."),
    Option("top_logprobs", "INT32", to="output", range=(0, MOST_LOGPROBS), default=0, only=(0,),
           feature="top_logprobs", python="int",
           doc="With so many alternatives each."),
    Option("end_id", "INT32", to="service", python="int", doc="A further token that ends the output."),
    Option("priority", "INT32", to="service", range=(-1000, 1000), default=0, python="int",
           doc="Seconds by which it stands behind others that wait, negative ahead of them; at most 10 count.",
           more="With 3 it starts as if it had come 3 s later, with -3 as if 3 s earlier, so nobody waits for ever."),
    Option("timeout_ms", "INT32", to="service", range=(1, MOST_INT32), python="int",
           doc="The server's own deadline in milliseconds: what was generated by then is the reply.",
           more="It is looked at every 50 ms."),
    Option("exclude_input_in_output", "BOOL", to="output", default=True,
           doc="False: `text_output` begins with the prompt, unless the answer is streamed.",
           more="The other fields never have it."),
    Option("guided_decoding_guide_type", "STRING", to="prompt"),
    Option("guided_decoding_guide", "STRING", to="prompt"),
    # Nothing is padded here and both counts are always returned: any value of these changes nothing.
    Option("pad_id", "INT32"),
    Option("return_num_input_tokens", "BOOL"),
    Option("return_num_output_tokens", "BOOL"),
    Option("num_return_sequences", "INT32", only=(0, 1)),
    Option("beam_width", "INT32", only=(0, 1)),
    Option("length_penalty", "FP32", only=(0.0, 1.0), generating_name="len_penalty"),
    Option("return_context_logits", "BOOL", only=(False,)),
    Option("return_generation_logits", "BOOL", only=(False,)),
    Option("return_perf_metrics", "BOOL", only=(False,), alias="return_kv_cache_reuse_stats"),
    Option("prompt_embedding_table", "FP16", (-1, -1), only=()),
    Option("prompt_vocab_size", "INT32", only=(0,)),
    Option("lora_task_id", "UINT64", only=()),
    Option("lora_weights", "FP16", (-1, -1), only=()),
    Option("lora_config", "INT32", (-1, 3), only=()),
)  # fmt: skip

SESSION = Option("session", "STRING")
"""The key of a session, with each request that is made, stopped or acknowledged on it."""

# Of the generating model alone, for callers that bring token ids.
_TOKEN_OPTIONS = (
    Option("input_ids", "INT32", (-1,)),
    Option("input_lengths", "INT32"),
    Option("stop", "BOOL"),
    Option("end_thinking", "BOOL"),
    Option("request_settings", "STRING"),
    # Of sessions, see `nemotron_serving.generation.session`.
    Option("open_session", "BOOL"),
    SESSION,
    Option("acknowledged", "INT32"),
    Option("encoder_input_features", "FP16", (-1, -1), only=()),
    Option("encoder_output_lengths", "INT32", only=(0,)),
    Option("draft_input_ids", "INT32", (-1,), only=()),
    Option("draft_logits", "FP32", (-1, -1), only=()),
    Option("draft_acceptance_threshold", "FP32", only=()),
    Option("decoder_input_ids", "INT32", (-1,), only=()),
    Option("decoder_input_lengths", "INT32", only=(0,)),
    Option("stop_words_list", "INT32", (2, -1), only=(0, -1)),
    Option("bad_words_list", "INT32", (2, -1), only=(0, -1)),
    Option("embedding_bias", "FP32", (-1,), only=(0.0,)),
    Option("runtime_top_p_min", "FP32", only=()),
    Option("runtime_top_p_decay", "FP32", only=(1.0,)),
    Option("runtime_top_p_reset_ids", "INT32", only=()),
    Option("early_stopping", "BOOL", only=(False,)),
    Option("beam_search_diversity_rate", "FP32", only=(0.0,)),
    Option("prompt_table_extra_ids", "UINT64", (-1,), only=(0,)),
    Option("cross_attention_mask", "BOOL", (-1, -1), only=()),
    Option("mrope_rotary_cos_sin", "FP32", (-1,), only=()),
    Option("mrope_position_deltas", "INT64", only=()),
    Option("context_phase_params", "UINT8", (-1,), only=()),
    Option("skip_cross_attn_blocks", "BOOL", only=(False,)),
    Option("retention_token_range_starts", "INT32", (-1,), only=()),
    Option("retention_token_range_ends", "INT32", (-1,), only=()),
    Option("retention_token_range_priorities", "INT32", (-1,), only=()),
    Option("retention_token_range_durations_ms", "INT32", (-1,), only=()),
    Option("retention_decode_priority", "INT32", only=()),
    Option("retention_decode_duration_ms", "INT32", only=()),
    Option("lookahead_window_size", "INT32", only=()),
    Option("lookahead_ngram_size", "INT32", only=()),
    Option("lookahead_verification_set_size", "INT32", only=()),
)


def _under_both_names(options: tuple[Option, ...]) -> tuple[Option, ...]:
    return (*options, *(replace(option, name=option.alias) for option in options if option.alias))


OPTIONS = (*_TEXT_OPTIONS, *_SHARED_OPTIONS)
"""What the ensemble takes, by today's names."""
ENSEMBLE_INPUTS = _under_both_names(OPTIONS)
TOKEN_INPUTS = _under_both_names(
    (
        *_TOKEN_OPTIONS,
        *(replace(option, name=option.generating_name or option.name) for option in _SHARED_OPTIONS),
    )
)
"""What the generating model takes."""
INPUT_ALIASES = {option.alias: option.name for option in OPTIONS if option.alias}
"""What both levels called some of these before TensorRT-LLM 1.0: the old name → today's."""
TOKEN_INPUT_NAMES = {option.name: option.generating_name for option in OPTIONS if option.generating_name}
"""The generating model's names of inputs that the ensemble calls otherwise."""
RANGES = {option.name: option.range for option in (*ENSEMBLE_INPUTS, *TOKEN_INPUTS) if option.range}
"""Least and greatest value by the name of the option, at either level."""

LIBRARY_OPTIONS = tuple(option for option in OPTIONS if option.to == "library")
"""Numbers that engines hand on to their libraries by name, where they ask for something."""
DEFAULTS = {option.name: option.default for option in (*ENSEMBLE_INPUTS, *TOKEN_INPUTS) if option.default is not None}
"""What holds where nothing is said, by the name of the option, at either level."""

SESSION_INPUTS = (*ENSEMBLE_INPUTS, SESSION)
"""What the ensemble `session` takes."""

PREPROCESSED = (Tensor("input_ids", "INT32", (-1,)), Tensor("request_settings", "STRING"))
"""What preprocessing hands on to the generating model."""
# Ids in place of a text or messages ask for their text alone.
PREPROCESSING_INPUTS = (*ENSEMBLE_INPUTS, Option("input_ids", "INT32", (-1,)))
PREPROCESSING_OUTPUTS = (*PREPROCESSED, Tensor("prompt_text", "STRING"))
# For postprocessing. `stream_event` is a JSON object: what the generating model has to say besides token ids.
STREAM_OUTPUTS = (Tensor("output_ids", "INT32", (-1, -1)), Tensor("stream_event", "STRING"))

# What postprocessing writes.
TEXT_OUTPUTS = (
    Output("text_output", "STRING", (-1,), kind="delta",
           doc="The text as the model wrote it, thinking and tags included."),
    Output("reasoning_content", "STRING", kind="delta", read="always", doc="The thinking, without tags."),
    Output("content", "STRING", kind="delta", read="always", doc="The answer."),
    Output("tool_calls", "STRING", kind="delta", read="always",
           doc="Calls that became complete in this response, a JSON list in OpenAI's shape; else empty."),
    Output("tool_call_error", "STRING", sent="occasional", kind="once", read="tools",
           doc="Only in the response that has the text of a [call that cannot be read](tools.md), and of a function "
           "that was not given: a JSON object with `index`, `reason` and `text`. Other responses do not have this "
           "output. At most one an answer."),
    Output("finish_reason", "STRING", read="always", doc=f"Empty until the last response: {_REASONS}."),
    Output("num_reasoning_tokens", "INT32", kind="total", read="always",
           doc="Output tokens that gave text to `reasoning_content`."),
    Output("thinking_budget_reached", "BOOL", read="always",
           doc="The budget, or a request to answer now, has closed the thinking, and not the model."),
    Output("package", "STRING", sent="first", kind="once", read="always",
           doc="Only in the first response: the name of the package that answers, which tells replicas with different "
           "packages apart."),
    Output("logprobs", "STRING", kind="delta", read="return_log_probs",
           doc="Log probabilities with texts and alternatives, a JSON list in OpenAI's shape, an entry a token; "
           "else empty."),
)  # fmt: skip

# What the generating model writes, and the ensemble returns as it is. NVIDIA's models, too, leave out what nobody
# asked for; what the last ones tell cannot be asked for here.
GENERATION_OUTPUTS = (
    Output("num_input_tokens", "INT32", kind="total", read="always", doc="Tokens of the prompt."),
    Output("num_output_tokens", "INT32", kind="total", read="always", doc="Tokens of all output."),
    Output("num_cached_tokens", "INT32", kind="total", read="always",
           doc="Tokens that came from the engine's prefix cache when it last began; -1 where it does not say."),
    Output("output_log_probs", "FP32", (-1, -1), sent="occasional", kind="delta",
           doc="With `return_log_probs`: of the new tokens, shape [1, 1, n]."),
    Output("cum_log_probs", "FP32", (-1,), sent="occasional", kind="total",
           doc="With `return_log_probs`: the sum so far."),
    Output("context_logits", "FP32", (-1, -1), sent="never"),
    Output("generation_logits", "FP32", (-1, -1, -1), sent="never"),
    Output("batch_index", "INT32", sent="never"),
    Output("sequence_index", "INT32", sent="never"),
    Output("kv_cache_alloc_new_blocks", "INT32", sent="never"),
    Output("kv_cache_reused_blocks", "INT32", sent="never"),
    Output("kv_cache_alloc_total_blocks", "INT32", sent="never"),
    Output("arrival_time_ns", "INT64", sent="never"),
    Output("first_scheduled_time_ns", "INT64", sent="never"),
    Output("first_token_time_ns", "INT64", sent="never"),
    Output("last_token_time_ns", "INT64", sent="never"),
    Output("acceptance_rate", "FP32", sent="never"),
    Output("total_accepted_draft_tokens", "INT32", sent="never"),
    Output("total_draft_tokens", "INT32", sent="never"),
)  # fmt: skip

ENSEMBLE_OUTPUTS = (*TEXT_OUTPUTS, *GENERATION_OUTPUTS)
TOKEN_OUTPUTS = (
    *STREAM_OUTPUTS,
    Tensor("sequence_length", "INT32", (-1,)),
    Tensor("finish_reason", "STRING"),
    Tensor("frame", "STRING"),
    Tensor("thinking_ends", "BOOL"),
    *GENERATION_OUTPUTS,
    Tensor("context_phase_params", "UINT8", (-1,)),
)
ACCEPTED_OUTPUTS = tuple(output for output in GENERATION_OUTPUTS if output.name == "num_input_tokens")
"""What the ensemble `session` answers to a request that is accepted; all else comes in the session's frames."""
OCCASIONAL_OUTPUTS = frozenset(output.name for output in ENSEMBLE_OUTPUTS if output.sent != "always")
"""Outputs that only those responses have that say something with them."""
