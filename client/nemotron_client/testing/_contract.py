"""The tensors of the server, as far as the fake one has them. A test holds them against the server's own list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nemotron_client._request import ENSEMBLE, GENERATING_MODEL


@dataclass(frozen=True)
class Tensor:
    """One input or output.

    Attributes:
        dtype: Triton's name.
        dims: Without the batch dimension; -1 is any length.
    """

    dtype: str
    dims: tuple[int, ...] = (1,)

    @property
    def is_list(self) -> bool:
        """Whether it holds any number of values."""
        return self.dims != (1,)


_BOOL, _BYTES, _FP32, _INT32 = Tensor("BOOL"), Tensor("BYTES"), Tensor("FP32"), Tensor("INT32")
_INT64, _UINT64 = Tensor("INT64"), Tensor("UINT64")

INPUTS: dict[str, Tensor] = {
    "bad_words": Tensor("BYTES", (-1,)),
    "beam_width": _INT32,
    "decoder_text_input": _BYTES,
    "embedding_bias_weights": Tensor("FP32", (-1,)),
    "embedding_bias_words": Tensor("BYTES", (-1,)),
    "end_id": _INT32,
    "exclude_input_in_output": _BOOL,
    "frequency_penalty": _FP32,
    "guided_decoding_guide": _BYTES,
    "guided_decoding_guide_type": _BYTES,
    "length_penalty": _FP32,
    "logit_bias": _BYTES,
    "lora_config": Tensor("INT32", (-1, 3)),
    "lora_task_id": _UINT64,
    "lora_weights": Tensor("FP16", (-1, -1)),
    "max_thinking_tokens": _INT32,
    "max_tokens": _INT32,
    "messages": _BYTES,
    "min_length": _INT32,
    "min_tokens": _INT32,
    "num_return_sequences": _INT32,
    "pad_id": _INT32,
    "presence_penalty": _FP32,
    "priority": _INT32,
    "prompt_embedding_table": Tensor("FP16", (-1, -1)),
    "prompt_table_extra_id": _UINT64,
    "prompt_vocab_size": _INT32,
    "random_seed": _UINT64,
    "raw_prompt": _BOOL,
    "repetition_guard": _BOOL,
    "repetition_penalty": _FP32,
    "response_format": _BYTES,
    "return_context_logits": _BOOL,
    "return_generation_logits": _BOOL,
    "return_kv_cache_reuse_stats": _BOOL,
    "return_log_probs": _BOOL,
    "return_num_input_tokens": _BOOL,
    "return_num_output_tokens": _BOOL,
    "return_perf_metrics": _BOOL,
    "seed": _UINT64,
    "stop_words": Tensor("BYTES", (-1,)),
    "stream": _BOOL,
    "temperature": _FP32,
    "text_input": _BYTES,
    "thinking": _BOOL,
    "timeout_ms": _INT32,
    "tool_choice": _BYTES,
    "tools": _BYTES,
    "top_k": _INT32,
    "top_logprobs": _INT32,
    "top_p": _FP32,
}
"""Of the ensemble."""

OUTPUTS: dict[str, Tensor] = {
    "acceptance_rate": _FP32,
    "arrival_time_ns": _INT64,
    "batch_index": _INT32,
    "content": _BYTES,
    "context_logits": Tensor("FP32", (-1, -1)),
    "cum_log_probs": Tensor("FP32", (-1,)),
    "finish_reason": _BYTES,
    "first_scheduled_time_ns": _INT64,
    "first_token_time_ns": _INT64,
    "generation_logits": Tensor("FP32", (-1, -1, -1)),
    "kv_cache_alloc_new_blocks": _INT32,
    "kv_cache_alloc_total_blocks": _INT32,
    "kv_cache_reused_blocks": _INT32,
    "last_token_time_ns": _INT64,
    "logprobs": _BYTES,
    "num_cached_tokens": _INT32,
    "num_input_tokens": _INT32,
    "num_output_tokens": _INT32,
    "num_reasoning_tokens": _INT32,
    "output_log_probs": Tensor("FP32", (-1, -1)),
    "reasoning_content": _BYTES,
    "sequence_index": _INT32,
    "text_output": Tensor("BYTES", (-1,)),
    "thinking_budget_reached": _BOOL,
    "tool_call_error": _BYTES,
    "tool_calls": _BYTES,
    "total_accepted_draft_tokens": _INT32,
    "total_draft_tokens": _INT32,
}
"""Of the ensemble."""

_TEXTS = ("content", "finish_reason", "logprobs", "reasoning_content", "text_output", "tool_calls")
_COUNTS = ("num_cached_tokens", "num_input_tokens", "num_output_tokens", "num_reasoning_tokens")
NOTHING_NEW: dict[str, Any] = {
    **dict.fromkeys(_TEXTS, ""),
    **dict.fromkeys(_COUNTS, 0),
    "thinking_budget_reached": False,
}
"""A response that says nothing: what is in every response. The other outputs are there only if they were asked for."""

STOP_INPUTS: dict[str, Tensor] = {"stop": _BOOL}
"""Of the generating model, which has no tokens here and only takes stop requests."""

STOP_OUTPUTS: dict[str, Tensor] = {
    "finish_reason": _BYTES,
    "sequence_length": Tensor("INT32", (-1,)),
    "stream_event": _BYTES,
}

MODELS = {ENSEMBLE: (INPUTS, OUTPUTS), GENERATING_MODEL: (STOP_INPUTS, STOP_OUTPUTS)}
"""Inputs and outputs of every model."""
