"""What the chart makes of values: releases, rendered by Helm as `helm install` would, and the objects in them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.deploy.tools import DEPLOY, tool

CHART = DEPLOY / "chart" / "nemotron"
PROGRAMS = Path(__file__).parent / "programs"
_PATIENCE_S = 240

Values = Mapping[str, Any]
Object = dict[str, Any]


class RefusedError(Exception):
    """Helm did not render: a value is wrong, or a template."""


@dataclass(frozen=True)
class Release:
    """A chart with values.

    Attributes:
        name: Of the release.
        namespace: Where it would be installed.
        objects: What it makes, hooks included.
        notes: What Helm tells whoever installed it.
    """

    name: str
    namespace: str
    objects: Sequence[Object]
    notes: str

    def all(self, kind: str) -> list[Object]:
        """Objects of a kind."""
        return [one for one in self.objects if one["kind"] == kind]

    def one(self, kind: str, end_of_name: str = "") -> Object:
        """The one object of a kind, or the one among them whose name ends so."""
        found = [one for one in self.all(kind) if one["metadata"]["name"].endswith(end_of_name)]
        assert len(found) == 1, f"{len(found)} objects of kind {kind} with a name that ends in {end_of_name!r}"
        return found[0]

    def server(self) -> Object:
        """The Deployment of nemotron-serve."""
        return next(one for one in self.all("Deployment") if component(one) == "server")

    def container(self) -> dict[str, Any]:
        """Its one container."""
        containers: list[dict[str, Any]] = self.server()["spec"]["template"]["spec"]["containers"]
        assert [one["name"] for one in containers] == ["nemotron-serve"]
        return containers[0]

    def manifest(self, *kinds: str) -> str:
        """Its objects, or those of some kinds, as a file for kubectl or `podman kube play`: JSON is YAML."""
        chosen = [one for one in self.objects if not kinds or one["kind"] in kinds]
        return "".join(f"---\n{json.dumps(one, indent=2)}\n" for one in chosen)


def render(values: Values, *, name: str = "nano", namespace: str = "models", chart: Path = CHART) -> Release:
    """The release of a chart with these values over its own.

    Raises:
        RefusedError: Helm refuses it, with its reason.
    """
    return render_all({name: values}, namespace=namespace, chart=chart, each_as=None)[name]


def render_all(
    cases: Mapping[str, Values], *, namespace: str = "models", chart: Path = CHART, each_as: str | None = "nano"
) -> dict[str, Release]:
    """A release for each case, all by one start of Helm.

    Args:
        cases: Values by the case's name.
        namespace: Where they would be installed.
        chart: The chart's directory.
        each_as: Name of each release; None takes the cases' names.

    Raises:
        RefusedError: Helm refuses one, with its reason.
    """
    wanted = [(each_as or name, values) for name, values in cases.items()]
    return dict(zip(cases, render_each(wanted, namespace=namespace, chart=chart), strict=True))


def render_each(
    wanted: Sequence[tuple[str, Values]], *, namespace: str = "models", chart: Path = CHART
) -> list[Release]:
    """Releases by name and values, all by one start of Helm.

    Raises:
        RefusedError: Helm refuses one, with its reason.
    """
    requests: list[dict[str, Any]] = [
        {"do": "render", "chart": str(chart), "values": values, "name": name, "namespace": namespace}
        for name, values in wanted
    ]
    releases = []
    for number, (request, answer) in enumerate(zip(requests, ask_helm(requests), strict=True)):
        if "error" in answer:
            raise RefusedError(f"{number}, {request['name']}: {answer['error']}")
        releases.append(Release(request["name"], namespace, answer["objects"], answer["notes"]))
    return releases


def refusals(cases: Sequence[Values], *, chart: Path = CHART) -> list[str]:
    """What Helm says against each of these values; empty where it renders them."""
    requests = [
        {"do": "render", "chart": str(chart), "values": values, "name": "nano", "namespace": "models"}
        for values in cases
    ]
    return [str(answer.get("error", "")) for answer in ask_helm(requests)]


def ask_helm(requests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Answers of programs/charts.py."""
    said = run_tool("python", PROGRAMS / "charts.py", text=json.dumps(requests))
    answers: list[dict[str, Any]] = json.loads(said)
    return answers


def run_tool(program: str, *arguments: str | Path, text: str = "", statuses: Iterable[int] = (0,)) -> str:
    """Standard output of a program of the environment for these tests.

    Args:
        program: Its name.
        arguments: Its arguments.
        text: Its standard input.
        statuses: Exit statuses that are no failure.
    """
    done = subprocess.run(
        [str(tool(program)), *map(str, arguments)],
        input=text,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
    )
    assert done.returncode in statuses, f"{program} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def component(one: Object) -> str:
    """Which part of the release an object or a pod's template belongs to."""
    return str(one["metadata"].get("labels", {}).get("app.kubernetes.io/component", ""))


def options(container: Mapping[str, Any]) -> dict[str, str]:
    """A container's arguments of the form --NAME=VALUE, by name; the value of one without is empty."""
    return dict(word.partition("=")[::2] for word in container["args"] if word.startswith("-"))


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether matchLabels select labels."""
    return selector.items() <= labels.items()


def targets(release: Release) -> Iterator[tuple[str, dict[str, str]]]:
    """Labels by which objects select pods, each with the name of its object."""
    for one in release.objects:
        spec = one.get("spec", {})
        selector = spec.get("podSelector", spec.get("selector"))
        if selector is not None and one["kind"] != "PersistentVolumeClaim":
            yield f"{one['kind']}/{one['metadata']['name']}", selector.get("matchLabels", selector)


def amount(quantity: str | int) -> float:
    """A quantity of Kubernetes as a number: 500m is 0.5, 1Ki is 1024."""
    units = {"": 1, "m": 1e-3, "k": 1e3} | {unit: 1000.0**n for n, unit in enumerate("MGT", 2)}
    units |= {f"{unit}i": 1024.0**n for n, unit in enumerate("KMGT", 1)}
    number = str(quantity).rstrip("".join(units))
    return float(number) * units[str(quantity).removeprefix(number)]


def pod_templates(objects: Iterable[Object]) -> Iterator[tuple[str, Object]]:
    """What the pods of all objects are made from, each with the name of its object."""
    for one in objects:
        name = f"{one['kind']}/{one['metadata']['name']}"
        if one["kind"] == "Pod":
            yield name, one
        elif "template" in one.get("spec", {}):
            yield name, one["spec"]["template"]
