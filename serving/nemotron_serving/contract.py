"""The tensors of every model in the repository: the one home of their names, types and shapes.

The ensemble is a superset of the one in NVIDIA's TensorRT-LLM repository (1.0 to 1.2.1), so that a client written
for that works unchanged. What this stack cannot do is in the contract too, and is refused by name when it is used.
`model_repository/*/config.pbtxt` are rendered from here: `python -m nemotron_serving.render`.

Shapes leave out the batch dimension, which is always 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from nemotron_serving.errors import InvalidRequestError, shortened


@dataclass(frozen=True)
class Tensor:
    """One input or output.

    Attributes:
        dtype: Triton's name without TYPE_.
        dims: -1 is any length. `(1,)` is a scalar and reads as one value, `(-1,)` as a list.
        only: For an input that is not supported: the values that ask nothing of it and are accepted.
            None: the input is supported.
    """

    name: str
    dtype: str
    dims: tuple[int, ...] = (1,)
    only: tuple[Any, ...] | None = None


# What the caller of the ensemble may send, after NVIDIA's own inputs: all optional.
_ADDED_INPUTS = (
    Tensor("messages", "STRING"),
    Tensor("thinking", "BOOL"),
    Tensor("max_thinking_tokens", "INT32"),
    Tensor("raw_prompt", "BOOL"),
    Tensor("tools", "STRING"),
    Tensor("tool_choice", "STRING"),
    Tensor("response_format", "STRING"),
    Tensor("repetition_guard", "BOOL"),
)

# The same, for inputs that both levels have under one name.
_ADDED_SHARED_INPUTS = (
    Tensor("timeout_ms", "INT32"),
    Tensor("priority", "INT32"),
    Tensor("logit_bias", "STRING"),
    Tensor("top_logprobs", "INT32"),
)

# NVIDIA's sampling and control inputs that both levels have under one name.
_SHARED_INPUTS = (
    Tensor("end_id", "INT32"),
    Tensor("temperature", "FP32"),
    Tensor("repetition_penalty", "FP32"),
    Tensor("min_tokens", "INT32"),
    Tensor("presence_penalty", "FP32"),
    Tensor("frequency_penalty", "FP32"),
    Tensor("seed", "UINT64"),
    # Nothing is padded here and both counts are always returned: any value of these changes nothing.
    Tensor("pad_id", "INT32"),
    Tensor("return_num_input_tokens", "BOOL"),
    Tensor("return_num_output_tokens", "BOOL"),
    Tensor("num_return_sequences", "INT32", only=(0, 1)),
    Tensor("beam_width", "INT32", only=(0, 1)),
    Tensor("exclude_input_in_output", "BOOL"),
    Tensor("return_log_probs", "BOOL"),
    Tensor("return_context_logits", "BOOL", only=(False,)),
    Tensor("return_generation_logits", "BOOL", only=(False,)),
    Tensor("return_perf_metrics", "BOOL", only=(False,)),
    Tensor("prompt_embedding_table", "FP16", (-1, -1), only=()),
    Tensor("prompt_vocab_size", "INT32", only=(0,)),
    Tensor("lora_task_id", "UINT64", only=()),
    Tensor("lora_weights", "FP16", (-1, -1), only=()),
    Tensor("lora_config", "INT32", (-1, 3), only=()),
    Tensor("guided_decoding_guide_type", "STRING"),
    Tensor("guided_decoding_guide", "STRING"),
)

INPUT_ALIASES = {
    "random_seed": "seed",
    "min_length": "min_tokens",
    "return_kv_cache_reuse_stats": "return_perf_metrics",
}
"""What both levels called some of these before TensorRT-LLM 1.0: the old name → today's."""

_ALIAS_INPUTS = tuple(
    replace(tensor, name=old) for tensor in _SHARED_INPUTS for old, name in INPUT_ALIASES.items() if tensor.name == name
)

ENSEMBLE_INPUTS = (
    Tensor("text_input", "STRING"),
    Tensor("max_tokens", "INT32"),
    Tensor("stream", "BOOL"),
    Tensor("stop_words", "STRING", (-1,)),
    Tensor("top_k", "INT32"),
    Tensor("top_p", "FP32"),
    *_SHARED_INPUTS,
    *_ALIAS_INPUTS,
    Tensor("decoder_text_input", "STRING", only=("",)),
    Tensor("bad_words", "STRING", (-1,)),
    Tensor("length_penalty", "FP32", only=(0.0, 1.0)),
    Tensor("prompt_table_extra_id", "UINT64", only=(0,)),
    Tensor("embedding_bias_words", "STRING", (-1,), only=("",)),
    Tensor("embedding_bias_weights", "FP32", (-1,), only=(0.0,)),
    *_ADDED_INPUTS,
    *_ADDED_SHARED_INPUTS,
)

