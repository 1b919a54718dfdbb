"""The table "Where is the rule that …" of docs/architecture.md: every door that it names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
ROW = re.compile(r"^\| ([^|]+) \| `([^`|]+)` \| `([^`|]+)` \|$", re.MULTILINE)
DOORS = ROW.findall(PAGE.read_text().partition("## Where is the rule that")[2])


def test_the_table_has_twenty_rows_and_no_two_for_one_rule() -> None:
    assert len(DOORS) >= 20
    assert len({rule for rule, _, _ in DOORS}) == len(DOORS)


@pytest.mark.parametrize(("path", "name"), [pytest.param(path, name, id=rule) for rule, path, name in DOORS])
def test_the_file_is_there_and_defines_the_name(path: str, name: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".py"):
        assert name in defined_names(ast.parse(text))
    else:
        assert re.search(rf"\b{name}\b", text)


def defined_names(tree: ast.Module | ast.ClassDef, within: str = "") -> set[str]:
    """What a module or class defines by itself, members as `Class.member`."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(within + node.name)
        if isinstance(node, ast.ClassDef):
            names |= defined_names(node, f"{within}{node.name}.")
        elif isinstance(node, ast.Assign):
            names |= {within + target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(within + node.target.id)
    return names
