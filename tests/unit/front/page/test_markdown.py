"""Markdown to HTML: the same in any pieces, and right to look at while it grows."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemotron_front.page.markdown import render
from tests.unit.front.page.samples import SAMPLES, shape

ANSWER = """\
# Solving the equation

To solve \\(x(\\sin(x) + 2) = 0\\), set each factor to zero:

1. **First factor**: $x = 0$.
2. **Second factor**:
   \\[ \\sin(x) + 2 = 0 \\implies \\sin(x) = -2 \\]

   which has *no* real solution, since $-1 \\le \\sin(x) \\le 1$.

| factor | solution |
|:-------|---------:|
| $x$    | `0`      |
| $\\sin(x) + 2$ | ~~-2~~ none |

```python
import math

def f(x: float) -> float:
    \"\"\"The left side.\"\"\"
    return x * (math.sin(x) + 2)
```

> It costs $5 or $10.

Steps
- see [the docs](https://a.example/docs)
- and ![a plot](https://a.example/plot.png)

---

Answer
===

$$
\\boxed{x = 0}
$$
"""


def units(text: str) -> int:
    """Its length in JavaScript."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def without(text: str, consumed: int) -> str:
    """What JavaScript's `text.slice(consumed)` leaves."""
    return text.encode("utf-16-le", "surrogatepass")[2 * consumed :].decode("utf-16-le", "surrogatepass")


def streamed(pieces: Iterable[str]) -> list[str]:
    """The blocks of a text that the page renders as it grows."""
    tail, blocks = "", []
    for piece in pieces:
        tail += piece
        step = render(tail, final=False)
        blocks += step.blocks
        tail = without(tail, step.consumed)
    last = render(tail, final=True)
    assert (last.open, last.consumed) == ("", units(tail))
    return blocks + last.blocks


def growing(text: str) -> str:
    """What is shown of a text that may go on."""
    step = render(text, final=False)
    return "".join(step.blocks) + step.open


def whole(text: str) -> str:
    """What is shown of a text that has ended."""
    return "".join(render(text, final=True).blocks)


# In any pieces.

PIECES = re.findall(
    r"\S+",
    r"a b ** * _ ~~ ` `` ``` ```py - 1. 2) > # ## --- === | $ $$ \( \) \[ \] \boxed{ } { \frac & \\ x^2 [ ] ![ ( 5 $5 "
    r"\begin{aligned} \end{aligned} (http://a.example) < https:// &amp; \ word 😀 é [x]:y ~~~ + = : |---|---| |a|b|",
)
SPACES = [" ", "  ", "    ", "\t", "\n", "\n\n", "\n", "\r", "\r\n", "\0", "\u2028", "\x0b", "- ", "1. ", "> ", "# "]
SOME = st.lists(st.sampled_from([*PIECES, *SPACES, "```math\n", "| a | b |\n|--|--|\n", "\ud83d"]), max_size=24)


@settings(deadline=None)
@given(SOME)
def test_piece_by_piece_a_text_becomes_what_it_is_at_once(pieces: list[str]) -> None:
    assert streamed(pieces) == render("".join(pieces), final=True).blocks


@settings(deadline=None)
@given(SOME)
def test_letter_by_letter_a_text_becomes_what_it_is_at_once(pieces: list[str]) -> None:
    assert streamed("".join(pieces)) == render("".join(pieces), final=True).blocks


@settings(deadline=None)
@given(st.text())
def test_any_text_is_rendered(text: str) -> None:
    assert streamed(text) == render(text, final=True).blocks


def test_an_answer_letter_by_letter() -> None:
    assert streamed(ANSWER) == render(ANSWER, final=True).blocks


@pytest.mark.parametrize("path", ["README.md", "CHANGELOG.md"])
def test_a_document_line_by_line(path: str) -> None:
    text = Path(path).read_text()[:20_000]
    assert streamed(text.splitlines(keepends=True)) == render(text, final=True).blocks


def test_blocks_become_final_as_soon_as_the_next_has_begun() -> None:
    steps = [render(text, final=False) for text in ("one\n\n", "one\n\ntw", "one\n\ntwo\n", "😀\n\ntwo\n")]
    assert [(len(step.blocks), step.consumed) for step in steps] == [(0, 0), (0, 0), (1, 5), (1, 4)]


@pytest.mark.parametrize(
    "text", ["a\n#", "a\n|b|\n|-", "a\n```", "a\n- ", "- a\n\nb", "> a\n\nb", "```\na\n```", "a\n\n$"]
)
def test_nothing_is_final_that_the_next_letter_may_change(text: str) -> None:
    assert render(text, final=False).blocks == []


# Half open.


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("Hello **wor", "<p>Hello <strong>wor</strong></p>"),
        ("Hello **", "<p>Hello </p>"),
        ("**bold*", "<p><strong>bold</strong></p>"),
        ("a *b **c", "<p>a <em>b <strong>c</strong></em></p>"),
        ("***x", "<p><em><strong>x</strong></em></p>"),
        ("~~x", "<p><s>x</s></p>"),
        ("2 * 3 and a*b", "<p>2 * 3 and a*b</p>"),
        ("x*(sin(x)+2)=0", "<p>x*(sin(x)+2)=0</p>"),
        ("snake_case and __init", "<p>snake_case and <strong>init</strong></p>"),
        ("say `pri", "<p>say <code>pri</code></p>"),
        ("say ``a`b", "<p>say <code>a`b</code></p>"),
        ("`a` and", "<p><code>a</code> and</p>"),
        ("see [the docs](https://a.exa", "<p>see the docs</p>"),
        ('see [the docs](https://a.example "ti', "<p>see the docs</p>"),
        ("see ![a cat](https://a.exa", "<p>see a cat</p>"),
        ("see <https://a.exa", "<p>see https://a.exa</p>"),
        ("- a\n- **b", "<ul>\n<li>a</li>\n<li><strong>b</strong></li>\n</ul>"),
        ("- a\n-", "<ul>\n<li>a</li>\n</ul>"),
        ("- a\n  1.", "<ul>\n<li>a</li>\n</ul>"),
        ("Steps:\n-", "<p>Steps:</p>"),
        ("Title\n==", "<p>Title</p>"),
        ("> **a", "<blockquote>\n<p><strong>a</strong></p>\n</blockquote>"),
        ("# **a", "<h1><strong>a</strong></h1>"),
        ("a\n##", "<p>a</p>"),
        ("a\n``", "<p>a</p>"),
        ("a\n```pyth", "<p>a</p>"),
        ("```\na\n``", '<pre class="code"><code>a\n</code></pre>'),
        ("```py\na", '<pre class="code" data-lang="py"><code><span class="n">a</span></code></pre>'),
        ("**a\n\nb", "<p>**a</p>\n<p>b</p>"),
        ("- **a\n\n  ```\n  b", '<ul>\n<li>\n<p>**a</p>\n<pre class="code"><code>b</code></pre>\n</li>\n</ul>'),
    ],
)
def test_what_is_half_open_is_shown_closed(text: str, html: str) -> None:
    assert growing(text).strip() == html


