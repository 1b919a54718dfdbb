"""What is read from an entry of TensorRT-LLM's iteration statistics. Each key may be missing."""

from __future__ import annotations

from typing import Any


def scheduled(entry: dict[str, Any]) -> int:
    """Requests in the batch."""
    return int(entry.get("numActiveRequests", 0))


def kv_cache_used(entry: dict[str, Any]) -> float:
    """Share of the KV cache in use, 0 to 1."""
    cache = entry.get("kvCacheStats", {})
    blocks = cache.get("maxNumBlocks", 0)
    return cache.get("usedNumBlocks", 0) / blocks if blocks else 0.0


def kv_cache_tokens(entry: dict[str, Any], tokens_per_block: int) -> int:
    """Tokens that the KV cache holds; 0 if the entry does not say."""
    return int(entry.get("kvCacheStats", {}).get("maxNumBlocks", 0)) * tokens_per_block
