"""What the demo package and the simulated one have in common in serving.json."""

from __future__ import annotations

DEFAULT_MAX_TOKENS = 256
DEFAULT_TIMEOUT_MS = 600_000
# A token of text is rarely longer than 16 bytes, so this admits every prompt that fits and bounds the tokenizing.
PROMPT_BYTES_PER_TOKEN = 16
THINKING_PREFILL = "<think>\n"
CHAT_FORMAT = "chatml"
