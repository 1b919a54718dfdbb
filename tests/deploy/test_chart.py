"""The chart over many combinations of values: Helm takes it, and what it makes fits together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from nemotron_serving.launcher.supervise import longest_stop_s
from tests.deploy.chart_cases import ALL, releases, values_of
from tests.deploy.releases import (
    CHART,
    Object,
    Release,
    amount,
    ask_helm,
    component,
    options,
    pod_templates,
    render,
    selects,
    targets,
)


@pytest.fixture(params=ALL)
def release(request: pytest.FixtureRequest) -> Release:
    return releases()[request.param]


def containers(release: Release) -> Iterator[tuple[str, Object, dict[str, Any]]]:
    """All containers, with the name of their object and the pod's template."""
    for name, template in pod_templates(release.objects):
        assert "initContainers" not in template["spec"]
        for container in template["spec"]["containers"]:
            yield name, template, container


def test_helm_has_nothing_against_it() -> None:
    requests = [{"do": "lint", "chart": str(CHART), "values": values_of(case), "namespace": "models"} for case in ALL]
    for name, answer in zip(ALL, ask_helm(requests), strict=True):
        worse = [one for one in answer["messages"] if one["severity"] > 1]
        assert not worse, name
        assert not answer["errors"], name


def test_a_stop_has_the_time_that_it_may_take(release: Release) -> None:
    """The kubelet kills what has not ended by then, and all streams with it."""
    given = options(release.container())
    needed = longest_stop_s(
        float(given["--drain-delay-seconds"]), float(given["--drain-seconds"]), front="--openai-port" in given
    )
    assert release.server()["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == needed


def test_an_edge_outlasts_the_answers_of_its_servers(release: Release) -> None:
    for edge in (one for one in release.all("Deployment") if component(one) == "edge"):
        given, pod = options(release.container()), edge["spec"]["template"]["spec"]
        waits = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert waits >= float(given["--drain-delay-seconds"]) + float(given["--drain-seconds"])
        assert pod["terminationGracePeriodSeconds"] > waits


def test_probes_ask_the_health_port_as_long_as_a_start_may_take(release: Release) -> None:
    container, values = release.container(), values_of(_case_of(release))
    startup, ready, live = (container[f"{probe}Probe"] for probe in ("startup", "readiness", "liveness"))
    assert [probe["httpGet"] for probe in (startup, ready, live)] == [
        {"path": path, "port": "health"} for path in ("/ready", "/ready", "/live")
    ]
    start = float(options(container)["--start-seconds"])
    verify = values.get("server", {}).get("verifySeconds", 120)
    looked_for = startup["periodSeconds"] * startup["failureThreshold"]
    assert start + verify <= looked_for < start + verify + 10
    deployment = release.server()["spec"]
    assert deployment["progressDeadlineSeconds"] > looked_for + deployment["minReadySeconds"]
    assert (ready["periodSeconds"], ready["failureThreshold"]) == (2, 2)
    assert (live["periodSeconds"], live["timeoutSeconds"], live["failureThreshold"]) == (10, 5, 6)


def test_ports_are_those_of_the_program(release: Release) -> None:
    given = options(release.container())
    ports = {port["name"]: port["containerPort"] for port in release.container()["ports"]}
    assert {name: str(port) for name, port in ports.items()} == {
        name: given[f"--{name}-port"]
        for name in ("http", "grpc", "metrics", "health", "openai")
        if f"--{name}-port" in given
    }
    assert given["--bind"] == "0.0.0.0"  # noqa: S104 - the kubelet and callers come from elsewhere
    assert given["--restart"] == "never"


def test_selectors_find_pods_of_one_component(release: Release) -> None:
    pods = [template for _, template in pod_templates(release.objects)]
    found = 0
    for name, selector in targets(release):
        components = {component(pod) for pod in pods if selects(selector, pod["metadata"]["labels"])}
        assert len(components) == 1, name
        found += 1
    assert found >= 3


def test_a_deployment_selects_its_own_pods(release: Release) -> None:
    for one in release.all("Deployment"):
        assert selects(one["spec"]["selector"]["matchLabels"], one["spec"]["template"]["metadata"]["labels"])
        for spread in one["spec"]["template"]["spec"].get("topologySpreadConstraints", []):
            assert spread["labelSelector"] == one["spec"]["selector"]
            assert spread["matchLabelKeys"] == ["pod-template-hash"]  # an update's new pods are spread by themselves


def test_ports_that_are_named_are_there(release: Release) -> None:
    """By Services, probes, monitors and policies, at every pod that they select."""
    pods = [template for _, template in pod_templates(release.objects)]

    def names_of(selector: dict[str, str]) -> set[str]:
        selected = [pod for pod in pods if selects(selector, pod["metadata"]["labels"])]
        return {port["name"] for pod in selected for one in pod["spec"]["containers"] for port in one.get("ports", [])}

    for service in release.all("Service"):
        names = names_of(service["spec"]["selector"])
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names
        assert all(port["name"] == port["targetPort"] for port in service["spec"]["ports"])
    for monitor in release.all("PodMonitor"):
        names = names_of(monitor["spec"]["selector"]["matchLabels"])
        assert {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]} <= names
    for policy in release.all("NetworkPolicy"):
        names = names_of(policy["spec"]["podSelector"]["matchLabels"])
        assert {port["port"] for rule in policy["spec"].get("ingress", []) for port in rule["ports"]} <= names
        for rule in policy["spec"].get("egress", []):
            for peer in rule.get("to", []):
                if "podSelector" in peer:
                    assert {port["port"] for port in rule["ports"]} <= names_of(peer["podSelector"]["matchLabels"])
    for _, _, container in containers(release):
        names = {port["name"] for port in container.get("ports", [])}
        assert {value["httpGet"]["port"] for key, value in container.items() if key.endswith("Probe")} <= names


