"""Logits of a checkpoint from transformers, and of a converted model from OpenVINO, over a prompt that runs on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

TOKENS = 200
"""The tiny checkpoint's original context is 64 tokens: most positions lie beyond it."""


def prompts() -> Array:
    """Random ids, (2, TOKENS)."""
    return np.random.default_rng(1).integers(0, 400, (2, TOKENS))


def transformers_logits(checkpoint: Path, weights: dict[str, Array] | None = None) -> Array:
    """Logits of `prompts` in FP32, of the checkpoint's weights or of others in their place."""
    import torch
    import transformers

    config = transformers.LlamaConfig.from_pretrained(checkpoint)
    model = transformers.LlamaForCausalLM.from_pretrained(checkpoint, dtype=torch.float32, config=config)
    if weights is not None:
        model.load_state_dict({name: torch.tensor(values) for name, values in weights.items()})
    with torch.no_grad():
        logits: Array = model(torch.tensor(prompts())).logits.numpy()
    return logits


def openvino_logits(directory: Path) -> Array:
    """Logits of `prompts` in FP32 arithmetic, fed in three parts so that the KV cache takes part."""
    import openvino

    # In FP32 arithmetic OpenVINO would round activations to 8 bits in front of compressed weights.
    exact = {
        "INFERENCE_PRECISION_HINT": "f32",
        "KV_CACHE_PRECISION": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
    }
    compiled = openvino.Core().compile_model(directory / "openvino_model.xml", "CPU", exact)
    request = compiled.create_infer_request()
    parts, ids = [], prompts()
    for begin, end in ((0, 120), (120, TOKENS - 1), (TOKENS - 1, TOKENS)):
        feed = {
            "input_ids": ids[:, begin:end],
            "attention_mask": np.ones((len(ids), end), np.int64),
            "position_ids": np.tile(np.arange(begin, end), (len(ids), 1)),
            "beam_idx": np.arange(len(ids), dtype=np.int32),
        }
        parts.append(request.infer(feed)["logits"].copy())
    return np.concatenate(parts, axis=1)


def mean_kl(expected: Array, found: Array) -> float:
    """Mean of KL(expected || found) over all positions, in nats."""
    log_p, log_q = (_log_softmax(logits.astype(np.float64)) for logits in (expected, found))
    return float((np.exp(log_p) * (log_p - log_q)).sum(-1).mean())


def _log_softmax(logits: Array) -> Array:
    shifted: Array = logits - logits.max(-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(-1, keepdims=True))
    return shifted
