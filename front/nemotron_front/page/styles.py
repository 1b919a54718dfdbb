"""The style sheet of rendered code and formulas. What Markdown itself makes has no classes: the page styles it."""

from __future__ import annotations

import re

from pygments.formatters import HtmlFormatter

_FORMULAS = """\
math { font-family: "STIX Two Math", "Cambria Math", "Latin Modern Math", "DejaVu Math TeX Gyre", math; }
.math-block { display: block; overflow: auto hidden; padding: 0.2em 0; }
.math-source { white-space: pre-wrap; }
menclose[notation~="box"] { border: 0.06em solid; padding: 0.25em 0.4em; }
menclose[notation~="updiagonalstrike"], menclose[notation~="downdiagonalstrike"] {
  --up: linear-gradient(to top left, #0000 calc(50% - 0.05em), currentcolor 50%, #0000 calc(50% + 0.05em));
  --down: linear-gradient(to top right, #0000 calc(50% - 0.05em), currentcolor 50%, #0000 calc(50% + 0.05em));
  background: var(--up), var(--down);
}
menclose[notation="updiagonalstrike"] { background: var(--up); }
menclose[notation="downdiagonalstrike"] { background: var(--down); }
.m-right { text-align: right; justify-items: end; }
.m-left { text-align: left; justify-items: start; }
.m-tight-left { padding-left: 0; }
.m-tight-right { padding-right: 0; }
.m-apart { padding-left: 1em; }
.m-whole { width: 100%; }
.m-half { width: 50%; }
"""
# MathML Core leaves boxes, strokes, lines and the alignment of columns to style sheets.
_LINES = "".join(
    f".m-{side}-{line} {{ border-{side}: 0.05em {line}; }}\n"
    for side in ("top", "right", "bottom", "left")
    for line in ("solid", "dashed")
)


def stylesheet() -> str:
    """CSS: light colours, and dark ones where the page (`data-theme` of the root) or else the system asks for dark."""
    light, dark = (_colours(style) for style in ("default", "github-dark"))
    system = "@media (prefers-color-scheme: dark) {\n:root:not([data-theme=light]) {\n" + dark + "}\n}\n"
    return f"{light}{system}:root[data-theme=dark] {{\n{dark}}}\n{_FORMULAS}{_LINES}"


def _colours(style: str) -> str:
    """A style's rules for pieces of code. Its background is left out, and its marks of errors: code grows."""
    rules = HtmlFormatter(style=style).get_style_defs("pre.code").splitlines()
    named = [rule.partition(" /*")[0] for rule in rules if re.match(r"pre\.code \.(?!err|hll|linenos)\w+ \{", rule)]
    return "\n".join(named) + "\n"
