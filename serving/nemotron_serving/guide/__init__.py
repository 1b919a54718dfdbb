"""Guides: the grammars that hold an answer to a `response_format`, or to the form of a tool call.

One grammar in xgrammar's EBNF serves every engine. What xgrammar would make of a schema itself is not used: it
ignores keywords that it does not know, allows white space without end, and an error in it can stop an engine.
"""

from nemotron_serving.guide.spec import (
    ForcedCalls,
    GuideSpec,
    ResponseFormat,
    StockGuide,
    response_guide,
    stock_guide,
    stock_spec,
    tool_guide,
)

__all__ = [
    "ForcedCalls",
    "GuideSpec",
    "ResponseFormat",
    "StockGuide",
    "response_guide",
    "stock_guide",
    "stock_spec",
    "tool_guide",
]
