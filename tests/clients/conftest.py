"""Other people's clients of OpenAI's and Anthropic's APIs, unchanged, against the front and a real server.

`make setup-clients` installs them, an environment for each group whose pins agree, and `make test-clients` runs this
directory. Each directory of programs/ has the programs of one group; each program asks with one client what its users
ask, and checks what that client made of the answers.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.conftest import (
    ROOT,
    Front,
    demo_front,
    demo_package,
    demo_server,
    front,
    roomy_server,
    simulated_package,
)

__all__ = ["demo_front", "demo_package", "demo_server", "front", "roomy_server", "simulated_package"]  # fixtures

HERE = Path(__file__).parent
PROGRAMS = HERE / "programs"
NODE_PROGRAMS = "node"
TIME_LIMIT_S = 240
COMMANDS = {
    "py": ["python", "-P", "-"],  # without the program's directory on the path, for it has the name of its client
    "js": ["node", "--input-type=module", "-"],
    "sh": ["bash", "-e"],
}
MODEL, SMALL_MODEL = "nvidia/llama-3.1-nemotron-nano-8b-v1", "SmolLM2-135M-Instruct"
BY_HAND = ("evals", "load")


@dataclass(frozen=True)
class Client:
    """A program of a client.

    Attributes:
        path: Below programs/.
    """

    path: Path

    @property
    def group(self) -> str:
        """The group whose environment runs it."""
        return self.path.parent.name

    @property
    def param(self) -> object:
        """For pytest.mark.parametrize."""
        marks = [pytest.mark.by_hand] if self.group in BY_HAND else []
        return pytest.param(self, id=f"{self.group}-{self.path.stem}", marks=marks)


CLIENTS = [
    Client(path)
    for path in sorted(PROGRAMS.glob("*/*.*"))
    if path.suffix in (".py", ".mjs") and path.stem != "checking"
]


@dataclass(frozen=True)
class Run:
    """What a program wrote, and which other hosts it asked for.

    Attributes:
        elsewhere: Addresses that are not on this machine, which it was refused.
    """

    done: subprocess.CompletedProcess[str]
    elsewhere: Sequence[str]


@pytest.fixture
def run(front: Front, demo_front: Front, demo_package: Path, tmp_path: Path) -> Callable[..., Run]:
    """Runs a program's text in a group's environment, in a directory of its own.

    Text of docs/clients.md asks the simulated engine at the address that stands there, or with `small` the small model.
    """

    def run_program(group: str, text: str, language: str, small: bool = False) -> Run:
        environment = ROOT / f".venv-clients-{group}"
        elsewhere = tmp_path / "elsewhere.txt"
        variables = {
            "STARTED_BY_CI_RUN": os.environ.get("STARTED_BY_CI_RUN", ""),  # for .ci/run to know what is left of it
            "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "PYTHONPATH": str(PROGRAMS),
            "PYTHONUTF8": "1",
            "FRONT_URL": front.url,
            "MODEL_URL": demo_front.url,
            "SMALL_MODEL": SMALL_MODEL,
            "HF_HUB_CACHE": str(tmp_path / "hub"),
            "ELSEWHERE": str(elsewhere),
        }
        _lay_tokenizer(demo_package, tmp_path)
        if group == NODE_PROGRAMS:
            (tmp_path / "node_modules").symlink_to(environment / "node_modules")
            (tmp_path / "checking.mjs").symlink_to(PROGRAMS / group / "checking.mjs")
        text = text.replace("http://127.0.0.1:9000", demo_front.url if small else front.url)
        done = subprocess.run(
            COMMANDS[language],
            input=text.replace(MODEL, SMALL_MODEL) if small else text,
            cwd=tmp_path,
            env=variables,
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_S,
            check=False,
        )
        return Run(done, elsewhere.read_text().splitlines() if elsewhere.exists() else [])

    return run_program


def _lay_tokenizer(package: Path, directory: Path) -> None:
    """The package's, as Hugging Face's are kept: in `tokenizer`, and as `local/small` in the hub's cache."""
    tokenizer, cache, revision = directory / "tokenizer", directory / "hub" / "models--local--small", "0" * 40
    tokenizer.mkdir()
    shutil.copy(package / "tokenizer.json", tokenizer)
    (tokenizer / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    shutil.copytree(tokenizer, cache / "snapshots" / revision)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(revision)


def outcomes(run: Run) -> dict[str, str | None]:
    """The checks of a program by name, with how they failed."""
    assert run.done.returncode == 0, run.done.stderr + run.done.stdout
    found: dict[str, str | None] = json.loads(run.done.stdout.strip().splitlines()[-1])
    return found
