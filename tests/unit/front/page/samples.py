r"""Formulas as models write them, and how each is built, as `shape` tells it."""

# ruff: noqa: RUF001 - the signs of formulas

from __future__ import annotations

import re
import unicodedata
from xml.etree.ElementTree import Element, fromstring

_SHORT = {"mfrac": "frac", "msqrt": "sqrt", "mroot": "root", "msub": "sub", "msup": "sup", "msubsup": "subsup"}
_SHORT |= {"munder": "under", "mover": "over", "munderover": "underover", "menclose": "box"}


def shape(html: str) -> str:
    """What stands in HTML, with its formulas in one line each.

    A fraction is `frac(a,b)`, rows of a table end with `;` and cells with `|`; a formula stands in `⟨…⟩`, one on lines
    of its own in `[…]`, and one that could not be rendered in backticks.
    """
    return _shape(fromstring("<x>" + html.replace("&nbsp;", " ").replace("<br>", "") + "</x>"))  # noqa: S314 - our own


def _shape(element: Element) -> str:
    tag = element.tag
    parts = [_shape(child) + (child.tail or "") for child in element]
    if tag in _SHORT:
        return f"{_SHORT[tag]}({','.join(parts)})" if tag != "menclose" else f"box({''.join(parts)})"
    inner = (element.text or "") + "".join(parts)
    if tag == "math":
        inner = f"[{inner}]" if element.get("display") == "block" else f"⟨{inner}⟩"
    if tag == "code":
        inner = f"`{inner}`"
    if tag in ("mi", "mo", "mn"):
        inner = re.sub(r"[\u2061-\u2064\ufe00]", "", unicodedata.normalize("NFKC", inner).replace("−", "-"))
    return inner + {"mtd": "|", "mtr": ";"}.get(tag, "")


SAMPLES: tuple[tuple[str, str], ...] = (
    # The model card's own question, and how the model answers it.
    (r"Solve \(x(\sin(x) + 2) = 0\)", "Solve ⟨x(sin(x)+2)=0⟩"),
    (r"\[ x \cdot (\sin(x) + 2) = 0 \]", "[x⋅(sin(x)+2)=0]"),
    (r"so the solution is $\boxed{x = 0}$.", "so the solution is ⟨box(x=0)⟩."),
    (r"$$\sin(x) + 2 = 0 \quad \Rightarrow \quad \sin(x) = -2$$", "[sin(x)+2=0⇒sin(x)=-2]"),
    (r"since $-1 \leq \sin(x) \leq 1$ for all $x \in \mathbb{R}$", "since ⟨-1≤sin(x)≤1⟩ for all ⟨x∈R⟩"),
    (r"The final answer is \boxed{42}", "The final answer is ⟨box(42)⟩"),
    (r"$\boxed{\dfrac{3}{4}}$", "⟨box(frac(3,4))⟩"),
    (r"\[ x = \frac{-b \pm \sqrt{b^2 - 4ac}}{2a} \]", "[x=frac(-b±sqrt(sup(b,2)-4ac),2a)]"),
    ("\\[\n\\begin{aligned}\n2x + 3y &= 7 \\\\\nx - y &= 1\n\\end{aligned}\n\\]", "[2x+3y|=7|;x-y|=1|;]"),
    ("\\begin{align*}\na &= b + c \\\\\n  &= d\n\\end{align*}", "[|a|=b+c||;||=d||;]"),
    (
        "$$\nf(x) = \\begin{cases} x^2 & \\text{if } x \\ge 0 \\\\ -x & \\text{otherwise} \\end{cases}\n$$",
        "[f(x)={sup(x,2)|if x≥0|;-x|otherwise|;]",
    ),
    (r"$A = \begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}$", "⟨A=(1|2|;3|4|;)⟩"),
    (r"\[ \begin{bmatrix} a & b \\ c & d \end{bmatrix}^{-1} \]", "[sup([a|b|;c|d|;],-1)]"),
    (r"$\sum_{k=1}^{n} k = \frac{n(n+1)}{2}$", "⟨underover(∑,k=1,n)k=frac(n(n+1),2)⟩"),
    (r"$$\int_0^\infty e^{-x^2}\,dx = \frac{\sqrt{\pi}}{2}$$", "[subsup(∫,0,∞)sup(e,-sup(x,2))dx=frac(sqrt(π),2)]"),
    (r"\[ \lim_{x \to 0} \frac{\sin x}{x} = 1 \]", "[under(lim,x→0)frac(sinx,x)=1]"),
    (r"$\sqrt[3]{27} = 3$", "⟨root(27,3)=3⟩"),
    (r"$\left( \frac{a}{b} \right)^2$", "⟨sup((frac(a,b)),2)⟩"),
    (r"$\binom{n}{k} = \frac{n!}{k!(n-k)!}$", "⟨(frac(n,k))=frac(n!,k!(n-k)!)⟩"),
    (r"$a \equiv b \pmod{m}$", "⟨a≡b(modm)⟩"),
    (r"the $n$th term $a_n$ is $2^{n-1}$", "the ⟨n⟩th term ⟨sub(a,n)⟩ is ⟨sup(2,n-1)⟩"),
    (r"\( 90^\circ = \frac{\pi}{2} \text{ rad} \)", "⟨sup(90,∘)=frac(π,2) rad⟩"),
    (r"$\hat{y} = \bar{x} + \vec{v}$", "⟨over(y,ˆ)=over(x, ̄)+over(v,⃗)⟩"),
    (r"$\text{Area} = \frac12 bh \text{ cm}^2$", "⟨Area=frac(1,2)bhsup( cm,2)⟩"),
    (r"$x \approx 3.14 \times 10^{-3}$ or $50\%$", "⟨x≈3.14×sup(10,-3)⟩ or ⟨50%⟩"),
    (r"$P(A \mid B) = \frac{P(A \cap B)}{P(B)}$", "⟨P(A∣B)=frac(P(A∩B),P(B))⟩"),
    ("$$\na &= 1 \\\\\nb &= 2\n$$", "[a|=1|;b|=2|;]"),
    (r"\[ E = mc^2 \tag{1} \]", "[|E=msup(c,2)|(1)|;]"),
    ("\\begin{equation}\n\\label{eq:1}\ny = \\log_2 8\n\\end{equation}", "[|y=sub(log,2)8||;]"),
    (r"\[ x = 5 \text{ when $y > 0$ and 50% of max_len} \]", "[x=5 when y>0 and 50% of max_len]"),
    ("```math\n\\frac{1}{2}\n```", "[frac(1,2)]"),
    (r"| $x$ | $|x|$ |", "| ⟨x⟩ | ⟨|x|⟩ |"),
    (
        r"$\operatorname{rank}(A) < \det B$ and $f'(x) = \frac{\partial f}{\partial x}$",
        "⟨rank(A)<detB⟩ and ⟨sup(f,′)(x)=frac(∂f,∂x)⟩",
    ),
    (r"\( \ce{H2O} \) is $\mathrm{H_2O}$", "⟨H2O⟩ is ⟨sub(H,2)O⟩"),
    (r"$$\underbrace{a + b}_{n} \overset{!}{=} \cancel{c}$$", "[under(under(a+b,⏟),n)over(=,!)box(c)]"),
)
