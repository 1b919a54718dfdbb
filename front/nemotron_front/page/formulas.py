r"""Formulas as models write them, from LaTeX to MathML.

Read are `$…$`, `$$…$$`, `\(…\)`, `\[…\]`, and without any of these `\boxed{…}` and `\begin{…}…\end{…}`. What a dollar
begins is a formula by pandoc's rule (no space inside the dollars, no digit after them) unless it reads like prose, so
prices stay prices. A formula that cannot be rendered is shown as it was written.
"""

from __future__ import annotations

import html
import re

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from math_core import LatexError, LatexToMathML

GROWING = "growing"
"""Key in markdown-it's `env`: true where the text ends in what is parsed, and more of it may come."""

MAX_LENGTH = 8192
"""Characters of a formula that is rendered."""
_MAX_COMMANDS = 1500
"""Commands and braces: the converter recurses into each, and its stack ends after 3,000."""
_MAX_HTML = 1 << 18
_MAX_BRACKETS = 10
"""Brackets in brackets, in one group: each that nothing closes doubles the converter's time."""
_MAX_BARE = 1024
"""Characters of a `\\boxed{…}` outside of a formula."""

_CONVERTER = LatexToMathML(
    fancy_error=False,
    allow_unreliable_rendering=True,
    max_expansions=200,
    # What models write that the converter does not know.
    macros={
        "ce": r"\mathrm{#1}",
        "colorbox": "{#2}",
        "framebox": r"\boxed{#1}",
        "hbox": r"\text{#1}",
        "hdots": r"\ldots",
        "hfill": r"\quad",
        "href": "{#2}",
        "llap": "{#1}",
        "mathclap": "{#1}",
        "mbox": r"\text{#1}",
        "qed": r"\square",
        "require": "{}",
        "rlap": "{#1}",
        "smash": "{#1}",
        "substack": r"\begin{matrix}#1\end{matrix}",
        "vspace": "{}",
    },
)

# Numbers are for documents, where a formula is one of many.
_NUMBERED = re.compile(r"\\(begin|end)\{(align|alignat|equation|flalign|gather|multline)\}")
_RENAMED = {"alignedat": "aligned", "eqnarray": "align*", "eqnarray*": "align*", "smallmatrix": "matrix"}
_RENAMED |= {"split": "aligned", "displaymath": "equation*", "math": "equation*"}
_ENVIRONMENT = re.compile(r"\\(begin|end)\{(" + "|".join(map(re.escape, _RENAMED)) + r")\}(?:\{\d+\}(?<=t\}\{\d\}))?")
_TEXT = re.compile(r"(\\(?:text|textbf|textit|textrm|mbox))\{([^{}]*)\}")
_ESCAPED = re.compile(r"\\([_#%&$])|([_#%&])")
_DROPPED = re.compile(r"\\label\{[^{}]*\}|(?<=\\\\)\[[^\]]{1,12}\]")
_TAG = re.compile(r"\\tag\b")

_BRACKET = re.compile(
    r"(?P<open>[(\[⟨⌊⌈⟦]|\\(?:\{|l(?:angle|floor|ceil|vert|Vert|brack|brace|group|paren|lbracket|moustache|lcorner)|ulcorner))"
    r"|(?P<close>[)\]⟩⌋⌉⟧]|\\(?:\}|r(?:angle|floor|ceil|vert|Vert|brack|brace|group|paren|rbracket|moustache)|urcorner))"
    r"|\\.|[{}]",
    re.DOTALL,
)
_DEFINITION = re.compile(r"\\(?:(?:re|provide)?newcommand|[gex]?def|let|futurelet)\b")
_PIECE = re.compile(r"\\(?:begin|end)\{[^{}]*\}?|\\(?:left|right)\b\s*(?:\\.[a-zA-Z]*|.)?|\\[a-zA-Z]*|\\.|.", re.DOTALL)
_CUTS = 16
"""How many pieces are taken off the end of a growing formula until the rest can be shown."""

