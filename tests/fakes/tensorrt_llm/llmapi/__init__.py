"""What the real package exports here, as far as it is used."""

from __future__ import annotations

from ..parameters import CudaGraphConfig, GuidedDecodingParams, KvCacheConfig
from ..result import CompletionOutput, RequestError, RequestOutput

__all__ = [
    "CompletionOutput",
    "CudaGraphConfig",
    "GuidedDecodingParams",
    "KvCacheConfig",
    "RequestError",
    "RequestOutput",
]
