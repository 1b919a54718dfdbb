"""Every figure is worked out for all requests, and apart for those with thinking on and off.

The lengths of a thinking model's outputs have two modes, far from each other. A figure over both says how the mix was;
only the figures apart can be compared between runs with different mixes.
"""

from __future__ import annotations

from typing import Literal

from nemotron_loadtest.samples import Sample

Thinking = Literal["all", "on", "off"]


def is_about(thinking: Thinking, sample: Sample) -> bool:
    """Whether a figure for this thinking counts this request."""
    return thinking == "all" or sample.thinking == (thinking == "on")
