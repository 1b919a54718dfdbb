"""What the releases of ModelOpt name differently."""

from __future__ import annotations

from typing import Any


def fp8_with_kv_cache(mtq: Any) -> Any:
    """ModelOpt's own configuration for FP8 weights and KV cache; 0.37 has no function that joins the two."""
    weights, cache = mtq.FP8_DEFAULT_CFG, mtq.FP8_KV_CFG["quant_cfg"]
    if hasattr(mtq, "update_quant_cfg_with_kv_cache_quant"):
        return mtq.update_quant_cfg_with_kv_cache_quant(weights, cache)
    return {**weights, "quant_cfg": {**weights["quant_cfg"], **cache}}