def test_routes_lead_to_ports_of_services(release: Release) -> None:
    services = {one["metadata"]["name"]: one for one in release.all("Service")}
    pools = {one["metadata"]["name"] for one in release.all("InferencePool")}
    others = {"next-nemotron"}
    for route in [*release.all("GRPCRoute"), *release.all("HTTPRoute")]:
        for rule in route["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                if backend.get("kind") == "InferencePool":
                    assert backend["name"] in pools
                elif backend["name"] not in others:
                    assert backend["port"] in {port["port"] for port in services[backend["name"]]["spec"]["ports"]}


def test_what_is_mounted_is_there(release: Release) -> None:
    maps = {one["metadata"]["name"]: set(one["data"]) for one in release.all("ConfigMap")}
    claims = {one["metadata"]["name"] for one in release.all("PersistentVolumeClaim")}
    claims |= {"packages", "checkpoints", "results"}  # of the values
    for name, template, container in containers(release):
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes), name
        paths = [mount["mountPath"] for mount in container["volumeMounts"]]
        assert len(paths) == len(set(paths))
        for volume in volumes.values():
            if "configMap" in volume:
                assert volume["configMap"]["name"] in maps, name
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims, name
        for mount in container["volumeMounts"]:
            if "subPath" in mount:
                assert mount["subPath"] in maps[volumes[mount["name"]]["configMap"]["name"]]
            written = mount["name"] in {"tmp", "shm", "results"}
            if container["name"] == "nemotron-build":
                written |= mount["name"] == "packages"
            assert mount.get("readOnly", False) is not written, (name, mount)


def test_files_that_programs_are_given_are_mounted(release: Release) -> None:
    for name, template, container in containers(release):
        mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
        words = " ".join([*container["command"], *container["args"]])
        for path in re.findall(r"(?<!\w)/(?:packages|checkpoints|results|etc)/[^\s']*", words):
            assert any(path == mount or path.startswith(f"{mount}/") for mount in mounts), (name, path)
        home = {one["name"]: one["value"] for one in container.get("env", [])}.get("HOME")
        assert home in mounts or container["name"] == "envoy"
        assert template["spec"]["enableServiceLinks"] is False


def test_pods_have_no_rights(release: Release) -> None:
    """Pod Security's "restricted", and a root file system that cannot be written to."""
    for name, template, container in containers(release):
        pod = template["spec"]
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["serviceAccountName"] in {"llm", *(one["metadata"]["name"] for one in release.all("ServiceAccount"))}
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert not any("hostPath" in volume for volume in pod["volumes"])
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "privileged": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }, name
        assert all("sizeLimit" in volume["emptyDir"] for volume in pod["volumes"] if "emptyDir" in volume)


def test_the_release_has_an_account_without_a_token(release: Release) -> None:
    assert all(one["automountServiceAccountToken"] is False for one in release.all("ServiceAccount"))


def test_the_last_line_of_a_log_is_what_kubernetes_shows(release: Release) -> None:
    """There a program says why it ended."""
    for name, _, container in containers(release):
        assert container["terminationMessagePolicy"] == "FallbackToLogsOnError", name


def test_the_platform_may_choose_the_user() -> None:
    for name, template in pod_templates(releases()["open-shift"].objects):
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(template["spec"]["securityContext"]), name
    for case, expected in (("edge", (1000, 0, 1000)), ("placed", (1234, 5, 77))):
        for name, template in pod_templates(releases()[case].objects):
            security = template["spec"]["securityContext"]
            assert (security["runAsUser"], security["runAsGroup"], security["fsGroup"]) == expected, name


def test_resources_are_bounded_and_gpus_are_whole(release: Release) -> None:
    count = values_of(_case_of(release)).get("gpu", {}).get("count", 1)
    for name, _, container in containers(release):
        requests, limits = container["resources"]["requests"], container["resources"]["limits"]
        assert {"cpu", "memory"} <= set(requests) == set(limits), name
        assert all(amount(requests[resource]) <= amount(limits[resource]) for resource in requests), name
        of_gpus = container["name"] in {"nemotron-serve", "nemotron-build"}
        expected = count if of_gpus and count else None
        assert requests.get("nvidia.com/gpu") == limits.get("nvidia.com/gpu") == expected, name


