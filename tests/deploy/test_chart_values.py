"""Values: each is described and checked, a wrong one is named, and what does not go together is refused."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from typing import Any

import pytest

from tests.deploy.chart_cases import values_of
from tests.deploy.releases import CHART, ask_helm, refusals
from tests.deploy.tools import ROOT

CLAIM = {"package": {"claim": "packages"}}

# By the key that the fault has to name.
WRONG: list[tuple[str, dict[str, Any]]] = [
    ("replica", {"replica": 2}),
    ("replicas", {"replicas": "two"}),
    ("replicas", {"replicas": -1}),
    ("image/tag", {"image": {"tag": "a b"}}),
    ("image/digest", {"image": {"digest": "sha256:12"}}),
    ("image/repository", {"image": {"repository": ""}}),
    ("pullPolicy", {"image": {"pullPolicy": "Sometimes"}}),
    ("name", {"image": {"name": "x"}}),
    ("imagePullSecrets/0", {"imagePullSecrets": ["registry"]}),
    ("package/source", {"package": {"source": "s3"}}),
    ("package/path", {"package": {"path": "../secret"}}),
    ("package/path", {"package": {"path": "/packages/nano"}}),
    ("package/claim", {"package": {"claim": "My Claim"}}),
    ("accessMode", {"package": {"source": "newClaim", "newClaim": {"accessMode": "ReadOnlyMany"}}}),
    ("newClaim/size", {"package": {"source": "newClaim", "newClaim": {"size": "40 GB"}}}),
    ("gpu/count", {"gpu": {"count": 1.5}}),
    ("gpu/resource", {"gpu": {"resource": "gpu"}}),
    ("maxSurge", {"rollout": {"maxSurge": "25%"}}),
    ("autoscaling/kind", {"autoscaling": {"kind": "vpa"}}),
    ("inFlightPerReplica", {"autoscaling": {"kind": "hpa", "inFlightPerReplica": 0}}),
    ("minReplicas", {"autoscaling": {"kind": "keda", "minReplicas": 0}}),
    ("keda/prometheus", {"autoscaling": {"keda": {"prometheus": "prometheus:9090"}}}),
    ("startSeconds", {"server": {"startSeconds": 0}}),
    ("drainSeconds", {"server": {"drainSeconds": 0.5}}),
    ("drainDelaySeconds", {"server": {"drainDelaySeconds": "5s"}}),
    ("hangSeconds", {"server": {"hangSeconds": 0.5}}),
    ("server/stops", {"server": {"stops": "all"}}),
    ("terminationGracePeriodSeconds", {"terminationGracePeriodSeconds": 30}),
    ("workers", {"front": {"workers": 0}}),
    ("corsOrigins/0", {"front": {"corsOrigins": ["chat.example"]}}),
    ("servedModelNames/0", {"front": {"servedModelNames": ["Bob's"]}}),
    ("apiKeys", {"front": {"apiKeys": "secret"}}),
    ("limits/memory", {"resources": {"limits": {"memory": "32 GiB"}}}),
    ("nvidia.com/gpu", {"resources": {"limits": {"nvidia.com/gpu": 1}}}),
    ("sharedMemory", {"sharedMemory": "big"}),
    ("runAsUser", {"podSecurity": {"runAsUser": 0}}),
    ("privileged", {"podSecurity": {"privileged": True}}),
    ("service/type", {"service": {"type": "ExternalName"}}),
    ("tolerations/0/effect", {"tolerations": [{"key": "a", "effect": "Never"}]}),
    ("whenUnsatisfiable", {"topologySpread": [{"maxSkew": 1, "topologyKey": "zone"}]}),
    ("extraEnv/0/name", {"extraEnv": [{"name": "A-B", "value": "c"}]}),
    ("networkPolicy/callers/0", {"networkPolicy": {"callers": [{}]}}),
    ("dns/port", {"networkPolicy": {"dns": {"port": 70000}}}),
    ("intervalSeconds", {"monitoring": {"podMonitor": {"intervalSeconds": "15s"}}}),
    ("rules/labels/a", {"monitoring": {"rules": {"labels": {"a": 1}}}}),
    ("grpc/hostnames/0", {"routes": {"grpc": {"hostnames": ["LLM.example"]}}}),
    ("parentRefs/0", {"routes": {"http": {"parentRefs": [{"namespace": "gateways"}]}}}),
    ("others/0", {"routes": {"others": [{"service": "next"}]}}),
    ("failureMode", {"inferencePool": {"failureMode": "Open"}}),
    ("edge/threads", {"edge": {"threads": 0}}),
    ("test/question", {"test": {"question": ""}}),
    ("bench/scenario", {"bench": {"scenario": "a b"}}),
    ("build/profile", {"build": {"profile": "H100"}}),
    ("checkpointPath", {"build": {"checkpointPath": "/checkpoints/nano"}}),
]

# What each alone would do, and together does not.
_ONE_NODE = {"source": "newClaim", "newClaim": {"accessMode": "ReadWriteOnce"}}
_SIMULATED = {"package": {"source": "simulated"}, "gpu": {"count": 0}}
_BUILD = {"build": {"enabled": True, "checkpointClaim": "checkpoints"}}


def both_routes(*hostnames: str) -> dict[str, Any]:
    """A GRPCRoute and an HTTPRoute on one Gateway."""
    route = {"enabled": True, "parentRefs": [{"name": "outer"}], "hostnames": list(hostnames)}
    return {"routes": {"grpc": route, "http": route}}


APART: list[tuple[str, dict[str, Any]]] = [
    ("package.claim:", {}),
    ("package.image.reference:", {"package": {"source": "image"}}),
    ("package.newClaim.accessMode:", {"package": _ONE_NODE, "replicas": 2}),
    ("package.newClaim.accessMode:", {"package": _ONE_NODE, "autoscaling": {"kind": "hpa"}}),
    ("gpu.count:", {"package": {"source": "simulated"}}),
    ("gpu.count:", CLAIM | {"gpu": {"count": 0}} | _BUILD),
    ("sharedMemory:", CLAIM | {"gpu": {"count": 2}, "sharedMemory": ""}),
    ("rollout.maxSurge:", CLAIM | {"rollout": {"maxSurge": 0}}),
    ("autoscaling.minReplicas:", CLAIM | {"autoscaling": {"kind": "hpa", "minReplicas": 5}}),
    ("routes.grpc.parentRefs:", CLAIM | {"routes": {"grpc": {"enabled": True}}}),
    ("routes.http.parentRefs:", CLAIM | {"routes": {"http": {"enabled": True}}}),
    ("routes.grpc.hostnames:", CLAIM | both_routes()),
    ("routes.grpc.hostnames:", CLAIM | both_routes("llm.example")),
    ("inferencePool.picker:", CLAIM | {"inferencePool": {"enabled": True}}),
    (
        "inferencePool.enabled:",
        CLAIM | {"inferencePool": {"enabled": True, "picker": "picker"}, "front": {"enabled": False}},
    ),
    (
        "routes.others:",
        CLAIM
        | {
            "inferencePool": {"enabled": True, "picker": "picker"},
            "routes": {"others": [{"service": "next", "weight": 5}]},
        },
    ),
    ("edge.keys.existingSecret:", CLAIM | {"edge": {"enabled": True}}),
    (
        "front.apiKeys.existingSecret:",
        CLAIM
        | {
            "edge": {"enabled": True, "keys": {"existingSecret": "edge-keys"}},
            "front": {"apiKeys": {"existingSecret": "llm-keys"}},
        },
    ),
    ("build.enabled:", _SIMULATED | _BUILD),
    ("build.checkpointClaim:", CLAIM | {"build": {"enabled": True}}),
    ("bench.scenario:", CLAIM | {"bench": {"enabled": True, "scenarioFile": "a = 1"}}),
    ("bench.scenarioFile:", CLAIM | {"bench": {"enabled": True, "scenario": "own"}}),
]


def schema() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
    return read


def test_a_wrong_value_is_refused_by_its_name() -> None:
    assert len(WRONG) >= 30
    said = refusals([CLAIM | values for _, values in WRONG])
    assert [(key, text) for (key, _), text in zip(WRONG, said, strict=True) if key not in text] == []


def test_values_that_do_not_go_together_are_refused_by_name() -> None:
    said = refusals([values for _, values in APART])
    assert [(key, text) for (key, _), text in zip(APART, said, strict=True) if key not in text] == []


def test_each_refusal_has_its_reason_alone() -> None:
    """What is refused above is taken with that one thing mended."""
    mended: list[dict[str, Any]] = [
        CLAIM,
        {"package": _ONE_NODE},
        _SIMULATED,
        CLAIM | {"gpu": {"count": 2}},
        CLAIM | {"rollout": {"maxSurge": 0, "maxUnavailable": 1}},
        CLAIM | _BUILD,
        CLAIM | {"bench": {"enabled": True, "scenario": "own", "scenarioFile": "a = 1"}},
    ]
    assert refusals(mended) == [""] * len(mended)


def objects_of(node: Any) -> Iterator[dict[str, Any]]:
    """All objects with properties in a schema."""
    if isinstance(node, dict):
        if "properties" in node and node.get("type") == "object":
            yield node
        for value in node.values():
            yield from objects_of(value)
    elif isinstance(node, list):
        for value in node:
            yield from objects_of(value)


def test_no_object_takes_keys_that_nobody_reads() -> None:
    found = list(objects_of(schema()))
    assert len(found) > 25
    assert [one for one in found if one.get("additionalProperties") is not False] == []


def keys_of(node: dict[str, Any], definitions: dict[str, Any]) -> Any:
    """A schema's keys, nested; None for what is no object with keys of its own."""
    node = definitions[node["$ref"].rpartition("/")[2]] if "$ref" in node else node
    properties = node.get("properties")
    return properties and {key: keys_of(value, definitions) for key, value in properties.items()}


