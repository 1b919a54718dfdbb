"""Values that the chart is rendered with: each option in at least one way, and the profiles that ship."""

from __future__ import annotations

import functools
from typing import Any

from tests.deploy.releases import CHART, Release, ask_helm, render_all

PROFILES = ("cpu-demo", "many-replicas", "one-gpu")


_CLAIM = {"package": {"claim": "packages"}}

CASES: dict[str, dict[str, Any]] = {
    "least": _CLAIM,
    "no-front": _CLAIM | {"front": {"enabled": False}},
    "two-gpus": _CLAIM | {"gpu": {"count": 2, "runtimeClassName": "nvidia"}, "replicas": 3},
    "new-claim": {"package": {"source": "newClaim", "newClaim": {"storageClass": "fast"}}, "replicas": 2},
    "image-volume": {"package": {"source": "image", "image": {"reference": f"registry.example/nano@sha256:{0:064}"}}},
    "any-user": _CLAIM | {"podSecurity": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}},
    "keys": _CLAIM | {"front": {"apiKeys": {"existingSecret": "llm-keys", "key": "of-all"}, "workers": 2}},
    "long-drain": _CLAIM
    | {"server": {"drainDelaySeconds": 0, "drainSeconds": 3600, "kvCacheGib": 40, "verbose": True}},
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
