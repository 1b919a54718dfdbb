"""Markdown as models write it, to HTML that is safe to show, block by block as it grows.

A block is final once a line that begins the next one is whole: nothing that follows changes it, since links by
reference, the one thing in Markdown that reaches back, are not taken. So a text may be rendered in any pieces, each
from where the last final block ended, and gives the same HTML as at once.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import msgspec
import nh3
from markdown_it import MarkdownIt, rules_inline
from markdown_it.parser_inline import RuleFuncInlineType
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Delimiter
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from nemotron_front.page import formulas, highlight
from nemotron_front.page.formulas import GROWING


class Rendered(msgspec.Struct):
    """A text as HTML.

    Attributes:
        blocks: What can no longer change, block by block.
        open: What may still change.
        consumed: How much of the text is in `blocks`, in UTF-16 code units, of which JavaScript's strings are made.
    """

    blocks: list[str]
    open: str
    consumed: int


def render(text: str, *, final: bool) -> Rendered:
    """Render a text, or what is left of one behind its final blocks.

    Args:
        text: Markdown, from the beginning of a block.
        final: Whether nothing more comes. Otherwise what is half open at its end is shown as if it were closed.
    """
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if final:
        env: dict[str, Any] = {}
        blocks = [_html(block, env) for block in _blocks(_PARSER.parse(text, env))]
        return Rendered(blocks, "", _units(text))
    lines = [found.end() for found in re.finditer(r"\r\n?|\n", text)]
    env = {GROWING: True}
    grouped = _blocks(_parse_growing(text, lines, env))
    certain = [block for block in grouped if _begun(block, len(lines))]
    frozen = max(len(certain) - 1, 0)
    begin = certain[-1][0].map if frozen else None
    consumed = lines[begin[0] - 1] if begin else 0
    return Rendered(
        [_html(block, env) for block in grouped[:frozen]],
        "".join(_html(block, env, growing=block is grouped[-1]) for block in grouped[frozen:]),
        _units(text[:consumed]),
    )


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


# Blocks.

_HELD = re.compile(
    r"[ \t>]*(?:(?:[-+*]|\d{1,9}[.)])[ \t]+)*"
    r"(?:[-+*=#_~|:]+|\d{1,9}[.)]?|`{1,2}|`{3,}[^`]*|~{3,}.*|\|?[ \t:|-]+|\$\$?|\\\[?)?[ \t]*"
)
"""A last line that may become anything: it is shown when more of it has come."""
_LINE = 200
"""Characters of a last line that is looked at for that."""

_PAUSE = re.compile(r"(?:\r\n?|\n)[ \t]*(?:\r\n?|\n)[ \t]*$")
"""An empty line at the end, over which no line goes on."""


def _parse_growing(text: str, lines: Sequence[int], env: dict[str, Any]) -> list[Token]:
    last = lines[-1] if lines else 0
    shown = text[:last] if len(text) - last < _LINE and _HELD.fullmatch(text, last) else text
    tokens = _PARSER.parse(shown, env)
    header = None if _PAUSE.search(shown) else _header(tokens)
    if header is None:
        return tokens
    return _PARSER.parse(shown.rstrip("\r\n") + "\n" + header, env)


def _header(tokens: Sequence[Token]) -> str | None:
    """The line that makes a table of a first row that is still alone; None where there is none."""
    if len(tokens) < 2 or tokens[-1].type != "paragraph_close" or tokens[-1].level:
        return None
    *before, row = tokens[-2].content.rsplit("\n", 2)[-2:]
    row = row.strip()
    if not row.startswith("|") or len(row) < 3 or (before and before[0].lstrip().startswith("|")):
        return None
    return "|" + "-|" * len(re.findall(r"(?<!\\)\|", row.removesuffix("|")))


def _blocks(tokens: Sequence[Token]) -> list[Sequence[Token]]:
    """The tokens of each block. What begins within a line belongs to the block before."""
    begins: list[int] = []
    end = 0
    for at, token in enumerate(tokens):
        if token.level == 0 and token.nesting >= 0 and token.map:
            if not begins or token.map[0] >= end:
                begins.append(at)
            end = max(end, token.map[1])
    return [tokens[begin:until] for begin, until in pairwise([*begins, len(tokens)])]


def _begun(block: Sequence[Token], whole: int) -> bool:
    """Whether a block is one whatever follows: the lines that make it one (of a table, two) are whole."""
    begin = block[0].map[0] if block[0].map else 0
    return begin + (block[0].type == "table_open") < whole


# What is half open.


_LINKS = "links"
"""Key in markdown-it's `env`: whether there may be links."""
_MOST_LINKS = 5_000_000
"""Brackets times letters: from each bracket on, markdown-it looks for the one that closes it."""


def _few(rule: RuleFuncInlineType) -> RuleFuncInlineType:
    """A rule for links, or for pictures, that is left out where it would take too long."""

    def guarded(state: StateInline, silent: bool) -> bool:
        return bool(state.env.get(_LINKS)) and rule(state, silent)

    return guarded


def _inlines(state: StateCore) -> None:
    """Parse what stands in blocks: markdown-it's own rule, with the last of a growing text closed."""
    growing = _last(state) if state.env.get(GROWING) else None
    for token in state.tokens:
        if token.type == "inline":
            token.children = []
            content = _closed(token.content) if token is growing else token.content
            env = {GROWING: token is growing, _LINKS: content.count("[") * len(content) <= _MOST_LINKS}
            state.md.inline.parse(content, state.md, env, token.children)
            _mark_pictures(token.children)


