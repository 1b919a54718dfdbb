"""What the simulated engine says in the tests of the page: a marker in the prompt chooses.

The first that fits the whole prompt is played, so a later marker of a conversation has to stand above an earlier one.
"""

from __future__ import annotations

from typing import Any

from tests.unit.front.page.hostile import HOSTILE

MARKDOWN = r"""## Solving $x(\sin x + 2) = 0$

A product is zero exactly when **one of its factors** is zero:

1. The first factor gives $x = 0$.
2. The second gives $\sin x = -2$, which no real number satisfies.

$$
\boxed{x = 0}
$$

The same with `sympy`:

```python
from sympy import S, Symbol, sin, solveset

x = Symbol("x", real=True)
print(solveset(x * (sin(x) + 2), x, domain=S.Reals))  # the only real solution is zero, and this line is long
```

| case | equation | real roots |
|---|---|---:|
| first factor | $x = 0$ | 1 |
| second factor | $\sin x = -2$ | 0 |

> Over the complex numbers, $\sin z = -2$ does have solutions.

See [its documentation](https://docs.sympy.org/). That is all.
"""
THINKING = "A product is zero when one of its factors is. $\\sin x = -2$ has no real solution."
CALL = '<TOOLCALL>[{"name": "get_weather", "arguments": {"city": "Bangkok"}}]</TOOLCALL>'


def _counted(sentence: str, between: str = " ") -> str:
    """Some thousand times a sentence, numbered: one that repeats itself would be cut off."""
    return between.join(sentence.format(number) for number in range(5000))


SCRIPTS: list[dict[str, Any]] = [
    # The last one first: the conversation that asks for one has asked for those before.
    *(
        {"match": rf"\[hostile {number}\]", "thinking": text, "answer": text, "ttft_ms": 0, "token_ms": 0.2}
        for number, text in reversed(list(enumerate(HOSTILE)))
    ),
    {"match": r"\[markdown\]", "thinking": THINKING, "answer": MARKDOWN},
    # As long as the test wants: it is stopped, or its thinking is ended.
    {
        "match": r"\[endless thinking\]",
        "thinking": _counted("I look at case {}."),
        "answer": "That is enough thinking.",
    },
    {"match": r"\[endless\]", "answer": _counted("And on it goes to {}.")},
    {"match": r"\[endless paragraphs\]", "answer": _counted("Paragraph {} of the answer.", "\n\n")},
    {"match": r"\[fail\]", "answer": _counted("This answer breaks after {}."), "fail_after_tokens": 200},
    {"match": r"(?s)\[tool\].*<(TOOL_RESPONSE|tool_response)>", "answer": "It is 31 °C in Bangkok."},
    {"match": r"\[tool\]", "answer": CALL},
    # Cut off after 16 tokens, in the middle of bold text, it goes on from there.
    {"match": r"(?s)\[seam\].*is \*\*not", "answer": " one** paragraph.\n\nIt is two."},
    {"match": r"\[seam\]", "answer": "This text is **not the rest."},
    {"match": r"\[second\]", "answer": "The second answer."},
    {"match": r"\[paragraphs\]", "answer": "\n\n".join(f"Paragraph {i} of the answer." for i in range(60))},
    {"match": "", "thinking": "There is not much to think about.", "answer": "The first answer."},
]
