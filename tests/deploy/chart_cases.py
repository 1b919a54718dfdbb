"""Values that the chart is rendered with: each option in at least one way, and the profiles that ship."""

from __future__ import annotations

import functools
from typing import Any

from tests.deploy.releases import CHART, Release, ask_helm, render_all

PROFILES = ("canary", "cpu-demo", "many-replicas", "one-gpu")
_CLAIM = {"package": {"claim": "packages"}}
_GATEWAY = [{"name": "outer", "namespace": "gateways"}]
_ROUTES = {
    "grpc": {"enabled": True, "parentRefs": _GATEWAY, "hostnames": ["grpc.llm.example"]},
    "http": {"enabled": True, "parentRefs": _GATEWAY, "hostnames": ["llm.example"]},
}
_EDGE = {"enabled": True, "keys": {"existingSecret": "edge-keys"}}
_MONITORING = {
    "podMonitor": {"enabled": True, "labels": {"team": "llm"}},
    "rules": {"enabled": True, "labels": {"team": "llm"}},
    "dashboards": {"enabled": True, "annotations": {"folder": "LLM"}},
}

CASES: dict[str, dict[str, Any]] = {
    "least": _CLAIM,
    "no-front": _CLAIM | {"front": {"enabled": False}},
    "two-gpus": _CLAIM | {"gpu": {"count": 2, "runtimeClassName": "nvidia"}, "replicas": 3},
    "new-claim": {"package": {"source": "newClaim", "newClaim": {"storageClass": "fast"}}, "replicas": 2},
    "image-volume": {"package": {"source": "image", "image": {"reference": f"registry.example/nano@sha256:{0:064}"}}},
    "open-shift": _CLAIM
    | {
        "podSecurity": {"runAsUser": None, "runAsGroup": None, "fsGroup": None},
        "networkPolicy": {
            "dns": {
                "port": 5353,
                "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "openshift-dns"}}}],
            }
        },
    },
    "keys": _CLAIM
    | {
        "front": {"apiKeys": {"existingSecret": "llm-keys", "key": "of-all"}, "workers": 2},
        "monitoring": {"podMonitor": {"enabled": True, "frontKey": {"existingSecret": "scrape-key"}}},
    },
    "keys-unscraped": _CLAIM
    | {"front": {"apiKeys": {"existingSecret": "llm-keys"}}, "monitoring": {"podMonitor": {"enabled": True}}},
    "front-options": _CLAIM
    | {
        "front": {
            "servedModelNames": ["nano", 'Nano, the "small" one'],
            "corsOrigins": ["https://chat.example", "*"],
            "extraArgs": ["--max-requests=64", "--no-access-log"],
        }
    },
    "long-drain": _CLAIM
    | {
        "server": {
            "drainDelaySeconds": 0,
            "drainSeconds": 3600,
            "kvCacheGib": 40,
            "verbose": True,
            "stops": "bound",
            "hangSeconds": 0,
            "extraArgs": ["--stream-interval-ms=0"],
        }
    },
    "hpa": _CLAIM | {"autoscaling": {"kind": "hpa", "minReplicas": 2, "inFlightPerReplica": 17.5}},
    "keda-from-one": _CLAIM | {"autoscaling": {"kind": "keda"}},
    "edge": _CLAIM | {"edge": _EDGE, "monitoring": _MONITORING, "replicas": 2},
    "edge-alone": _CLAIM
    | {"edge": _EDGE | {"replicas": 1, "service": {"type": "LoadBalancer"}}, "front": {"enabled": False}},
    "gateway": _CLAIM
    | {"routes": _ROUTES | {"weight": 95, "others": [{"service": "next-nemotron", "weight": 5}]}, "replicas": 2},
    "gateway-no-front": _CLAIM | {"routes": _ROUTES, "front": {"enabled": False}},
    "pool": _CLAIM | {"routes": _ROUTES, "inferencePool": {"enabled": True, "picker": "picker"}, "replicas": 4},
    "monitoring": _CLAIM | {"monitoring": _MONITORING},
    "bench": _CLAIM | {"bench": {"enabled": True, "extraArgs": ["--slo=interactive"], "resultsClaim": "results"}},
    "bench-own": {
        "package": {"source": "simulated"},
        "gpu": {"count": 0},
        "bench": {"enabled": True, "scenario": "own", "scenarioFile": "[run]\nduration_s = 5\n"},
    },
    "build": _CLAIM
    | {
        "replicas": 0,
        "build": {"enabled": True, "checkpointClaim": "checkpoints", "extraArgs": ["--max-batch-size=64"]},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
    },
    "no-network-policy": _CLAIM | {"networkPolicy": {"enabled": False}, "edge": _EDGE, "build": {"enabled": False}},
    "no-callers": _CLAIM | {"networkPolicy": {"callers": [], "monitoring": []}},
    "placed": _CLAIM
    | {
        "fullnameOverride": "llm",
        "image": {"repository": "registry.example/nemotron", "digest": f"sha256:{1:064}"},
        "imagePullSecrets": [{"name": "registry"}],
        "serviceAccount": {"create": False, "name": "llm"},
        "podSecurity": {"runAsUser": 1234, "runAsGroup": 5, "fsGroup": 77},
        "podLabels": {"team": "llm"},
        "podAnnotations": {"why": "because"},
        "nodeSelector": {"gpu": "h100"},
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "serving",
        "extraEnv": [{"name": "TZ", "value": "UTC"}],
        "topologySpread": [],
        "service": {"type": "NodePort", "annotations": {"a": "b"}},
        "sharedMemory": "",
    },
}
ALL = (*PROFILES, *CASES)


@functools.cache
def profiles() -> dict[str, dict[str, Any]]:
    """The values of each profile, with a claim where it leaves that to its user."""
    read = ask_helm([{"do": "read", "file": str(CHART / "profiles" / f"{name}.yaml")} for name in PROFILES])
    return {name: _CLAIM | values for name, values in zip(PROFILES, read, strict=True)}


@functools.cache
def values_of(case: str) -> dict[str, Any]:
    """Those of a case."""
    return profiles()[case] if case in PROFILES else CASES[case]


@functools.cache
def releases() -> dict[str, Release]:
    """All cases, rendered once."""
    return render_all({case: values_of(case) for case in ALL})
