"""The process that renders: texts come in on standard input, and go out on standard output as JSON of `Rendered`.

Before a text stand its length in bytes and whether it is final; before the JSON stands its length, 0 where rendering
failed.
"""

from __future__ import annotations

import os
import sys

import msgspec

from nemotron_front.page.markdown import render
from nemotron_front.page.rendering import REPLY, REQUEST


def main() -> None:
    """Render until the input ends."""
    os.nice(5)  # streams come first
    while head := sys.stdin.buffer.read(REQUEST.size):
        size, final = REQUEST.unpack(head)
        text = sys.stdin.buffer.read(size).decode("utf-8", "surrogatepass")
        try:
            told = msgspec.json.encode(render(text, final=final))
        except Exception:  # a fault of a library: the page shows the text as it is
            told = b""
        sys.stdout.buffer.write(REPLY.pack(len(told)) + told)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