_STYLED = re.compile(r'(<m[a-z]+\b[^<>]*?) style="([^"<>]*)"')
_CLASSES = {
    "text-align: right": "m-right",
    "text-align: left": "m-left",
    "padding-left: 0": "m-tight-left",
    "padding-right: 0": "m-tight-right",
    "padding-left:1em": "m-apart",
    "width: 100%": "m-whole",
    "width: 50%": "m-half",
    **{
        f"border-{side}: 0.05em {line} currentcolor": f"m-{side}-{line}"
        for side in ("top", "right", "bottom", "left")
        for line in ("solid", "dashed")
    },
}
"""Style declarations of the converter, none of which a page under a strict policy takes, and our class for each."""
_COLOR = re.compile(r"color:(#[0-9A-Fa-f]{6})")

TAGS = frozenset(
    re.findall(
        r"\w+",
        "math menclose merror mfrac mi mmultiscripts mn mo mover mpadded mphantom mprescripts mroot mrow ms mspace "
        "msqrt mstyle msub msubsup msup mtable mtd mtext mtr munder munderover",
    )
)
"""MathML that may reach the page: nothing that links, runs or holds other markup."""
ATTRIBUTES = frozenset(
    re.findall(
        r"\w+",
        "accent accentunder depth display displaystyle fence form height linethickness lspace mathcolor mathvariant "
        "maxsize minsize movablelimits notation rspace scriptlevel separator stretchy symmetric voffset width",
    )
)
"""Their attributes that may."""
CLASSES = frozenset({*_CLASSES.values(), "menclose-updiagonalstrike", "menclose-downdiagonalstrike"})
"""Their classes that may."""


def formula(source: str, *, display: bool, growing: bool = False) -> str:
    """A formula as HTML: MathML, or its source as code.

    Args:
        source: LaTeX, without what surrounds it.
        display: Whether it stands on lines of its own.
        growing: Whether its end is still to come.
    """
    if _bounded(source):
        for attempt in _completions(source) if growing else (source,):
            mathml = _mathml(_prepared(attempt, display), display)
            if mathml is not None:
                return f'<span class="math-block">{mathml}</span>' if display else mathml
    return f'<code class="math-source">{html.escape(source.strip())}</code>'


def _bounded(source: str) -> bool:
    """Whether the converter is done with it soon, and comes back."""
    commands = source.count("\\") + source.count("{") + source.count("^")
    if len(source) > MAX_LENGTH or commands > _MAX_COMMANDS or _DEFINITION.search(source):
        return False
    depths = [0]
    for found in _BRACKET.finditer(source):
        if found["open"]:
            depths[-1] += 1
            if depths[-1] > _MAX_BRACKETS:
                return False
        elif found["close"]:
            depths[-1] = max(depths[-1] - 1, 0)
        elif found[0] == "{":
            depths.append(0)
        elif found[0] == "}" and len(depths) > 1:
            depths.pop()
    return True


def _mathml(source: str, display: bool) -> str | None:
    try:
        mathml = _CONVERTER.convert_with_local_state(source, displaystyle=display)
    except LatexError:
        return None
    return _STYLED.sub(_classed, mathml) if len(mathml) <= _MAX_HTML else None


def _classed(found: re.Match[str]) -> str:
    tag, style = found.groups()
    classes = " ".join(_CLASSES[one] for one in map(str.strip, style.split(";")) if one in _CLASSES)
    color = _COLOR.search(style)
    return tag + (f' class="{classes}"' if classes else "") + (f' mathcolor="{color[1]}"' if color else "")


def _prepared(source: str, display: bool) -> str:
    """The same in the converter's dialect."""
    source = _TEXT.sub(_spelled, source)
    source = re.sub(r"(?<!\\)((?:\\\\)*)%", r"\1\\%", source)  # a percent sign, not a comment
    source = _NUMBERED.sub(r"\\\1{\2*}", _DROPPED.sub("", source))
    source = _ENVIRONMENT.sub(lambda found: f"\\{found[1]}{{{_RENAMED[found[2]]}}}", source)
    if "\\begin" not in source:
        bare = re.sub(r"\\[&\\]", lambda found: "\n" if found[0] == "\\\\" else "", source)
        if "&" in bare or (display and "\n" in bare.strip() and "\\\\" in source):
            kind = "aligned" if "&" in bare else "gathered"
            source = rf"\begin{{{kind}}}{source}\end{{{kind}}}"
    if _TAG.search(source) and not re.match(r"\s*\\begin\{(?:align|equation|gather)\*\}", source):
        source = rf"\begin{{equation*}}{source}\end{{equation*}}"
    return source


