"""What packages have in common in their manifest and serving.json, and what belongs to Nemotron Nano.

The rules of Llama-3.1-Nemotron-Nano-8B-v1 are those of its model card: the system line that switches thinking, an empty
think block in front of an answer without thinking, temperature 0.6 and top_p 0.95 with thinking, greedy without.
"""

from __future__ import annotations

from nemotron_serving import __version__
from nemotron_serving.package import (
    SCHEMA_VERSION,
    BuildRecord,
    EngineSpec,
    Limits,
    Manifest,
    SamplingDefaults,
    ThinkingPolicy,
)

DEFAULT_MAX_TOKENS = 256
_DEFAULT_TIMEOUT_MS = 600_000
# A token of text is rarely longer than 16 bytes, so this admits every prompt that fits and bounds the tokenizing.
_PROMPT_BYTES_PER_TOKEN = 16

NEMOTRON_PREFILL_OFF = "<think>\n</think>"
NEMOTRON_SAMPLING_ON = SamplingDefaults(temperature=0.6, top_p=0.95)
NEMOTRON_SAMPLING_OFF = SamplingDefaults()
# All that end an output; a checkpoint's own generation_config may name fewer. TensorRT-LLM's end id is the first.
NEMOTRON_STOP_TOKENS = ("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>")
NO_THINK = "/no_think"
# Of max_tokens, kept for the answer when a budget ends the thinking.
MIN_ANSWER_TOKENS = 512


def new_manifest(name: str, engine: EngineSpec, source: dict[str, str], build: BuildRecord | None = None) -> Manifest:
    """The manifest of a package that this version makes; `write_package` adds its files.

    Args:
        name: What people call the package.
        engine: What serves it.
        source: Where the model came from.
        build: How it was made.
    """
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name=name,
        created_by=f"nemotron-triton {__version__}",
        source=source,
        engine=engine,
        files={},
        build=build,
    )


def new_limits(*, max_seq_len: int, max_batch_size: int, max_waiting: int) -> Limits:
    """Limits of a package, with those that follow from its sizes and those that all have."""
    return Limits(
        max_seq_len=max_seq_len,
        max_prompt_bytes=_PROMPT_BYTES_PER_TOKEN * max_seq_len,
        max_batch_size=max_batch_size,
        max_waiting=max_waiting,
        default_timeout_ms=_DEFAULT_TIMEOUT_MS,
    )


def nemotron_thinking(*, min_answer_tokens: int) -> ThinkingPolicy:
    """How Nemotron Nano is made to think: it opens the think block itself and ends it when it likes."""
    return ThinkingPolicy(
        default=False,
        prefill_on="",
        prefill_off=NEMOTRON_PREFILL_OFF,
        max_thinking_tokens=None,
        min_answer_tokens=min_answer_tokens,
        system_on="detailed thinking on",
        system_off="detailed thinking off",
    )


def slash_thinking(*, min_answer_tokens: int) -> ThinkingPolicy:
    """For the later Nemotrons made from Llama 3: their own template reads a word in the system text.

    It takes the word out, and closes the think block itself.
    """
    return ThinkingPolicy(
        default=False,
        prefill_on="",
        prefill_off="",
        max_thinking_tokens=None,
        min_answer_tokens=min_answer_tokens,
        system_on="/think",
        system_off=NO_THINK,
        system_text="system",
    )


def plain_thinking(*, min_answer_tokens: int) -> ThinkingPolicy:
    """For a model that is not switched by its system prompt: an open think block starts the thinking."""
    return ThinkingPolicy(
        default=False,
        prefill_on="<think>\n",
        prefill_off="",
        max_thinking_tokens=None,
        min_answer_tokens=min_answer_tokens,
    )
