"""The installed library of a package's engine: its release, and for TensorRT-LLM the interface that the adapter uses.

`recorded_llm_api.json` holds the names and types that the adapter to TensorRT-LLM uses, and nothing else; the
sampling options that it hands on by name are in the contract.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import msgspec

from nemotron_serving.contract import LIBRARY_OPTIONS
from nemotron_serving.engine.tensorrt_llm.files import IMAGE, TENSORRT_LLM, Flow, check_release
from nemotron_serving.engine.tensorrt_llm.library import clear_job_variables
from nemotron_serving.launcher.errors import SetupError
from nemotron_serving.package import EngineSpec, check_engine_version

_SPELLINGS = {"NoneType": "None", "List": "list", "Dict": "dict"}
RECORDED_PATH = Path(__file__).with_name("recorded_llm_api.json")
_DISTRIBUTIONS = {"openvino": "openvino-genai", "tensorrt_llm": "tensorrt-llm"}


class RecordedObject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A class or function of TensorRT-LLM.

    Attributes:
        name: For people to read.
        at: Module and qualified name, with a colon between.
        read: What its members are: parameters of a signature, fields of a dataclass or pydantic model, attributes.
        members: Recorded type by name.
        flow: The flow that alone needs it; None if both do.
    """

    name: str
    at: str
    read: Literal["signature", "fields", "attributes"]
    members: dict[str, str]
    flow: Flow | None = None


class RecordedApi(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of recorded_llm_api.json."""

    release: str
    objects: list[RecordedObject]


@dataclasses.dataclass(frozen=True)
class Difference:
    """What the installed object has otherwise. `breaks`: the adapter cannot work with it; else it wants a look."""

    text: str
    breaks: bool


def recorded_api() -> RecordedApi:
    """What was recorded, and what the contract says is handed on by name."""
    recorded = msgspec.json.decode(RECORDED_PATH.read_bytes(), type=RecordedApi)
    parameters = next(one for one in recorded.objects if one.name == "SamplingParams")
    parameters.members.update((option.name, "Optional[float]") for option in LIBRARY_OPTIONS)
    return recorded


def installed_release() -> str:
    """Version of the installed TensorRT-LLM.

    Raises:
        SetupError: it cannot be imported.
    """
    clear_job_variables()
    try:
        version: str = importlib.import_module("tensorrt_llm").__version__
    except ImportError as error:
        raise SetupError(
            f"tensorrt_llm cannot be imported: {error}. Run this in {IMAGE} on a machine with a GPU."
        ) from error
    return version


def differences(recorded: RecordedObject) -> list[Difference]:
    """What the installed object lacks, or has of another type."""
    try:
        found = _members(recorded, _find(recorded.at))
    except (ImportError, AttributeError, ValueError) as error:
        return [Difference(f"is not there: {error}", breaks=True)]
    return [
        difference for name, kind in recorded.members.items() if (difference := _compare(name, kind, found)) is not None
    ]


def canonical_type(text: str) -> str:
    """A type annotation without what makes two spellings of one type differ.

    One that is no expression, as some values of an enum are shown, stays as it is.
    """
    try:
        return _canonical(ast.parse(text, mode="eval").body)
    except SyntaxError:
        return text


def _compare(name: str, kind: str, found: dict[str, Any]) -> Difference | None:
    if name not in found:
        return Difference(f"{name} is not there, recorded is {kind or 'a method'}", breaks=True)
    if (annotation := found[name]) is None:
        return None
    installed = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    if canonical_type(installed) == canonical_type(kind):
        return None
    return Difference(f"{name} is {installed}, recorded is {kind}", breaks=False)


def _find(at: str) -> Any:
    module, _, name = at.partition(":")
    found = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _members(recorded: RecordedObject, found: Any) -> dict[str, Any]:
    """Annotations by name, None for those without."""
    if recorded.read == "signature":
        parameters = inspect.signature(found).parameters.values()
        return {one.name: None if one.annotation is one.empty else one.annotation for one in parameters}
    if recorded.read == "fields" and dataclasses.is_dataclass(found):
        return {field.name: field.type for field in dataclasses.fields(found)}
    if recorded.read == "fields":
        return {name: field.annotation for name, field in found.model_fields.items()}
    return dict.fromkeys([*dir(found), *_assigned(found)])


def _assigned(found: type) -> Iterator[str]:
    # Attributes of the object that its classes' __init__ set are visible in that function's code alone.
    for base in inspect.getmro(found):
        code = getattr(base.__dict__.get("__init__"), "__code__", None)
        yield from code.co_names if code else ()


def _canonical(node: ast.expr) -> str:
    if isinstance(node, ast.Call):  # ForwardRef('X')
        return _canonical(node.args[0])
    if isinstance(node, ast.Attribute | ast.Name):
        name = node.attr if isinstance(node, ast.Attribute) else node.id
        return _SPELLINGS.get(name, name)
    if isinstance(node, ast.Constant):
        return canonical_type(node.value) if isinstance(node.value, str) else str(node.value)
    if isinstance(node, ast.BinOp):
        return _union([node.left, node.right])
    if isinstance(node, ast.Subscript):
        return _subscript(node)
    return ast.unparse(node)


def _subscript(node: ast.Subscript) -> str:
    name = _canonical(node.value)
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if name == "Literal":
        return f"Literal[{', '.join(sorted(map(ast.unparse, parts)))}]"
    if name == "Optional":
        return _union([*parts, ast.Constant(None)])
    if name == "Union":
        return _union(parts)
    if name == "Annotated":
        return _canonical(parts[0])
    return f"{name}[{', '.join(map(_canonical, parts))}]"


def _union(parts: list[ast.expr]) -> str:
    members = {member for part in parts for member in _canonical(part).removeprefix("Union:").split("|")}
    return f"Union:{'|'.join(sorted(members))}"


def check_engine_library(spec: EngineSpec, engine_path: Path) -> str:
    """Refuse a package whose engine is not installed, or in another release.

    Args:
        spec: The package's engine.
        engine_path: Its files, which say what release a `tensorrt_llm` package needs.

    Returns:
        What is installed, for people to read.

    Raises:
        SetupError: the engine's library is not installed.
        PackageError: it is another release.
    """
    distribution = _DISTRIBUTIONS.get(spec.kind)
    if distribution is None:
        return f"none needed for {spec.kind}"
    try:
        installed = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        advice = f"Install it with: pip install '{distribution}=={spec.version}'."
        if spec.kind == "tensorrt_llm":
            advice = f"Serve in {IMAGE}, which has {TENSORRT_LLM}."
        raise SetupError(f"The package needs {distribution} {spec.version}, which is not installed. {advice}") from None
    if spec.kind == "tensorrt_llm":
        check_release(spec, engine_path, installed)
    else:
        check_engine_version(spec, installed)
    return f"{distribution} {installed}"