def test_a_server_of_several_gpus() -> None:
    pod = releases()["two-gpus"].server()["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert pod["runtimeClassName"] == "nvidia"
    assert {"medium": "Memory", "sizeLimit": "1Gi"} in [volume.get("emptyDir") for volume in pod["volumes"]]


def test_one_thing_alone_sets_the_number_of_servers(release: Release) -> None:
    scalers = [*release.all("HorizontalPodAutoscaler"), *release.all("ScaledObject")]
    assert len(scalers) == ("replicas" not in release.server()["spec"])
    for scaler in scalers:
        assert scaler["spec"]["scaleTargetRef"]["name"] == release.server()["metadata"]["name"]


def test_a_budget_never_holds_the_only_pod(release: Release) -> None:
    deployments = {component(one): one["spec"] for one in release.all("Deployment")}
    scalers = [*release.all("HorizontalPodAutoscaler"), *release.all("ScaledObject")]
    fewest = {part: spec.get("replicas") for part, spec in deployments.items()}
    for scaler in scalers:
        fewest["server"] = scaler["spec"].get("minReplicas", scaler["spec"].get("minReplicaCount"))
    assert {component(one) for one in release.all("PodDisruptionBudget")} == {
        part for part, count in fewest.items() if count > 1
    }


def test_an_update_takes_no_server_before_another_one_is_ready() -> None:
    for case, release in releases().items():
        spec = release.server()["spec"]
        expected = {"maxSurge": 1, "maxUnavailable": 0} if case != "one-gpu" else {"maxSurge": 0, "maxUnavailable": 1}
        assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": expected}
        assert spec["minReadySeconds"] >= 20  # an address takes 5 s in each of Envoy, the DNS and a cache on the node


def test_images(release: Release) -> None:
    version = release.server()["metadata"]["labels"]["app.kubernetes.io/version"]
    case = _case_of(release)
    cpu = values_of(case).get("gpu", {}).get("count") == 0
    for _, _, container in containers(release):
        served = container["name"] in {"nemotron-serve", "nemotron-build"}
        if case == "placed" and served:
            assert container["image"] == f"registry.example/nemotron@sha256:{1:064}"
        elif container["name"] == "envoy":
            assert container["image"] == "docker.io/envoyproxy/envoy:distroless-v1.40.0"
        else:
            assert container["image"] == f"nemotron-triton:{version}-{'gpu' if served and not cpu else 'cpu'}"


def test_names_and_labels_fit_however_long_the_release_is_called() -> None:
    values = values_of("edge") | values_of("build") | {"bench": {"enabled": True}, "autoscaling": {"kind": "keda"}}
    release = render(values, name="r" * 53)
    for one in release.objects:
        assert len(one["metadata"]["name"]) <= 63
        assert one["metadata"]["namespace"] == "models"
        assert all(len(value) <= 63 for value in one["metadata"]["labels"].values())


def test_where_a_user_has_placed_servers() -> None:
    release = releases()["placed"]
    template = release.server()["spec"]["template"]
    pod = template["spec"]
    assert release.server()["metadata"]["name"] == "llm"
    assert pod["serviceAccountName"] == "llm"
    assert not release.all("ServiceAccount")
    assert template["metadata"]["labels"]["team"] == "llm"
    assert template["metadata"]["annotations"]["why"] == "because"
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert (pod["nodeSelector"], pod["priorityClassName"], pod["affinity"]) == (
        {"gpu": "h100"},
        "serving",
        {"nodeAffinity": {}},
    )
    assert {"name": "TZ", "value": "UTC"} in pod["containers"][0]["env"]
    assert "topologySpreadConstraints" not in pod
    service = next(one for one in release.all("Service") if one["metadata"]["name"] == "llm")
    assert (service["spec"]["type"], service["metadata"]["annotations"]) == ("NodePort", {"a": "b"})


def test_clients_that_balance_find_every_pod(release: Release) -> None:
    headless = release.one("Service", "-headless")
    assert headless["spec"]["clusterIP"] == "None"
    assert headless["spec"]["selector"] == release.server()["spec"]["selector"]["matchLabels"]


def test_a_new_claim_outlives_the_release() -> None:
    claim = releases()["new-claim"].one("PersistentVolumeClaim")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert claim["metadata"]["name"] == "nano-nemotron-packages"  # by which a user fills it
    assert (claim["spec"]["storageClassName"], claim["spec"]["accessModes"]) == ("fast", ["ReadWriteMany"])


def test_packages_in_an_image() -> None:
    pod = releases()["image-volume"].server()["spec"]["template"]["spec"]
    volume = next(volume for volume in pod["volumes"] if volume["name"] == "packages")
    assert volume["image"]["reference"] == f"registry.example/nano@sha256:{0:064}"


def test_helm_test_asks_a_question(release: Release) -> None:
    pod = release.one("Pod", "-question")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    service = release.server()["metadata"]["name"]
    assert f"grpc://{service}:8001" in pod["spec"]["containers"][0]["args"]
    assert pod["spec"]["restartPolicy"] == "Never"


def _case_of(release: Release) -> str:
    return next(case for case, one in releases().items() if one is release)
