"""How accurate a quantized checkpoint is: its predictions beside its source's, and whether that is enough."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from nemotron_build.errors import BuildError, VerificationError
from nemotron_build.machine import gpu_memory_too_small
from nemotron_build.profiles import Accuracy

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from nemotron_build.checkpoint.check import Checkpoint
    from nemotron_build.steps import Report
    from nemotron_build.verify.expected import Converted

MAX_TOKENS = 2048
"""Of each text, the tokens used."""

_BATCH_TOKENS = 4096
# Logits worked on at a time: 64 MB in float32, a few times.
_BLOCK_VALUES = 1 << 24


@dataclass(frozen=True)
class AccuracyFigures:
    """A quantized checkpoint against its source, over the same positions of the same texts.

    Attributes:
        top1_agreement: Share of positions at which both find the same token most likely.
        mean_kl: Mean over positions of KL(source || quantized), in nats: sum of p * (ln p - ln q) over the vocabulary.
        perplexity_ratio: exp of how much more the quantized one's mean negative log-likelihood of the text is.
        source_perplexity: exp of the source's mean negative log-likelihood of the text.
        positions: Tokens that were predicted.
        texts: Texts that they are of.
    """

    top1_agreement: float
    mean_kl: float
    perplexity_ratio: float
    source_perplexity: float
    positions: int
    texts: int

    def as_dict(self) -> dict[str, float | int]:
        """The figures for the manifest."""
        return asdict(self)


def check_accuracy(figures: AccuracyFigures, required: Accuracy) -> None:
    """Compare the figures with the thresholds of a profile.

    Raises:
        VerificationError: one of them is not reached; all are named.
    """
    enough = (
        figures.top1_agreement >= required.min_top1_agreement
        and figures.mean_kl <= required.max_mean_kl
        and figures.perplexity_ratio <= required.max_perplexity_ratio
    )
    # Written so that NaN fails.
    if not enough or not math.isfinite(figures.perplexity_ratio):
        raise VerificationError(
            "The quantized checkpoint is not accurate enough: "
            f"top-1 agreement {figures.top1_agreement:.4f} (at least {required.min_top1_agreement:g}), "
            f"mean KL {figures.mean_kl:.4f} nats (at most {required.max_mean_kl:g}), "
            f"perplexity ratio {figures.perplexity_ratio:.4f} (at most {required.max_perplexity_ratio:g}), "
            f"over {figures.positions} tokens. Calibrate with more texts like those it will serve, keep the KV cache "
            "in BF16, or set other thresholds under [accuracy] in the profile."
        )


def measure(converted: Converted, source: Checkpoint, texts: Sequence[str], report: Report) -> AccuracyFigures:
    """Compare both on the same texts, on CUDA where it is present.

    One of the two is in memory at a time: what the first leaves is its last hidden states. From them and the two
    output layers the logits are computed again, a block of positions at a time.

    Raises:
        BuildError: there is no text of two tokens or more.
        UnsupportedError: the GPU's memory does not hold one of them.
    """
    import torch

    from nemotron_build.verify.emulation import converted_model, source_model

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
    import torch

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
    import torch

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
    import torch

    return torch.log_softmax(torch.nn.functional.linear(hidden, output).float(), dim=-1)