@pytest.mark.parametrize(
    "text", ["| a | b", "| a | b |", "| a | b |\n", "| a | b |\n|", "| a | b |\n|--", "| a | b |\n|--|--|"]
)
def test_a_table_is_one_from_its_first_row(text: str) -> None:
    assert growing(text).replace("\n", "") == "<table><thead><tr><th>a</th><th>b</th></tr></thead></table>"


def test_a_row_of_a_table_grows() -> None:
    table = growing("| a | b |\n|--|:-:|\n| **c").replace("\n", "")
    assert table.endswith('<tr><td><strong>c</strong></td><td class="center"></td></tr></tbody></table>')


def test_what_has_ended_is_as_it_was_written() -> None:
    assert whole("Hello **wor") == "<p>Hello **wor</p>\n"
    assert whole("a\n-") == "<h2>a</h2>\n"
    assert whole("| a | b |") == "<p>| a | b |</p>\n"


@pytest.mark.parametrize("text", [ANSWER, *(text for text, _ in SAMPLES if "|x|" not in text and "$y" not in text)])
def test_marks_are_not_seen_while_an_answer_grows(text: str) -> None:
    for end in range(1, len(text)):
        seen = re.sub(r"<code[^>]*>.*?</code>|<[^>]*>", "", growing(text[:end]), flags=re.DOTALL)
        assert not re.search(r"\*\*|~~|\\[\[\]()]|\\[a-z]|\$(?!\d)|^#", seen, re.MULTILINE), (text[:end], seen)


# Formulas.


@pytest.mark.parametrize(("text", "expected"), SAMPLES, ids=range(len(SAMPLES)))
def test_formulas(text: str, expected: str) -> None:
    assert shape(whole(text)).strip() == expected


