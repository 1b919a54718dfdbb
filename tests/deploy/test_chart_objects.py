"""What others say of the chart's objects: Kubernetes' schemas, the types of custom resources, and a policy checker."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.chart_cases import releases
from tests.deploy.releases import PROGRAMS, Object, run_tool
from tests.deploy.tools import NODE_MODULES

VERSIONS = [f"1.{minor}" for minor in range(29, 38)]
CUSTOM = ("monitoring.coreos.com/v1", "keda.sh/v1alpha1", "gateway.networking.k8s.io/v1")
UNTYPED = ("inference.networking.k8s.io/v1",)  # no types of it are to be had: test_chart_network.py looks at it


def built_in(objects: list[Object]) -> list[Object]:
    return [one for one in objects if one["apiVersion"] not in (*CUSTOM, *UNTYPED)]


def all_objects() -> list[Object]:
    """Each object of each case once."""
    every = {json.dumps(one, sort_keys=True): one for release in releases().values() for one in release.objects}
    return list(every.values())


def faults_by_kubernetes(objects: list[Object], versions: list[str] = VERSIONS) -> list[tuple[Object, str, str]]:
    asked = json.dumps({"versions": versions, "objects": objects})
    said = json.loads(run_tool("python", PROGRAMS / "kubernetes.py", text=asked))
    return [(objects[number], version, fault) for number, version, fault in said]


def faults_by_types(objects: list[Object]) -> list[tuple[Object, str]]:
    said = run_tool("node", PROGRAMS / "custom_resources.mjs", NODE_MODULES, text=json.dumps(objects))
    return [(objects[number], fault) for number, fault in json.loads(said)]


def uses_image_volume(one: Object) -> bool:
    return '"reference": ' in json.dumps(one)


def test_kubernetes_takes_them() -> None:
    """From 1.29 to 1.37; volumes from images came with 1.31."""
    objects = built_in(all_objects())
    assert len({one["kind"] for one in objects}) >= 9
    faults = faults_by_kubernetes(objects)
    assert {version for one, version, _ in faults if uses_image_volume(one)} == {"1.29", "1.30"}
    others = [(one["metadata"]["name"], version, fault) for one, version, fault in faults if not uses_image_volume(one)]
    assert others == []


def test_the_types_of_custom_resources_take_them() -> None:
    objects = [one for one in all_objects() if one["apiVersion"] in CUSTOM]
    assert {one["kind"] for one in objects} == {
        "PodMonitor",
        "PrometheusRule",
        "ScaledObject",
        "GRPCRoute",
        "HTTPRoute",
    }
    assert [(one["metadata"]["name"], fault) for one, fault in faults_by_types(objects)] == []


def test_a_fault_would_be_seen() -> None:
    deployment = copy.deepcopy(releases()["least"].server())
    deployment["spec"]["template"]["spec"]["terminationGracePeriodSecond"] = 5
    service = copy.deepcopy(releases()["least"].one("Service", "-headless"))
    service["spec"]["ports"][0]["port"] = "http"
    kinds = {one["kind"] for one, _, _ in faults_by_kubernetes([deployment, service], ["1.33"])}
    assert kinds == {"Deployment", "Service"}
    scaled = copy.deepcopy(releases()["keda-from-one"].one("ScaledObject"))
    scaled["spec"]["maxReplicaCount"] = "many"
    pool = releases()["pool"].one("InferencePool")
    assert [one["kind"] for one, _ in faults_by_types([scaled, pool])] == ["ScaledObject", "InferencePool"]


# What checkov has against the objects, and why it stays so.
WAIVERS = {
    "CKV_K8S_43": "images by digest: the registry is the user's, so are the digests, image.digest takes them",
    "CKV_K8S_15": "pull policy Always: a version's tag is never moved, and a start should not need the registry",
    "CKV_K8S_40": "a uid of 10,000 and up: the image's user is 1000, and podSecurity takes any other",
    "CKV_K8S_8": "liveness of the Pod of helm test, which ends by itself",
    "CKV_K8S_9": "its readiness: it serves nobody",
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What checkov finds in what has pods or rights, of the cases that have the most."""
    directory = tmp_path_factory.mktemp("rendered")
    chosen = [one for case in ("edge", "bench-own", "build", "two-gpus") for one in releases()[case].objects]
    for number, one in enumerate(built_in(chosen)):
        (directory / f"{number}.json").write_text(json.dumps(one))
    return checkov(directory)


def checkov(directory: Path) -> list[dict[str, Any]]:
    command = ["--skip-download", "--framework", "kubernetes", "--output", "json", "--compact", "--quiet"]
    said = json.loads(run_tool("checkov", *command, "--directory", directory, statuses=(0, 1)))
    assert said["summary"]["parsing_errors"] == 0
    assert said["summary"]["passed"] > 300
    failed: list[dict[str, Any]] = said["results"]["failed_checks"]
    return failed


def test_policies_are_met_or_waived_with_a_reason(found: list[dict[str, Any]]) -> None:
    """A waiver that nothing needs any more is a fault as well."""
    assert {one["check_id"]: one["check_name"] for one in found}.keys() == WAIVERS.keys()


def test_waivers_of_probes_are_for_the_pod_of_helm_test_alone(found: list[dict[str, Any]]) -> None:
    of_probes = {one["resource"] for one in found if one["check_id"] in {"CKV_K8S_8", "CKV_K8S_9"}}
    assert of_probes == {"Pod.models.nano-nemotron-question"}
