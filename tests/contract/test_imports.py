"""Who may import whom, and what stays out of a process that does not need it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = (
    "nemotron_serving",
    "nemotron_build",
    "nemotron_client",
    "nemotron_loadtest",
    "nemotron_front",
    "nemotron_evals",
)
HEAVY = ["openvino", "openvino_genai", "tokenizers", "torch", "transformers"]
BUILD_MAY_TAKE = (
    # What a package is, how prompts are written and outputs are read, and what lies in its engine's directory:
    "nemotron_serving.package",
    "nemotron_serving.chat",
    "nemotron_serving.output.tags",
    "nemotron_serving.output.detokenizer.byte_of_character",
    "nemotron_serving.engine.openvino.cpu",
    "nemotron_serving.engine.simulated",
    "nemotron_serving.engine.tensorrt_llm.files",
    # What both commands say and look for in the same way:
    "nemotron_serving.cgroups.memory_limit",
    "nemotron_serving.command_line",
    "nemotron_serving.errors",
    "nemotron_serving.launcher.triton_files.default_repository",
    "nemotron_serving.paths",
    "nemotron_serving.__version__",
)
EVALS_MAY_TAKE = (
    # Answers are read by the server's own rules, and costs are what the planner says:
    "nemotron_client",
    "nemotron_serving.command_line",
    "nemotron_serving.errors.did_you_mean",
    "nemotron_serving.output",
    "nemotron_build.checkpoint.shape",
    "nemotron_build.errors.BuildError",
    "nemotron_build.plan",
    "nemotron_build.profiles",
)
MODELS_MAY_TAKE = ("nemotron_serving", "numpy", "msgspec", "triton_python_backend_utils")


def imported(source: str) -> Iterator[str]:
    """Dotted names that a module takes from elsewhere; of a package that it imports whole, the attributes it uses."""
    tree = ast.parse(source)
    whole: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name in ROOMS:
                    whole[alias.asname or alias.name] = alias.name
                else:
                    yield alias.name
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in whole:
            yield f"{whole[node.value.id]}.{node.attr}"


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def taking_of_ours(name: str, *rooms: str) -> bool:
    """Whether a name is not of this project, or of one of these rooms."""
    return within(name, *rooms) or not within(name, *ROOMS)


def client_rule(name: str) -> bool:
    return taking_of_ours(name, "nemotron_client")


def evals_rule(name: str) -> bool:
    return taking_of_ours(name, "nemotron_evals", *EVALS_MAY_TAKE)


def front_rule(name: str) -> bool:
    return taking_of_ours(name, "nemotron_front", "nemotron_client")


def build_rule(name: str) -> bool:
    return taking_of_ours(name, "nemotron_build", *BUILD_MAY_TAKE)


def serving_rule(name: str) -> bool:
    return taking_of_ours(name, "nemotron_serving")


def loadtest_rule(name: str) -> bool:
    return taking_of_ours(name, "nemotron_loadtest", "nemotron_client")


def models_rule(name: str) -> bool:
    return within(name, *MODELS_MAY_TAKE)


RULES: dict[str, Callable[[str], bool]] = {
    "client": client_rule,
    "build": build_rule,
    "evals": evals_rule,
    "front": front_rule,
    "loadtest": loadtest_rule,
    "serving": serving_rule,
    "model_repository": models_rule,
}


@pytest.mark.parametrize("room", RULES)
def test_each_room_imports_only_what_it_may(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    offences = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in files
        for name in imported(path.read_text())
        if not RULES[room](name)
    ]
    assert offences == []


@pytest.mark.parametrize(
    ("room", "source", "allowed"),
    [
        ("client", "import tritonclient.grpc", True),
        ("client", "def f():\n    from nemotron_serving import contract", False),
        ("client", "import nemotron_build.cli", False),
        ("build", "from nemotron_serving.package import Package", True),
        ("build", "from nemotron_serving.engine.simulated import Script", True),
        ("build", "from nemotron_serving.engine import open_engine", False),
        ("build", "from nemotron_serving import package", True),
        ("build", "from nemotron_serving import contract", False),
        ("build", "import nemotron_serving\nnemotron_serving.__version__", True),
        ("build", "import nemotron_serving as s\ns.engine", False),
        ("build", "import nemotron_serving.chat.formats", True),
        ("build", "from nemotron_serving.output import assembler", False),
        ("build", "from nemotron_client import Client", False),
        ("evals", "from nemotron_serving.output.reasoning import ReasoningSplitter", True),
        ("evals", "from nemotron_serving import contract", False),
        ("evals", "from nemotron_loadtest import metrics", False),
        ("loadtest", "from nemotron_evals import statistics", False),
        ("front", "from nemotron_client import AsyncClient", True),
        ("front", "from nemotron_serving import contract", False),
        ("serving", "from nemotron_build.errors import BuildError", False),
        ("serving", "import nemotron_client\nnemotron_client.Client", False),
        ("model_repository", "import numpy as np", True),
        ("model_repository", "import triton_python_backend_utils as pb_utils", True),
        ("model_repository", "from nemotron_serving.stages.triton import open_package", True),
        ("model_repository", "import openvino", False),
        ("model_repository", "from numpyish import x", False),
    ],
)
def test_the_rules_themselves(room: str, source: str, allowed: bool) -> None:
    assert all(map(RULES[room], imported(source))) is allowed


@pytest.mark.parametrize(
    ("module", "only_in"),
    [
        ("openvino", {"engine/openvino/library.py"}),
        ("openvino_genai", {"engine/openvino/library.py"}),
        ("triton_python_backend_utils", {"stages/triton.py", "stages/generate.py", "stages/ensemble_call.py"}),
        ("tokenizers", {"chat/tokenizer.py", "engine/simulated.py"}),
        ("tensorrt_llm", {"engine/tensorrt_llm/library.py"}),
        ("torch", {"engine/tensorrt_llm/library.py"}),
        ("transformers", {"engine/tensorrt_llm/library.py"}),
    ],
)
def test_in_serving_one_place_knows_each_foreign_library(module: str, only_in: set[str]) -> None:
    serving = ROOT / "serving" / "nemotron_serving"
    found = {
        path.relative_to(serving).as_posix()
        for path in serving.rglob("*.py")
        if any(within(name, module) for name in imported(path.read_text()))
        and "launcher" not in path.relative_to(serving).parts
    }
    assert found == only_in


def loaded_by(code: str, *modules: str) -> list[str]:
    """Which of these modules a fresh interpreter has loaded after running the code."""
    report = f"import sys\n{code}\nprint('loaded:', *[name for name in {modules!r} if name in sys.modules])"
    output = subprocess.run(
        [sys.executable, "-c", report], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    return output.splitlines()[-1].split()[1:]


def test_the_client_loads_neither_heavy_modules_nor_the_other_rooms() -> None:
    others = ["nemotron_serving", "nemotron_build", "msgspec"]
    when_needed = ["pydantic", "docstring_parser", "httpx2"]
    assert loaded_by("import nemotron_client", *HEAVY, *others, *when_needed) == []


def test_a_client_that_only_chats_loads_nothing_for_types() -> None:
    code = (
        "from nemotron_client import Client\n"
        "from nemotron_client.testing import MockTransport\n"
        "client = Client(transport=MockTransport(['Hi']))\n"
        "form = {'type': 'object'}\n"
        "client.chat([{'role': 'user', 'content': 'Hi'}], tools=[{'name': 'f'}], response_format=form)"
    )
    assert loaded_by(code, "nemotron_client", "pydantic", "docstring_parser") == ["nemotron_client"]


@pytest.mark.parametrize("arguments", [["--help"], ["check", "--help"]])
def test_asking_nemotron_serve_for_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "from nemotron_serving.launcher.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit as end:\n    assert not end.code, end.code"
    )
    assert loaded_by(code, "nemotron_serving", *HEAVY) == ["nemotron_serving"]
