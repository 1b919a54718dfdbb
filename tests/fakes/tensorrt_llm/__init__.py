"""TensorRT-LLM without a model: its Python LLM API as recorded in tests/contract/llm_api.json, in its awkward ways.

Tokens are pseudo-random, from prompt and seed, with in-flight batching. What is imitated on purpose:

- one result object for all responses, which changes before the reader looks at it; several responses wait at once;
- the token list is cumulative; a stop token is streamed first and then cut from it (`stop_token_ids`), or stays in it
  (`end_id`, engine flow), or never shows (`end_id`, PyTorch flow);
- an abort takes effect a few tokens later, with a last response 'cancelled';
- an exception comes out of one request's iteration; iterating again, there or in any other request, waits for ever;
- on the PyTorch flow `min_tokens` counts the prompt, and log probabilities are those of the most probable tokens alone,
  whether the chosen one is among them or not; on the engine flow nothing says what came from the prefix cache;
- get_stats blocks and drains; after a shutdown it is an AttributeError;
- submitting needs a running loop, always the same, plain ints, parameters that were not used before, and changes them.

`LLM.made` holds what was constructed, and its methods that begin with `fake_` make it misbehave.
"""

from __future__ import annotations

from . import llmapi
from .llm import LLM
from .parameters import SamplingParams

__all__ = ["LLM", "SamplingParams", "llmapi"]
__version__ = "1.2.1"
