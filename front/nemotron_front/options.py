"""What nemotron-front is started with: the one home of its options and their defaults."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class FrontOptions:
    """How a front is served.

    Attributes:
        urls: Triton servers, as the client takes them.
        bind: Address to listen on.
        port: Port to listen on; 0 picks a free one.
        served_model_names: Names that callers may give for the model; empty takes the server's own.
        max_body_bytes: The largest body that is read.
    """

    urls: tuple[str, ...]
    bind: str = "127.0.0.1"
    port: int = 9000
    served_model_names: tuple[str, ...] = ()
    max_body_bytes: int = 8 * MIB
