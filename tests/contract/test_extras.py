"""A command whose libraries are not installed says in one line which extra has them."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest

from tests.contract.test_imports import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

WITHOUT = """
import sys
from importlib import import_module


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)


sys.meta_path.insert(0, Missing())
sys.argv = {argv!r}
sys.exit(getattr(import_module({module!r}), {function!r})())
"""


def distributions(requirements: list[str]) -> set[str]:
    return {normal(re.split(r"[^\w.-]", one)[0]) for one in requirements}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def modules_of_extras() -> set[str]:
    extras = [one for more in PROJECT["optional-dependencies"].values() for one in more]
    only_extras = distributions(extras) - distributions(PROJECT["dependencies"])
    return {
        module for module, names in packages_distributions().items() if only_extras & {normal(name) for name in names}
    }


@pytest.mark.parametrize(
    ("command", "arguments", "extra"),
    [
        ("nemotron-serve", ["packages/demo"], "server"),
        ("nemotron-front", [], "front"),
        ("nemotron-build", ["plan", "checkpoint", "--profile", "h100-fp8"], "build"),
        ("nemotron-bench", ["scenarios"], "loadtest"),
        ("nemotron-eval", ["run", "http://localhost:9000/v1"], "evals"),
    ],
)
def test_a_command_without_its_extra_says_what_to_install(command: str, arguments: list[str], extra: str) -> None:
    module, _, function = PROJECT["scripts"][command].partition(":")
    program = WITHOUT.format(blocked=modules_of_extras(), argv=[command, *arguments], module=module, function=function)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert re.fullmatch(rf"{command}: No module named .*pip install '\.\[{extra}[],].*\n", done.stderr)
