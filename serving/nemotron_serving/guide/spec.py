"""What a request says about the form of its answer, as the models pass it on.

It is passed on as the caller wrote it, and the grammar is made where it is used: one that the engine's library cannot
read may cost it its life, so no finished grammar is taken from anywhere.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import msgspec

from nemotron_serving.guide import response_guide, stock_guide, tool_guide

_CACHED_GRAMMARS = 128


class ResponseFormat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """The JSON of the `response_format` input."""

    value: str

    def grammar(self) -> str | None:
        """In xgrammar's EBNF; None leaves the answer free.

        Raises:
            InvalidRequestError: what cannot be turned into a grammar, with its place.
        """
        return _response_guide(self.value)


class StockGuide(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """NVIDIA's inputs `guided_decoding_guide_type` and `guided_decoding_guide`."""

    guide_type: str
    guide: str

    def grammar(self) -> str | None:
        """See `ResponseFormat.grammar`."""
        return _stock_guide(self.guide_type, self.guide)


class ForcedCalls(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """A tool has to be called.

    Attributes:
        tools: Name and parameters (a JSON schema as JSON text) of each tool that may be.
        single: Exactly one call, rather than one or more.
    """

    tools: tuple[tuple[str, str], ...]
    open_tag: str
    close_tag: str
    single: bool

    def grammar(self) -> str | None:
        """See `ResponseFormat.grammar`."""
        return _tool_guide(self.tools, self.open_tag, self.close_tag, single=self.single)


def stock_spec(fields: Mapping[str, Any]) -> StockGuide | None:
    """The guide that NVIDIA's inputs ask for; None for none.

    Raises:
        InvalidRequestError: what cannot be turned into a grammar.
    """
    spec = StockGuide(fields.get("guided_decoding_guide_type", ""), fields.get("guided_decoding_guide", ""))
    return spec if spec.grammar() is not None else None


GuideSpec = ResponseFormat | StockGuide | ForcedCalls

_response_guide = functools.lru_cache(_CACHED_GRAMMARS)(response_guide)
_stock_guide = functools.lru_cache(_CACHED_GRAMMARS)(stock_guide)
_tool_guide = functools.lru_cache(_CACHED_GRAMMARS)(tool_guide)
