"""Helm's part of the tests, run in the environment that has Helm: requests on stdin, an answer for each on stdout.

A request is a JSON object: `do` is render, lint, package or read; `chart`, `values`, `name` and `namespace` are Helm's.
An answer is what was made, or {"error": what Helm said}.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import helm_python
import yaml


class _Strict(yaml.SafeLoader):
    """Refuses an object that has a key twice, of which Kubernetes' own readers take one without a word."""


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    if twice := {key for key in keys if keys.count(key) > 1}:
        raise yaml.YAMLError(f"twice in one object: {sorted(twice)}, {node.start_mark}")
    return dict(loader.construct_pairs(node, deep=True))


_Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _render(request: dict[str, Any]) -> dict[str, Any]:
    chart = helm_python.Chart.load(request["chart"])
    files = chart.render(request["values"], name=request["name"], namespace=request["namespace"], is_install=True)
    manifests = [text for name, text in files.items() if not name.endswith("NOTES.txt")]
    objects = [one for text in manifests for one in yaml.load_all(text, _Strict) if one]
    notes = [text for name, text in files.items() if name.endswith("NOTES.txt")]
    return {"objects": objects, "notes": "".join(notes)}


def _lint(request: dict[str, Any]) -> dict[str, Any]:
    return helm_python.lint(request["chart"], request["values"], strict=True, namespace=request["namespace"])


def _package(request: dict[str, Any]) -> dict[str, Any]:
    archive = helm_python.package(request["chart"], destination=request["destination"])
    chart = helm_python.Chart.load(archive)
    return {"archive": archive, "files": sorted(one["name"] for one in chart.files)}


def _read(request: dict[str, Any]) -> dict[str, Any]:
    return helm_python.values_from_yaml(Path(request["file"]).read_text(encoding="utf-8"))


_DOERS = {"render": _render, "lint": _lint, "package": _package, "read": _read}


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        return _DOERS[request["do"]](request)
    except (helm_python.HelmError, yaml.YAMLError) as error:
        return {"error": str(error)}


json.dump([_answer(request) for request in json.load(sys.stdin)], sys.stdout)