def test_schema_and_values_know_the_same_keys() -> None:
    values = ask_helm([{"do": "read", "file": str(CHART / "values.yaml")}])[0]
    keys = keys_of(schema(), schema()["$defs"])
    assert keys.pop("global") is None

    def compare(where: str, values: dict[str, Any], keys: dict[str, Any]) -> None:
        assert set(values) <= set(keys), where
        for key, below in keys.items():
            optional = key in {"ephemeral-storage", "nodeAffinity", "podAffinity", "podAntiAffinity"}
            assert optional or key in values, f"{where}{key} has no default"
            if below and isinstance(values.get(key), dict):
                compare(f"{where}{key}.", values[key], below)

    compare("", values, keys)


def test_profiles_need_no_more_than_they_say() -> None:
    for name in ("cpu-demo", "one-gpu"):
        assert refusals([values_of(name)]) == [""]


@pytest.fixture(scope="module")
def maker() -> dict[str, Any]:
    """docs/make_chart_readme.py."""
    return runpy.run_path(str(ROOT / "docs" / "make_chart_readme.py"))


def test_the_readme_is_made_of_the_values(maker: dict[str, Any]) -> None:
    """`make docs` was run."""
    assert (CHART / "README.md").read_text(encoding="utf-8") == maker["page"]()


def test_every_value_is_described(maker: dict[str, Any]) -> None:
    described = {row.name for row in maker["rows"]((CHART / "values.yaml").read_text(encoding="utf-8"))}
    values = ask_helm([{"do": "read", "file": str(CHART / "values.yaml")}])[0]

    def leaves(where: str, node: Any) -> Iterator[str]:
        if where in described or not isinstance(node, dict):
            yield where
        else:
            for key, value in node.items():
                yield from leaves(f"{where}.{key}" if where else key, value)

    assert set(leaves("", values)) == described


def test_a_value_without_a_description_would_be_seen(maker: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"b\.c has no description"):
        maker["rows"]("# -- a\na: 1\nb:\n  c: 2\n")


@pytest.fixture(scope="module")
def metadata() -> dict[str, Any]:
    return ask_helm([{"do": "read", "file": str(CHART / "Chart.yaml")}])[0]


def test_the_charts_version_is_the_projects(metadata: dict[str, Any]) -> None:
    project = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{metadata["appVersion"]}"' in project.partition("[project.optional")[0]
