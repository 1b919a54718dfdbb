"""Writes deploy/chart/nemotron/README.md from the chart's values.yaml: `python docs/make_chart_readme.py`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHART = Path(__file__).parents[1] / "deploy" / "chart" / "nemotron"
PAGE = CHART / "README.md"
HEAD = """# Chart nemotron

Serves a package of Llama-3.1-Nemotron-Nano-8B-v1 on Kubernetes 1.29 and up, by the images of `deploy/image`. How to
install it, and what was run of it and what was not, is in [Kubernetes](../../../docs/deploy/kubernetes.md), and
`images.yaml`, which names your registry, under [images](../../../docs/deploy/kubernetes.md#images).

```
helm install nano deploy/chart/nemotron -f deploy/chart/nemotron/profiles/cpu-demo.yaml -f images.yaml
helm test nano --logs
```

| profile | |
|---|---|
{profiles}

## Values

Made from `values.yaml` by `make docs`; do not edit. A key that is not here is refused, and so is a value of another
kind.

| value | default | |
|---|---|---|
{values}
"""
_KEY = re.compile(r"( *)([\w./-]+):(?: (.*))?")
_DESCRIPTION = "# -- "


@dataclass(frozen=True)
class Row:
    """A value.

    Attributes:
        name: Its keys, with dots between.
        default: As values.yaml has it.
        text: What it is for.
    """

    name: str
    default: str
    text: str


def rows(text: str) -> list[Row]:
    """The values in a values.yaml.

    Raises:
        ValueError: one has no description.
    """
    return list(_rows(text.splitlines()))


def _rows(lines: list[str]) -> Iterator[Row]:
    parents: list[tuple[int, str]] = []
    described, position = "", 0
    while position < len(lines):
        line = lines[position]
        position += 1
        if line.lstrip().startswith(_DESCRIPTION):
            described = line.lstrip().removeprefix(_DESCRIPTION)
        key = _KEY.fullmatch(line)
        if key is None:
            continue
        depth, value = len(key[1]), key[3] or ""
        parents = [(indent, name) for indent, name in parents if indent < depth]
        name = ".".join([*(name for _, name in parents), key[2]])
        if not described and value:
            raise ValueError(f"{name} has no description: write one above it, as '{_DESCRIPTION}TEXT'.")
        if not described:
            parents.append((depth, key[2]))
            continue
        block = []
        while not value and position < len(lines) and lines[position].startswith(" " * (depth + 1)):
            block.append(lines[position].strip())
            position += 1
        yield Row(name, value or " ".join(block), described)
        described = ""


def page() -> str:
    """The page."""
    values = [
        f"| `{row.name}` | {f'`{row.default}`' if row.default else ''} | {row.text.replace('|', chr(92) + '|')} |"
        for row in rows((CHART / "values.yaml").read_text(encoding="utf-8"))
    ]
    profiles = [
        f"| `profiles/{file.name}` | {file.read_text(encoding='utf-8').splitlines()[0].removeprefix('# ')} |"
        for file in sorted((CHART / "profiles").glob("*.yaml"))
    ]
    return HEAD.format(profiles="\n".join(profiles), values="\n".join(values))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
