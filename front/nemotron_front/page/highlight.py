"""Code with colours, as classes of Pygments."""

from __future__ import annotations

import html
import io
import re
from functools import cache, lru_cache

from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import find_lexer_class, get_all_lexers
from pygments.token import STANDARD_TYPES

CLASSES = frozenset(STANDARD_TYPES.values()) - {""}
"""Classes of pieces of code."""

_WORD = re.compile(r"\s*([\w+#.-]{1,32})", re.ASCII)
_MAX_LENGTH = 1 << 16
"""Characters of a block that gets colours."""
_MAX_GROWING = 1 << 14
"""The same while it grows."""
_PIECE = 1000
"""Characters after which a growing block is cut at the next line: what stands before keeps its colours."""
_PLAIN = HtmlFormatter(nowrap=True)


def code(source: str, info: str = "", *, growing: bool = False) -> str:
    """A block of code as HTML. The text in it is `source`, exactly.

    While it grows, its colours are made piece by piece, so that an update costs a piece and not the block: they may be
    off behind the beginning of a long string or comment, until the block is whole.

    Args:
        source: The code.
        info: What stands behind the fence. Its first word is the language.
        growing: Whether more of it may come.
    """
    word = _WORD.match(info)
    language = word[1].lower() if word else ""
    named = f' data-lang="{language}"' if language else ""
    return f'<pre class="code"{named}><code>{_inner(source, language, growing)}</code></pre>\n'


def _inner(source: str, language: str, growing: bool) -> str:
    if language not in _names() or (len(source) > _MAX_LENGTH and not growing):
        return html.escape(source)
    if not growing:
        return _coloured(source, language)
    pieces, begin = [], 0
    while len(source) - begin > _PIECE and begin < _MAX_GROWING:
        end = source.find("\n", begin + _PIECE) + 1
        if not end:
            break
        pieces.append(_kept(source[begin:end], language))
        begin = end
    rest = source[begin:]
    pieces.append(_coloured(rest, language) if len(rest) <= 2 * _PIECE else html.escape(rest))
    return "".join(pieces)


def _coloured(source: str, language: str) -> str:
    tokens = [(kind, text) for _, kind, text in _lexer(language).get_tokens_unprocessed(source)]
    if "".join(text for _, text in tokens) != source:
        return html.escape(source)
    out = io.StringIO()
    _PLAIN.format(tokens, out)
    return out.getvalue() if source.endswith("\n") else out.getvalue().removesuffix("\n")


_kept = lru_cache(maxsize=64)(_coloured)


@cache
def _names() -> dict[str, str]:
    """Pygments' own languages: from each of their short names to the one that it knows them by."""
    return {alias: name for name, aliases, _, _ in get_all_lexers(plugins=False) for alias in aliases}


@lru_cache(maxsize=64)
def _lexer(language: str) -> Lexer:
    return find_lexer_class(_names()[language])()
