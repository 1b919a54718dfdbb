"""All that the TensorRT-LLM adapter uses is in llm_api.json, with the type that is recorded there."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nemotron_serving.contract import LIBRARY_OPTIONS
from nemotron_serving.launcher.engine_library import RecordedObject, recorded_api

ENGINE = Path(__file__).parents[2] / "serving" / "nemotron_serving" / "engine" / "tensorrt_llm"
FACTS: dict[str, Any] = json.loads(Path(__file__).with_name("llm_api.json").read_text())
RECORDED = {one.name: one for one in recorded_api().objects}
CLASSES = {  # by the attribute of `Library` that holds them
    "sampling_params": ("SamplingParams",),
    "guided_decoding_params": ("GuidedDecodingParams",),
    "kv_cache_config": ("KvCacheConfig",),
    "cuda_graph_config": ("CudaGraphConfig",),
}
CONSTRUCTORS = {"_pytorch_llm": ("LLM", "TorchLlmArgs"), "_engine_llm": ("_tensorrt_engine.LLM", "TrtLlmArgs")}


def trees() -> Iterator[ast.AST]:
    files = sorted(ENGINE.glob("*.py"))
    assert len(files) > 3
    for path in files:
        yield ast.parse(path.read_text())


def calls(tree: ast.AST, owner: str, method: str) -> Iterator[ast.Call]:
    """Calls of `owner.method(...)`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == f"{owner}.{method}":
            yield node


def keywords(found: list[ast.Call]) -> set[str]:
    """Names that calls pass; there are some, and nothing is passed in another way than the contract's by name."""
    assert found
    names: set[str] = set()
    for call in found:
        assert call.args == [], ast.unparse(call)
        for keyword in call.keywords:
            if keyword.arg is None:
                assert ast.unparse(keyword.value) == "sampling.handed_on", ast.unparse(call)
            names |= {keyword.arg} if keyword.arg else {option.name for option in LIBRARY_OPTIONS}
    return names


def members(*names: str) -> set[str]:
    return {member for name in names for member in RECORDED[name].members}


def attributes(tree: ast.AST, *owners: str) -> set[str]:
    return {
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node.value) in owners
    }


def fact_types(name: str) -> dict[str, str]:
    """Types by name of an object in llm_api.json."""
    if name == "RequestOutput":
        methods = {key: text for keys, text in FACTS[name]["methods"].items() for key in keys.split("/")}
        fields: dict[str, str] = FACTS[name]["fields"]
        return fields | methods
    bases = FACTS[name].get("bases", []) if name.endswith("LlmArgs") else []
    return {field["name"]: field["type"] for one in (name, *bases) for field in FACTS[one].get("params", [])}


@pytest.mark.parametrize("one", RECORDED.values(), ids=RECORDED)
def test_what_is_recorded_for_the_check_is_in_the_facts(one: RecordedObject) -> None:
    types = fact_types(one.name)
    for name, kind in one.members.items():
        assert types[name] == kind or types[name].startswith((f"{kind} (", f"{kind},")) or not kind, name


@pytest.mark.parametrize("attribute", CLASSES)
def test_the_parameters_that_are_made_have_the_recorded_fields(attribute: str) -> None:
    found = [call for tree in trees() for call in calls(tree, "library", attribute)]
    assert keywords(found) == members(*CLASSES[attribute])


@pytest.mark.parametrize("function", CONSTRUCTORS)
def test_the_llms_are_constructed_with_the_recorded_arguments(function: str) -> None:
    bodies = [
        node
        for tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == function
    ]
    names = keywords([call for body in bodies for call in calls(body, "library", "llm")])
    constructor, arguments = CONSTRUCTORS[function]
    assert names == members(constructor, arguments)
    assert members(arguments) <= set(FACTS[constructor]["allowed_kwargs"])


def test_the_llms_methods_are_called_as_recorded() -> None:
    used = {name for tree in trees() for name in attributes(tree, "self._llm")}
    assert {f"LLM.{name}" for name in used} == {name for name in RECORDED if name.startswith("LLM.")}
    for name in used:
        found = [call for tree in trees() for call in calls(tree, "self._llm", name)]
        assert keywords(found) == members(f"LLM.{name}")


def test_the_results_are_read_by_recorded_names() -> None:
    used = {name for tree in trees() for name in attributes(tree, "output", "run.result")}
    assert used | {"__aiter__", "__anext__"} == members("RequestOutput")
    assert {name for tree in trees() for name in attributes(tree, "completion")} == members("CompletionOutput")


def test_the_names_that_are_imported_are_recorded() -> None:
    tree = ast.parse((ENGINE / "library.py").read_text())
    imported = {
        f"{node.module}:{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tensorrt_llm"
        for alias in node.names
    } - {"tensorrt_llm:llmapi"}
    imported |= {f"tensorrt_llm:{name}" for name in attributes(tree, "tensorrt_llm")} - {"tensorrt_llm:__version__"}
    imported |= {f"tensorrt_llm.llmapi:{name}" for name in attributes(tree, "llmapi")}
    assert imported <= {one.at for one in RECORDED.values()}
    assert len(imported) == 7


def test_statistics_are_read_by_recorded_keys() -> None:
    tree = ast.parse((ENGINE / "results.py").read_text())
    used = {
        str(node.args[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith(".get")
        and isinstance(node.args[0], ast.Constant)
    }
    assert used == {"numActiveRequests", "kvCacheStats", "maxNumBlocks", "usedNumBlocks"}
    assert used <= {part for key in FACTS["iteration_stats_keys"]["keys"] for part in key.split(".")}


def test_finish_reasons_are_those_recorded() -> None:
    recorded = {reason for reason, _ in FACTS["finish_reason_map"]["values"].values()}
    assert {"stop", "length"} <= recorded
