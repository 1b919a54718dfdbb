"""What not every engine can do, and which engines can: the contract's options name the feature that they need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Feature = Literal[
    "penalties", "min_p", "guided_decoding", "bad_words", "logit_bias", "min_tokens",
    "logprobs", "sampled_logprobs", "top_logprobs",
]  # fmt: skip
"""What not every engine can do. A request that asks for what is missing is refused by name before it is submitted."""


@dataclass(frozen=True, kw_only=True)
class Support:
    """Which engines have a feature.

    Attributes:
        openvino: OpenVINO GenAI.
        simulated: The simulated engine takes it, also where its scripts do not follow it.
        compiled: TensorRT-LLM with an engine.
        checkpoint: TensorRT-LLM with a checkpoint (its PyTorch flow), from this release on; None: no release.
        pull: Their pull request that brought it there.
        doc: What needs it, for the docs.
    """

    openvino: bool = False
    simulated: bool = False
    compiled: bool = False
    checkpoint: tuple[int, int] | None = None
    pull: int | None = None
    doc: str


# Before 1.3 the PyTorch flow's sampler took bad words and penalties and did nothing with them, counted the prompt into
# min_tokens, and left the chosen token out of its log probabilities where others were more probable. With an engine, an
# abort of a request with log probabilities takes the engine down (TensorRT-LLM issue #10810).
FEATURES: dict[Feature, Support] = {
    "guided_decoding": Support(openvino=True, compiled=True, checkpoint=(1, 2),
                               doc="`response_format`, a required tool call"),
    "bad_words": Support(openvino=True, compiled=True, checkpoint=(1, 3), pull=16052, doc="`bad_words`"),
    "penalties": Support(openvino=True, simulated=True, compiled=True, checkpoint=(1, 3), pull=16485,
                         doc="the three penalties"),
    "min_p": Support(openvino=True, compiled=True, checkpoint=(1, 3), pull=16590, doc="`min_p`"),
    "min_tokens": Support(openvino=True, simulated=True, compiled=True, checkpoint=(1, 3), pull=12166,
                          doc="`min_tokens` above 1"),
    "logit_bias": Support(compiled=True, checkpoint=(1, 2), doc="`logit_bias`"),
    "logprobs": Support(openvino=True, simulated=True, checkpoint=(1, 2), doc="`return_log_probs`"),
    "sampled_logprobs": Support(openvino=True, simulated=True, checkpoint=(1, 3),
                                doc="`return_log_probs` of a choice among more than 20 tokens"),
    "top_logprobs": Support(checkpoint=(1, 2), doc="`top_logprobs`"),
}  # fmt: skip