def _last(state: StateCore) -> Token | None:
    """What stands last, if the text may go on in it."""
    if _PAUSE.search(state.src):
        return None
    for token in reversed(state.tokens):
        if token.type == "inline" and token.content:
            return token
        if token.type != "inline" and (token.nesting == 0 or token.level == 0 < token.nesting):
            return None
    return None


_COMMANDS = "|".join(re.escape(name[:end]) for name in ("boxed", "begin{") for end in range(1, len(name) + 1))
_DANGLING = re.compile(rf"(?:[*_~`\\$]|!?\[|<|\$[A-Za-z]|\\(?:{_COMMANDS}|begin{{[a-z]+\*?))+$")
_TAIL = 64
_TICKS = re.compile(r"\\.|`+")
_LINK = re.compile(r"!?\[([^\[\]]{0,1000})\](?:\([^()\s]*(?:[ \t]+[\"'][^\"']*)?)$")
_AUTOLINK = re.compile(r"<(https?:[^\s<>]*)$")


def _closed(content: str) -> str:
    """The end of a growing text without marks that nothing follows yet, and with its code and links closed."""
    content = content[:-_TAIL] + _DANGLING.sub("", content[-_TAIL:])
    ticks = ""
    for run in _TICKS.findall(content):
        if run[0] == "`":
            ticks = "" if run == ticks else ticks or run
    if ticks:
        return content + ticks
    return _AUTOLINK.sub(r"\1", _LINK.sub(r"\1", content))


def _close_emphasis(state: StateInline) -> None:
    """Close, at the end of a growing text, what has been opened: no asterisks are seen before it becomes bold."""
    if not state.env.get(GROWING):
        return
    for at in reversed(range(len(state.delimiters))):
        opener = state.delimiters[at]
        if opener.open and not opener.close and opener.end < 0:
            state.push("text", "", 0).content = state.tokens[opener.token].content
            opener.end = len(state.delimiters)
            closer = Delimiter(opener.marker, opener.length, len(state.tokens) - 1, -1, False, True)
            state.delimiters.append(closer)


# HTML.


def _html(block: Sequence[Token], env: dict[str, Any], *, growing: bool = False) -> str:
    if growing and block[-1].type == "fence":
        block[-1].meta = {GROWING: True}
    for token in block:
        if token.type in ("td_open", "th_open"):
            align = str(token.attrs.pop("style", "")).removeprefix("text-align:")
            if align:
                token.attrs["class"] = align
    return _CLEANER.clean(str(_PARSER.renderer.render(block, _PARSER.options, env)))


_PICTURE_IN_LINK = "in a link"


def _mark_pictures(tokens: Sequence[Token]) -> None:
    depths = accumulate((token.type == "link_open") - (token.type == "link_close") for token in tokens)
    for token, depth in zip(tokens, depths, strict=True):
        if token.type == "image" and depth:
            token.info = _PICTURE_IN_LINK


class _Renderer(RendererHTML):
    """markdown-it's, but for code, formulas and pictures. Of a picture there is a link: nothing is loaded."""

    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:  # noqa: ARG002
        token = tokens[idx]
        if token.info.strip() == "math":
            return formulas.formula(token.content, display=True, growing=GROWING in token.meta) + "\n"
        return highlight.code(token.content, token.info, growing=GROWING in token.meta)

    def code_block(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:  # noqa: ARG002
        return highlight.code(tokens[idx].content)

    def formula(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:  # noqa: ARG002
        token = tokens[idx]
        shown = formulas.formula(token.content, display=token.info == "display", growing=bool(token.meta[GROWING]))
        return f"{shown}\n" if token.block else shown

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        token = tokens[idx]
        target = html.escape(str(token.attrs["src"]))
        told = html.escape(self.renderInlineAsText(token.children, options, env)) if token.children else ""
        return told if token.info == _PICTURE_IN_LINK else f'<a class="image" href="{target}">{told or target}</a>'


class _Parser(MarkdownIt):
    def validateLink(self, url: str) -> bool:
        return re.match(r"(?i)https?://|mailto:", url) is not None


def _parser() -> MarkdownIt:
    options = {"html": False, "breaks": True, "maxNesting": 50, "xhtmlOut": False}
    parser = _Parser("commonmark", options, renderer_cls=_Renderer)
    parser.enable(["table", "strikethrough"]).disable(["reference", "html_block", "html_inline"])
    parser.core.ruler.at("inline", _inlines)
    parser.inline.ruler.at("link", _few(rules_inline.link))
    parser.inline.ruler.at("image", _few(rules_inline.image))
    parser.inline.ruler2.after("balance_pairs", "close_emphasis", _close_emphasis)
    return parser.use(formulas.formulas)


_PARSER = _parser()
_TAGS = "a b blockquote br code em h1 h2 h3 h4 h5 h6 hr i li ol p pre s span strong table tbody td th thead tr u ul"
_CELL = {"left", "center", "right"}
_CLEANER = nh3.Cleaner(
    tags={
        *re.findall(r"\w+", _TAGS),
        *formulas.TAGS,
    },
    attributes={
        "a": {"href", "title"},
        "ol": {"start"},
        "pre": {"data-lang"},
        **{tag: set(formulas.ATTRIBUTES) for tag in formulas.TAGS},
    },
    allowed_classes={
        "a": {"image"},
        "code": {"math-source"},
        "pre": {"code"},
        "span": {"math-block", *highlight.CLASSES},
        "td": _CELL,
        "th": _CELL,
        **{tag: set(formulas.CLASSES) for tag in formulas.TAGS},
    },
    set_tag_attribute_values={"a": {"target": "_blank"}},
    link_rel="noopener noreferrer nofollow",
    url_schemes={"http", "https", "mailto"},
    url_relative="deny",
)
"""The second wall: the parser makes no other HTML, and this lets none through."""
