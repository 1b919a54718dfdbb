"""Whether the scales of an FP8 checkpoint can be used at all."""

from __future__ import annotations

import math

from nemotron_build.errors import VerificationError
from nemotron_build.verify.claims import AGAIN
from nemotron_build.verify.expected import Converted


def check_scales(converted: Converted) -> None:
    """Check that each scale is a positive number, and that the ranks agree on the scales of what they share.

    Raises:
        VerificationError: a scale is zero, negative, infinite or NaN, or differs between ranks.
    """
    weight_scales = {weight.weight_scale for weight in converted.weights}
    first: dict[str, float] = {}
    for rank, name in converted.scales():
        record = converted.ranks[rank][name]
        value = converted.scalar(rank, name)
        if not (math.isfinite(value) and value > 0):
            raise VerificationError(
                f"{record.file}: {name} is {value}, expected a positive number. Its layer was not calibrated. {AGAIN}"
            )
        # A rank's weights may have a scale of their own. Its input is the same tensor on all ranks, or a part of one.
        if name not in weight_scales and first.setdefault(name, value) != value:
            raise VerificationError(f"{record.file}: {name} is {value}, but {first[name]} on rank 0. {AGAIN}")
