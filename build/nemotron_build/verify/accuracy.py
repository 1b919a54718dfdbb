"""How accurate a quantized checkpoint is, and whether that is enough."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from nemotron_build.errors import VerificationError
from nemotron_build.profiles import Accuracy


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
