"""docs/clients.md: every client has an example that runs, and a version that is the one installed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from tests.clients.conftest import CLIENTS, HERE, Client, Run
from tests.integration.conftest import ROOT

PAGE = (ROOT / "docs" / "clients.md").read_text()
EXAMPLE = re.compile(
    r"^\[What is checked\]\(\.\./tests/clients/programs/(\w+/\w+\.\w+)\)(?:(?!^#).)*?^```(py|js|sh)\n(.*?)^```",
    re.MULTILINE | re.DOTALL,
)
EXAMPLES = {path: (language, text) for path, language, text in EXAMPLE.findall(PAGE)}
ROW = re.compile(r"^\| \[[^]]+\]\(#[\w-]+\) \| ([^|]+) \|", re.MULTILINE)
ANSWER = "This is the simulated engine"  # to what has no marker in it
SAYS = {"aiperf": "Completed Requests", "guidellm": "", "instructor": "is_large=", "lm_eval": "exact_match"}


def test_every_client_has_an_example_and_a_row() -> None:
    assert set(EXAMPLES) == {f"{client.group}/{client.path.name}" for client in CLIENTS}
    assert len(ROW.findall(PAGE)) == len(CLIENTS)


@pytest.mark.parametrize("client", [client.param for client in CLIENTS])
def test_example_runs(run: Callable[..., Run], client: Client) -> None:
    language, text = EXAMPLES[f"{client.group}/{client.path.name}"]
    done = run(client.group, text, language, small="FRONT_URL" not in client.path.read_text())
    assert done.done.returncode == 0, done.done.stderr
    said = SAYS.get(client.path.stem, ANSWER)
    assert said in done.done.stdout
    # Where thinking is shown, the answer is not glued to it.
    assert said != ANSWER or re.search(f"^(Answer: )?{ANSWER}", done.done.stdout, re.MULTILINE)
    assert not done.elsewhere


def test_versions_are_those_of_the_locks() -> None:
    locks = "".join(path.read_text() for path in (HERE / "locks").glob("*.lock"))
    node = json.loads((HERE / "locks" / "package-lock.json").read_text())["packages"]
    for cell in ROW.findall(PAGE):
        for name, version in re.findall(r"(\S+) (\d[\w.]*)", cell):
            of_node = node.get(f"node_modules/{name}", {}).get("version")
            assert f"{name}=={version} " in locks or version == of_node, (name, version)