# The generating model, for callers that bring token ids.
TOKEN_INPUTS = (
    Tensor("input_ids", "INT32", (-1,)),
    Tensor("input_lengths", "INT32"),
    Tensor("request_output_len", "INT32"),
    Tensor("streaming", "BOOL"),
    Tensor("stop", "BOOL"),
    Tensor("runtime_top_k", "INT32"),
    Tensor("runtime_top_p", "FP32"),
    *_SHARED_INPUTS,
    *_ALIAS_INPUTS,
    *_ADDED_SHARED_INPUTS,
    Tensor("request_settings", "STRING"),
    Tensor("encoder_input_features", "FP16", (-1, -1), only=()),
    Tensor("encoder_output_lengths", "INT32", only=(0,)),
    Tensor("draft_input_ids", "INT32", (-1,), only=()),
    Tensor("draft_logits", "FP32", (-1, -1), only=()),
    Tensor("draft_acceptance_threshold", "FP32", only=()),
    Tensor("decoder_input_ids", "INT32", (-1,), only=()),
    Tensor("decoder_input_lengths", "INT32", only=(0,)),
    Tensor("stop_words_list", "INT32", (2, -1), only=(0, -1)),
    Tensor("bad_words_list", "INT32", (2, -1), only=(0, -1)),
    Tensor("embedding_bias", "FP32", (-1,), only=(0.0,)),
    Tensor("runtime_top_p_min", "FP32", only=()),
    Tensor("runtime_top_p_decay", "FP32", only=(1.0,)),
    Tensor("runtime_top_p_reset_ids", "INT32", only=()),
    Tensor("len_penalty", "FP32", only=(0.0, 1.0)),
    Tensor("early_stopping", "BOOL", only=(False,)),
    Tensor("beam_search_diversity_rate", "FP32", only=(0.0,)),
    Tensor("prompt_table_extra_ids", "UINT64", (-1,), only=(0,)),
    Tensor("cross_attention_mask", "BOOL", (-1, -1), only=()),
    Tensor("mrope_rotary_cos_sin", "FP32", (-1,), only=()),
    Tensor("mrope_position_deltas", "INT64", only=()),
    Tensor("context_phase_params", "UINT8", (-1,), only=()),
    Tensor("skip_cross_attn_blocks", "BOOL", only=(False,)),
    Tensor("retention_token_range_starts", "INT32", (-1,), only=()),
    Tensor("retention_token_range_ends", "INT32", (-1,), only=()),
    Tensor("retention_token_range_priorities", "INT32", (-1,), only=()),
    Tensor("retention_token_range_durations_ms", "INT32", (-1,), only=()),
    Tensor("retention_decode_priority", "INT32", only=()),
    Tensor("retention_decode_duration_ms", "INT32", only=()),
    Tensor("lookahead_window_size", "INT32", only=()),
    Tensor("lookahead_ngram_size", "INT32", only=()),
    Tensor("lookahead_verification_set_size", "INT32", only=()),
)
TOKEN_INPUT_NAMES = {"max_tokens": "request_output_len", "top_k": "runtime_top_k", "top_p": "runtime_top_p"}
"""The generating model's names of inputs that the ensemble calls otherwise."""

PREPROCESSING_OUTPUTS = (Tensor("input_ids", "INT32", (-1,)), Tensor("request_settings", "STRING"))

