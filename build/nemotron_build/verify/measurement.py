"""Measuring how far a converted checkpoint's predictions are from its source's.

Imports torch and transformers, so it is imported where it is used.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from nemotron_build.errors import BuildError
from nemotron_build.machine import gpu_memory_too_small
from nemotron_build.verify.accuracy import AccuracyFigures
from nemotron_build.verify.emulation import converted_model, source_model
from nemotron_build.verify.expected import Converted

if TYPE_CHECKING:
    from nemotron_build.checkpoint.check import Checkpoint
    from nemotron_build.steps import Report

MAX_TOKENS = 2048
"""Of each text, the tokens used."""

_BATCH_TOKENS = 4096
# Logits worked on at a time: 64 MB in float32, a few times.
_BLOCK_VALUES = 1 << 24


def measure(converted: Converted, source: Checkpoint, texts: Sequence[str], report: Report) -> AccuracyFigures:
    """Compare both on the same texts, on CUDA where it is present.

    One of the two is in memory at a time: what the first leaves is its last hidden states. From them and the two
    output layers the logits are computed again, a block of positions at a time.

    Raises:
        BuildError: there is no text of two tokens or more.
        UnsupportedError: the GPU's memory does not hold one of them.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokens = _tokens(source, texts)
    try:
        with torch.inference_mode():
            wanted = _run(source_model(source, device, report), tokens, device, "running the source", report)
            model = converted_model(converted, device, report)
            found = _run(model, tokens, device, "running the converted checkpoint", report)
            return _compare(wanted, found, tokens, device, report)
    except torch.OutOfMemoryError as error:
        raise gpu_memory_too_small("the accuracy is measured") from error


@dataclass
class _Predictions:
    """What is left of a model that ran: the last hidden states of all predicting positions, and the output layer."""

    output: Tensor
    hidden: list[Tensor] = field(default_factory=list)


@dataclass
class _Sums:
    agreed: int = 0
    kl: float = 0.0
    source_loss: float = 0.0
    found_loss: float = 0.0


def _tokens(source: Checkpoint, texts: Sequence[str]) -> list[list[int]]:
    """Token ids, short texts first so that a batch has texts of much the same length."""
    tokenizer = Tokenizer.from_file(str(source.tokenizer.path))
    # The texts are whole prompts: what begins them is in them.
    encoded = [tokenizer.encode(text, add_special_tokens=False).ids[:MAX_TOKENS] for text in texts]
    tokens = sorted((ids for ids in encoded if len(ids) > 1), key=len)
    if not tokens:
        raise BuildError("The held-out texts have no two tokens to measure the accuracy with. Name other texts.")
    return tokens


def _run(model: Any, tokens: list[list[int]], device: torch.device, what: str, report: Report) -> _Predictions:
    predictions = _Predictions(model.lm_head.weight.detach())
    for done, batch in enumerate(batches := list(_batches(tokens))):
        report(what, done, len(batches))
        width = max(map(len, batch))
        # What is padded comes after the text, where no position of the text sees it.
        ids = torch.tensor([ids + [0] * (width - len(ids)) for ids in batch], device=device)
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
        predictions.hidden += [row[: len(ids) - 1].cpu() for row, ids in zip(hidden, batch, strict=True)]
    report(what, len(batches), len(batches))
    return predictions


def _batches(tokens: list[list[int]]) -> Iterator[list[list[int]]]:
    batch: list[list[int]] = []
    for ids in tokens:
        if batch and (len(batch) + 1) * len(ids) > _BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(ids)
    yield batch


def _compare(
    wanted: _Predictions, found: _Predictions, tokens: list[list[int]], device: torch.device, report: Report
) -> AccuracyFigures:
    sums = _Sums()
    block = max(1, _BLOCK_VALUES // len(wanted.output))
    targets = torch.tensor([token for ids in tokens for token in ids[1:]])
    hidden = torch.cat(wanted.hidden), torch.cat(found.hidden)
    for start in range(0, len(targets), block):
        report("comparing predictions", start, len(targets))
        part = slice(start, start + block)
        source = _log_probabilities(hidden[0][part].to(device), wanted.output)
        other = _log_probabilities(hidden[1][part].to(device), found.output)
        target = targets[part].to(device)[:, None]
        sums.agreed += int((source.argmax(-1) == other.argmax(-1)).sum())
        sums.kl += float((source.exp() * (source - other)).sum(dtype=torch.float64))
        sums.source_loss -= float(source.gather(1, target).sum(dtype=torch.float64))
        sums.found_loss -= float(other.gather(1, target).sum(dtype=torch.float64))
    positions = len(targets)
    report("comparing predictions", positions, positions)
    return AccuracyFigures(
        top1_agreement=sums.agreed / positions,
        mean_kl=sums.kl / positions,
        perplexity_ratio=math.exp((sums.found_loss - sums.source_loss) / positions),
        source_perplexity=math.exp(sums.source_loss / positions),
        positions=positions,
        texts=len(tokens),
    )


def _log_probabilities(hidden: Tensor, output: Tensor) -> Tensor:
    return torch.log_softmax(torch.nn.functional.linear(hidden, output).float(), dim=-1)