def _spelled(found: re.Match[str]) -> str:
    r"""Text in a formula as the converter takes it: `\text{if $x$ is a_b}` as `\text{if }{x}\text{ is a\_{}b}`."""
    command, text = found.groups()
    parts = re.split(r"(?<!\\)\$", text)
    if len(parts) % 2 == 0:
        parts = [text.replace("$", "\\$")]
    # The converter takes a space away behind a character with a backslash, but for the braces.
    parts[::2] = [f"{command}{{{escaped}}}" for escaped in (_ESCAPED.sub(r"\\\1\2{}", one) for one in parts[::2])]
    parts[1::2] = [f"{{{one}}}" for one in parts[1::2]]
    return "".join(parts)


def _completions(source: str) -> list[str]:
    """What a formula may be shown as while its end is missing, the longest first: cut at a piece, and closed."""
    pieces = _PIECE.findall(source)
    if pieces and re.fullmatch(r"\$|\\[a-zA-Z]*|\\(?:left|right)\s*|\\(?:begin|end)\{[^{}]*", pieces[-1]):
        pieces.pop()  # a command whose name may go on
    closers: list[str] = []
    complete = []
    for count, piece in enumerate(pieces, 1):
        if piece == "{":
            closers.append("}")
        elif piece.startswith("\\left"):
            closers.append("\\right.")
        elif piece.startswith("\\begin"):
            closers.append("\\end" + piece.removeprefix("\\begin"))
        elif closers and (piece == "}" or piece.startswith(("\\right", "\\end"))):
            closers.pop()
        if count > len(pieces) - _CUTS:
            complete.append("".join([*pieces[:count], *reversed(closers)]))
    return [*reversed(complete), ""]


def formulas(md: MarkdownIt) -> None:
    """Add formulas to a parser, as tokens `formula` (block and inline), whose `info` is `display` or `inline`."""
    md.block.ruler.before("fence", "formula", _block, {"alt": ["paragraph", "reference", "blockquote", "list"]})
    md.inline.ruler.before("escape", "formula", _inline)


# Blocks.

_OPENS = re.compile(r"\$\$|\\\[|\\begin\{([a-zA-Z]+\*?)\}")
_ENVIRONMENTS = re.compile(
    r"align|eqnarray|equation|gather|multline|flalign|displaymath|cases|[bBpvV]?matrix|split|array"
)


def _block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """A formula that begins a line, to its closing mark or, without one, to a blank line."""
    if state.is_code_block(start):
        return False
    begin, stop = state.bMarks[start] + state.tShift[start], state.eMarks[start]
    opened = _OPENS.match(state.src, begin, stop)
    if not opened or (opened[1] and not _ENVIRONMENTS.match(opened[1])):
        return False
    closer = {"$$": "$$", "\\[": "\\]"}.get(opened[0], f"\\end{{{opened[1]}}}")
    at = state.src.find(closer, opened.end(), stop)
    if at >= 0 and not re.fullmatch(r"[\s.,;:!?]*", state.src[at + len(closer) : stop]):
        return False  # a sentence goes on behind it: a formula in a paragraph
    if silent:
        return True
    line = start
    while at < 0:
        following = line + 1
        while following < end and state.isEmpty(following):
            following += 1
        if following >= end or state.sCount[following] < state.blkIndent:
            break
        first = state.bMarks[following] + state.tShift[following]
        only_opened = line == start and not state.src[opened.end() : state.eMarks[start]].strip()
        if following > line + 1 and not only_opened and not state.src.startswith(closer, first):
            break
        line = following
        at = state.src.find(closer, first, state.eMarks[line])
    stop = state.eMarks[line]
    rest = state.src[at + len(closer) : stop] if at >= 0 else ""
    body = opened.end() if not opened[1] else begin
    until = (at + (len(closer) if opened[1] else 0)) if at >= 0 else stop
    source = state.src[body:until]
    after = state.skipEmptyLines(line + 1) if line + 1 < end else end
    if at < 0 and after < end:  # never closed: as it was written
        token = state.push("paragraph_open", "p", 1)
        token.map = [start, line + 1]
        inline = state.push("inline", "", 0)
        inline.content, inline.map, inline.children = state.src[begin:stop].strip(), [start, line + 1], []
        state.push("paragraph_close", "p", -1)
    else:
        if re.fullmatch(r"[\s.,;:!?]*", rest):
            source, rest = source.rstrip() + rest.strip(), ""
        token = state.push("formula", "math", 0)
        token.content, token.info, token.map = source, "display", [start, line + 1]
        token.meta = {GROWING: at < 0}
    state.line = line + 1
    if rest:  # what stands behind the formula is a paragraph that begins within the line
        state.line = line
        state.bMarks[line] = at + len(closer)
        state.tShift[line] = len(rest) - len(rest.lstrip(" \t"))
        state.sCount[line] = state.blkIndent
    return True