# Outputs of the generating model that the ensemble returns as they are.
_COUNTS = (
    Tensor("num_input_tokens", "INT32"),
    Tensor("num_output_tokens", "INT32"),
    Tensor("num_cached_tokens", "INT32"),
)
_LOG_PROBABILITIES = (
    Tensor("cum_log_probs", "FP32", (-1,)),
    Tensor("output_log_probs", "FP32", (-1, -1)),
)
_NEVER_SENT = (  # what they tell cannot be asked for here
    Tensor("context_logits", "FP32", (-1, -1)),
    Tensor("generation_logits", "FP32", (-1, -1, -1)),
    Tensor("batch_index", "INT32"),
    Tensor("sequence_index", "INT32"),
    Tensor("kv_cache_alloc_new_blocks", "INT32"),
    Tensor("kv_cache_reused_blocks", "INT32"),
    Tensor("kv_cache_alloc_total_blocks", "INT32"),
    Tensor("arrival_time_ns", "INT64"),
    Tensor("first_scheduled_time_ns", "INT64"),
    Tensor("first_token_time_ns", "INT64"),
    Tensor("last_token_time_ns", "INT64"),
    Tensor("acceptance_rate", "FP32"),
    Tensor("total_accepted_draft_tokens", "INT32"),
    Tensor("total_draft_tokens", "INT32"),
)
GENERATION_OUTPUTS = (*_COUNTS, *_LOG_PROBABILITIES, *_NEVER_SENT)
# For postprocessing. `stream_event` is a JSON object: what the generating model has to say besides token ids.
STREAM_OUTPUTS = (Tensor("output_ids", "INT32", (-1, -1)), Tensor("stream_event", "STRING"))
TOKEN_OUTPUTS = (
    *STREAM_OUTPUTS,
    Tensor("sequence_length", "INT32", (-1,)),
    Tensor("finish_reason", "STRING"),
    *GENERATION_OUTPUTS,
    Tensor("context_phase_params", "UINT8", (-1,)),
)

TEXT_OUTPUTS = (
    Tensor("text_output", "STRING", (-1,)),
    Tensor("reasoning_content", "STRING"),
    Tensor("content", "STRING"),
    Tensor("tool_calls", "STRING"),
    Tensor("finish_reason", "STRING"),
    Tensor("num_reasoning_tokens", "INT32"),
    Tensor("thinking_budget_reached", "BOOL"),
    Tensor("logprobs", "STRING"),
    Tensor("tool_call_error", "STRING"),
)
OCCASIONAL_OUTPUTS = frozenset(("tool_call_error", *(tensor.name for tensor in (*_LOG_PROBABILITIES, *_NEVER_SENT))))
"""Outputs that only those responses have that say something with them: each output has its price in every response.

NVIDIA's models, too, leave out what nobody asked for.
"""
ENSEMBLE_OUTPUTS = (*TEXT_OUTPUTS, *GENERATION_OUTPUTS)

NUMPY_TYPES: dict[str, Any] = {
    "BOOL": np.bool_,
    "FP16": np.float16,
    "FP32": np.float32,
    "INT32": np.int32,
    "INT64": np.int64,
    "STRING": np.object_,
    "UINT8": np.uint8,
    "UINT64": np.uint64,
}


def read_inputs(arrays: Mapping[str, npt.NDArray[Any]], contract: tuple[Tensor, ...]) -> dict[str, Any]:
    """Python values of the inputs that were sent, by the names of today: scalars and lists; strings from UTF-8.

    Args:
        arrays: What the request holds, by input name; a scalar has shape [1, 1], a list [1, n].
        contract: The inputs of the model.

    Raises:
        InvalidRequestError: an input that asks what is not supported, a scalar of another size, invalid UTF-8, an
            input under two names.
    """
    fields: dict[str, Any] = {}
    for tensor in contract:
        if tensor.name not in arrays:
            continue
        array = arrays[tensor.name]
        name = INPUT_ALIASES.get(tensor.name, tensor.name)
        if name != tensor.name and name in arrays:
            raise InvalidRequestError(tensor.name, f"{name} was given as well, which is its name of today; send one")
        if tensor.name == "input_ids":
            fields[tensor.name] = array.reshape(-1)
            continue
        if tensor.dims == (1,) and array.size != 1:
            raise InvalidRequestError(tensor.name, f"{array.size} values were given, expected one")
        if tensor.only is None:
            values = [_text(tensor.name, value) if tensor.dtype == "STRING" else value.item() for value in array.flat]
            fields[name] = values[0] if tensor.dims == (1,) else values
        elif (refused := _refused(tensor, array)).size:
            accepted = f" or send {tensor.only[-1]!r}" if tensor.only else ""
            raise InvalidRequestError(
                tensor.name,
                f"{shortened(refused.item(0))} was given, which this server does not support; leave it out{accepted}",
            )
    return fields


def _refused(tensor: Tensor, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The values that are not accepted. A caller may send millions: they are compared as an array."""
    values = array.reshape(-1)
    if tensor.dtype == "STRING":
        values = np.array([_text(tensor.name, value) for value in values], np.object_)
    for accepted in tensor.only or ():
        values = values[values != accepted]
    return values


def _text(name: str, value: bytes | str) -> str:
    try:
        return value if isinstance(value, str) else value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(name, f"not valid UTF-8 (byte {error.start})") from error
