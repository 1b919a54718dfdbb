"""What the real package exports here, as far as it is used."""

from __future__ import annotations

from ..parameters import GuidedDecodingParams, KvCacheConfig
from ..result import CompletionOutput, RequestError, RequestOutput

__all__ = ["CompletionOutput", "GuidedDecodingParams", "KvCacheConfig", "RequestError", "RequestOutput"]