# In a line.

_WORD = re.compile(r"[A-Za-z]{2,}")
_SIGN = re.compile(r"[\\^_{}=<>+]")
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
_MARKS = {"\\(": "\\)", "\\[": "\\]", "$$": "$$"}


def _inline(state: StateInline, silent: bool) -> bool:
    """A formula in a line: to its closing mark, or to the end of a growing text."""
    source, begin = state.src, state.pos
    if source[begin] not in "$\\":
        return False
    two = source[begin : begin + 2]
    growing = bool(state.env.get(GROWING))
    if two in _MARKS:
        found = _marked(source, begin + 2, _MARKS[two], growing)
    elif two[0] == "$":
        found = _dollars(source, begin, growing)
    else:
        found = _bare(source, begin, growing)
    if found is None:
        return False
    content, end, closed = found
    if not silent:
        token = state.push("formula", "math", 0)
        token.content, token.meta = content, {GROWING: not closed}
        token.info = "display" if two in ("$$", "\\[") or source.startswith("\\begin", begin) else "inline"
    state.pos = end
    return True


def _marked(source: str, begin: int, closer: str, growing: bool) -> tuple[str, int, bool] | None:
    end = source.find(closer, begin, begin + MAX_LENGTH)
    if end < 0:
        return (source[begin:], len(source), False) if growing else None
    content = source[begin:end]
    return (content, end + 2, True) if content.strip() else None


def _dollars(source: str, begin: int, growing: bool) -> tuple[str, int, bool] | None:
    """A formula between single dollars, if it is none of prices."""
    before, first = source[begin - 1 : begin], source[begin + 1 : begin + 2]
    if before.isalnum() or not first or first.isspace():
        return None
    end = source.find("$", begin + 1, begin + MAX_LENGTH)
    while end >= 0 and source[end - 1] == "\\":
        end = source.find("$", end + 1, begin + MAX_LENGTH)
    content, after = source[begin + 1 : end if end >= 0 else begin + MAX_LENGTH], source[end + 1 : end + 2]
    word, sign = _WORD.search(content), _SIGN.search(content)
    prose = word and (not sign or word.start() < sign.start())
    number = first.isdigit() or first == "."
    if end < 0:
        likely = growing and not prose and (sign or not number)
        return (content, len(source), False) if likely and begin + MAX_LENGTH > len(source) else None
    if content[-1].isspace() or after.isdigit():
        return None
    if prose and (number or (not sign and (" " in content or after.isalpha()))):
        return None
    return content, end + 1, True


def _bare(source: str, begin: int, growing: bool) -> tuple[str, int, bool] | None:
    r"""`\boxed{…}` or an environment outside of dollars."""
    opened = _OPENS.match(source, begin)
    if opened and opened[1] and _ENVIRONMENTS.match(opened[1]):
        closer = f"\\end{{{opened[1]}}}"
        end = source.find(closer, begin, begin + MAX_LENGTH)
        if end >= 0:
            return source[begin : end + len(closer)], end + len(closer), True
        return (source[begin:], len(source), False) if growing else None
    if not source.startswith("\\boxed{", begin):
        return None
    depth = 0
    for brace in _BRACES.finditer(source, begin + 6, begin + _MAX_BARE):
        depth += (brace[0] == "{") - (brace[0] == "}")
        if depth == 0:
            return source[begin : brace.end()], brace.end(), True
    return (source[begin:], len(source), False) if growing else None