@pytest.mark.parametrize(
    "text",
    [
        "It costs $5 and $10.",
        "It costs $5, or $6?",
        "between $5-$10",
        "**$5** and **$10**",
        "$1,000/$2,000 (US$3/US$4)",
        "from $5 to 10$ a month",
        "$100M-$200M",
        "$AAPL,$TSLA",
        "$HOME/$USER",
        "echo $PATH and $HOME",
        "A$AP and B$AP",
        "a $ b $ c",
        "5$ and 6$",
        r"\$5 and \$6$",
        "costs $5",
        "You pay $5 a month, so x = 5 or y_1 > 10$",
        "`$x$`",
        "$$ is slang\n\nand more",
    ],
)
def test_prices_are_no_formulas(text: str) -> None:
    for end in range(1, len(text) + 1):
        assert "<math" not in growing(text[:end]) or text.startswith("$$")
    assert "<math" not in whole(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"so $x^2 + \fra", "so ⟨sup(x,2)+⟩"),
        (r"so $x^", "so ⟨x⟩"),
        (r"so $x", "so"),
        (r"so $x +", "so ⟨x+⟩"),
        (r"\( \frac{1}{", "⟨frac(1,)⟩"),
        (r"\( \frac{1", "⟨⟩"),
        (r"\[ x = \sqrt{b^2", "[x=sqrt(sup(b,2))]"),
        (r"\[ \left( a", "[(a]"),
        ("\\[\n\\begin{aligned}\na &= b \\\\\nc &", "[a|=b|;c||;]"),
        ("\\begin{cases} x & y", "[{x|y|;]"),
        (r"\[ \begin{pmatrix} 1 & 2 \\ 3 \end{pm", "[(1|2|;3|;)]"),
        (r"the answer is \boxed{4", "the answer is ⟨box(4)⟩"),
        (r"$$ a + b $", "[a+b]"),
        (r"\[ x \te", "[x]"),
        (r"\[ x \text{ if", "[x if]"),
    ],
)
def test_a_half_open_formula_is_shown_as_far_as_it_goes(text: str, expected: str) -> None:
    assert shape(growing(text)).strip() == expected


@pytest.mark.parametrize(
    "formula",
    [r"\unknown{x}", "a_b_c", "{" * 5000, r"\sqrt" * 4000, "x" * 10_000, r"\newcommand{\x}{(}\x\x"]
    # Of brackets that nothing closes, each doubles the time of the library.
    + [bracket * 60 for bracket in ("(", "[", r"\{", r"\langle ", r"\sin(", "(x{)}", "[(", r"\lbrack ", "⌊")],
)
def test_a_formula_that_cannot_be_rendered_is_shown_as_it_was_written(formula: str) -> None:
    assert shape(whole(f"\\[{formula}\\]")).strip() == f"`{formula.strip()}`"


def test_text_behind_a_formula_on_its_line_goes_on() -> None:
    assert shape(whole("\\[\nx\n\\] where x\nis y")).replace("\n", "") == "[x]where xis y"


# Code.


@pytest.mark.parametrize("language", ["python", "c", "console", "html", "nothing", ""])
@pytest.mark.parametrize("code", ["", "\n\n  a\t\n", "x = '''a\nb'''\n", "\ufeffa <b> & 'c'\n" * 200])
def test_code_is_shown_to_the_letter(language: str, code: str) -> None:
    for html in (whole(f"```{language}\n{code}```"), growing(f"```{language}\n{code}")):
        text = re.sub(r"<[^>]*>", "", html).removesuffix("\n")
        assert text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == code


# Cost.


def operations(text: str, *, final: bool) -> int:
    """Function calls, Python's and C's, that rendering takes."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        render(text, final=final)
    finally:
        sys.setprofile(None)
    return calls


REPEATED = re.split(
    "·",
    "*a ·**a·a**b·_a_ ·`·`a``b```·<·$·$5 a·$x$ ·\\(·\\[ ·\\boxed{·\\begin{align}·> ·1. a\n·- a\n\n·- ·|a·&amp;·\\·~~a·"
    "[a](b) ·[a](·![a](http://b.c) ·# a\n·```\n·$$\n·$$a\n\n·\\[x\\]\n·***a ·word\n·a\n===\n·|a|\n|-|\n|b|\n\n·"
    "> a\nb\n·{·\\sqrt",
)


@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize("piece", REPEATED)
def test_twice_the_text_costs_twice_as_much(piece: str, final: bool) -> None:
    render(piece, final=final)  # what is made once is made
    once, twice = (operations(piece * (length // len(piece)), final=final) for length in (1000, 2000))
    assert twice < 2.5 * once + 1000


@pytest.mark.parametrize("piece", ["[", "![", "[*a _b "])
def test_brackets_that_nothing_closes_are_given_up(piece: str) -> None:
    text = piece * (20_000 // len(piece))
    assert operations(text, final=True) < 100 * len(text)


def test_nesting_ends() -> None:
    for text in ("> " * 1000 + "a", "- " * 1000 + "a", "".join(f"{'  ' * depth}- a\n" for depth in range(300))):
        assert max(whole(text).count("<blockquote>"), whole(text).count("<ul>")) <= 50
