"""Who reaches whom by the chart's policies and routes: what has to pass passes, and nothing else does."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.deploy.chart_cases import ALL, releases, values_of
from tests.deploy.releases import Object, Release, component, pod_templates, render, selects

NEAR, MONITORING, FAR = "models", "monitoring", "elsewhere"


class Network:
    """What the NetworkPolicies of a release let through, as Kubernetes reads them."""

    def __init__(self, release: Release) -> None:
        self.policies = [one["spec"] for one in release.all("NetworkPolicy")]
        self.pods = {component(template): template for _, template in pod_templates(release.objects)}

    def enters(
        self, to: str, port: str, *, by: str | None = None, labels: dict[str, str] | None = None, of: str = NEAR
    ) -> bool:
        """Whether a pod of a component, or with some labels in a namespace, reaches a port of a component."""
        source = self.pods[by]["metadata"]["labels"] if by else labels or {}
        policies = self._of(to, "Ingress")
        rules = [rule for policy in policies for rule in policy.get("ingress", [])]
        ports = {"protocol": "TCP", "port": port}
        return not policies or any(
            ports in rule["ports"] and any(_matches(peer, source, of) for peer in rule["from"]) for rule in rules
        )

    def leaves(self, by: str, to: str, port: str) -> bool:
        """Whether a pod of a component may call a port of another one."""
        policies = self._of(by, "Egress")
        rules = [rule for policy in policies for rule in policy.get("egress", [])]
        target, ports = self.pods[to]["metadata"]["labels"], {"protocol": "TCP", "port": port}
        return not policies or any(
            ports in rule["ports"] and any(_matches(peer, target, NEAR) for peer in rule.get("to", []))
            for rule in rules
        )

    def asks(self, by: str) -> set[tuple[str, int]]:
        """Ports by number that a component may call: those of the DNS."""
        rules = [rule for policy in self._of(by, "Egress") for rule in policy.get("egress", [])]
        return {
            (port["protocol"], port["port"])
            for rule in rules
            for port in rule["ports"]
            if isinstance(port["port"], int)
        }

    def _of(self, part: str, direction: str) -> list[dict[str, Any]]:
        labels = self.pods[part]["metadata"]["labels"]
        return [
            policy
            for policy in self.policies
            if direction in policy["policyTypes"] and selects(policy["podSelector"]["matchLabels"], labels)
        ]


def _matches(peer: dict[str, Any], labels: dict[str, str], namespace: str) -> bool:
    named = {"kubernetes.io/metadata.name": namespace}
    elsewhere = peer.get("namespaceSelector")
    near = namespace == NEAR if elsewhere is None else selects(elsewhere.get("matchLabels", {}), named)
    return near and selects(peer.get("podSelector", {}).get("matchLabels", {}), labels)


@pytest.fixture(params=[case for case in ALL if case != "no-network-policy"])
def release(request: pytest.FixtureRequest) -> Release:
    return releases()[request.param]


@pytest.fixture
def network(release: Release) -> Network:
    return Network(release)


def case_of(release: Release) -> str:
    return next(case for case, one in releases().items() if one is release)


def ports_of(release: Release, part: str) -> set[str]:
    template = next(template for _, template in pod_templates(release.objects) if component(template) == part)
    return {port["name"] for one in template["spec"]["containers"] for port in one.get("ports", [])}


def test_every_pod_has_a_policy_for_both_ways(release: Release) -> None:
    for name, template in pod_templates(release.objects):
        policies = [
            one["spec"]
            for one in release.all("NetworkPolicy")
            if selects(one["spec"]["podSelector"]["matchLabels"], template["metadata"]["labels"])
        ]
        assert [policy["policyTypes"] for policy in policies] == [["Ingress", "Egress"]], name


def test_callers_reach_what_is_for_them(release: Release, network: Network) -> None:
    """The edge where there is one, and then no server."""
    open_for_them = values_of(case_of(release)).get("networkPolicy", {}).get("callers", True)
    ports = ports_of(release, "server") - {"metrics"}
    for port in ports:
        assert network.enters("server", port) is bool(open_for_them and "edge" not in network.pods)
    if "edge" in network.pods:
        assert network.enters("edge", "http")
        assert network.enters("edge", "grpc")
        assert not network.enters("edge", "metrics")
    assert not network.enters("server", "metrics")
    for part in network.pods:
        assert not any(network.enters(part, port, of=FAR) for port in ports | {"metrics", "http", "grpc"}), part


def test_monitors_reach_what_they_scrape(release: Release, network: Network) -> None:
    let_in = values_of(case_of(release)).get("networkPolicy", {}).get("monitoring", True)
    scraped = 0
    for monitor in release.all("PodMonitor"):
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            assert network.enters(component(monitor), endpoint["port"], of=MONITORING) is bool(let_in)
            scraped += 1
    assert bool(scraped) == bool(release.all("PodMonitor"))
    assert not network.enters("server", "grpc", of=MONITORING)


def test_clients_of_the_release_reach_the_servers(network: Network) -> None:
    """That of helm test, and the load test, which reads metrics as well."""
    for port in ("grpc", "metrics"):
        assert network.leaves("client", "server", port)
        assert network.enters("server", port, by="client")


def test_an_edge_reaches_the_ports_of_its_configuration(release: Release, network: Network) -> None:
    if "edge" not in network.pods:
        return
    config = edge_config(release)
    called = set(re.findall(r"\*?replicas[^}]*port_value: (\d+)|health_check_config: \{port_value: (\d+)\}", config))
    numbers = {int(number) for pair in called for number in pair if number}
    assert numbers == {8000, 8001, 8003, 9000}
    ports = {port["containerPort"]: port["name"] for port in release.container()["ports"]}
    for number in numbers & set(ports):
        assert network.leaves("edge", "server", ports[number])
        assert network.enters("server", ports[number], by="edge")
    assert not network.leaves("edge", "server", "metrics")


def test_an_edge_listens_where_its_service_and_probes_are(release: Release) -> None:
    for edge in (one for one in release.all("Deployment") if component(one) == "edge"):
        config = edge_config(release)
        everywhere = r"address: \{socket_address: \{address: 0\.0\.0\.0, port_value: (\d+)\}\}"
        listeners = dict(re.findall(rf"- name: (\w+)\n +{everywhere}", config))
        container = edge["spec"]["template"]["spec"]["containers"][0]
        assert listeners == {port["name"]: str(port["containerPort"]) for port in container["ports"]}
        assert container["readinessProbe"]["httpGet"]["path"] in config
        service = release.one("Service", "-headless")
        assert f"&replicas {service['metadata']['name']}.{release.namespace}.svc," in config
        keys = next(mount for mount in container["volumeMounts"] if mount["name"] == "keys")
        assert f"path: {keys['mountPath']}/keys.yaml" in config


def edge_config(release: Release) -> str:
    """What the edge's Envoy is started with."""
    text: str = release.one("ConfigMap", "-edge")["data"]["envoy.yaml"]
    return text


def test_out_goes_only_what_has_to(release: Release, network: Network) -> None:
    port = 5353 if case_of(release) == "open-shift" else 53
    for part in network.pods:
        assert network.asks(part) == (set() if part == "build" else {("UDP", port), ("TCP", port)})
        for target in network.pods:
            for name in ports_of(release, target):
                allowed = target == "server" and (
                    (part == "client" and name in {"grpc", "metrics"}) or (part == "edge" and name != "metrics")
                )
                assert network.leaves(part, target, name) is allowed, (part, target, name)


def test_names_are_asked_for_where_the_values_say() -> None:
    asked = [rule for rule in releases()["open-shift"].one("NetworkPolicy", "nemotron")["spec"]["egress"]]
    assert [rule["to"] for rule in asked] == [
        [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "openshift-dns"}}}]
    ]


def test_without_policies_there_is_none() -> None:
    assert not releases()["no-network-policy"].all("NetworkPolicy")


def test_a_release_does_not_reach_another_ones_servers() -> None:
    """Not by being a client or an edge: those of its own release alone are let in."""
    first, second = Network(releases()["edge"]), Network(render(values_of("edge"), name="other"))
    for part in ("client", "edge"):
        labels = second.pods[part]["metadata"]["labels"]
        assert first.enters("server", "grpc", by=part)
        assert not first.enters("server", "grpc", labels=labels)


# Routes


def paths_of_the_edge() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What deploy/envoy/envoy.yaml passes on: paths over HTTP, and calls over gRPC."""
    config = re.sub(r"\\\n\s*", "", edge_config(releases()["edge"]))
    regexes = [text.replace("\\\\", "\\") for text in re.findall(r'safe_regex: (?:&\w+ )?\{regex: "([^"]+)"', config)]
    grpc = [text for text in regexes if "GRPCInferenceService" in text]
    http = [text for text in regexes if text not in grpc and text.startswith("/")]
    assert len(grpc) == 1
    assert len(http) >= 4
    return re.compile("|".join(f"(?:{text})" for text in http)), re.compile(grpc[0])


def test_the_grpc_route_passes_the_calls_that_the_edge_passes() -> None:
    _, grpc = paths_of_the_edge()
    rules = releases()["gateway"].one("GRPCRoute")["spec"]["rules"]
    matches = [match["method"] for rule in rules for match in rule["matches"]]
    assert all(grpc.fullmatch(f"/{match['service']}/{match['method']}") for match in matches)
    assert all(match["type"] == "Exact" for match in matches)
    assert all(len(rule["matches"]) <= 8 for rule in rules)  # the most before Gateway API 1.3
    assert len(matches) == len({match["method"] for match in matches}) == 9
    removed = [
        name
        for rule in rules
        for one in rule.get("filters", [])
        for name in one["requestHeaderModifier"]["remove"]
        if any(match["method"]["method"] == "ModelStreamInfer" for match in rule["matches"])
    ]
    assert removed == ["triton_grpc_error"]  # docs/security.md: what can end Triton 2.51
    closed = ("RepositoryIndex", "RepositoryModelLoad", "TraceSetting", "LogSettings", "ModelStatistics")
    assert not {match["method"] for match in matches} & set(closed)


SHOWN = [
    "/",
    "/page/x/main.js",
    "/health",
    "/v1/health/ready",
    "/v1/models",
    "/v1/models/nano",
    "/v1/chat/completions",
    "/v1/chat/completions/control",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/version",
    "/v1/metadata",
    "/version",
    "/tokenize",
    "/detokenize",
    "/openapi.json",
]
TRITON = [
    "/v2/models/ensemble/generate",
    "/v2/models/ensemble/generate_stream",
    "/v2/models/tensorrt_llm/generate",
    "/v2/models/tensorrt_llm/generate_stream",
]
CLOSED = [
    "/metrics",
    "/v1/metrics",
    "/v2/repository/index",
    "/v2/models/ensemble/stats",
    "/v2/logging",
    "/v2/trace/setting",
    "/v2/systemsharedmemory/status",
    "/v2/models/ensemble/infer",
    "/v2/models/postprocessing/generate",
]


def port_for(route: Object, path: str) -> int | str | None:
    """Where an HTTPRoute sends a path: a port, a pool's name, or nowhere."""
    longest, found = -1, None
    for rule in route["spec"]["rules"]:
        for match in (one["path"] for one in rule["matches"]):
            value = match["value"]
            exact = match["type"] == "Exact" and path == value
            below = match["type"] == "PathPrefix" and (path == value or path.startswith(f"{value.rstrip('/')}/"))
            if exact or below:
                backend = rule["backendRefs"][0]
                length = 1000 if exact else len(value)
                if length > longest:
                    longest, found = length, backend.get("port", backend.get("kind"))
    return found


@pytest.mark.parametrize("path", [*SHOWN, *TRITON, *CLOSED])
def test_the_http_route_passes_what_the_edge_passes(path: str) -> None:
    http, _ = paths_of_the_edge()
    route = releases()["gateway"].one("HTTPRoute")
    expected = 9000 if path in SHOWN else 8000 if path in TRITON else None
    assert port_for(route, path) == expected
    assert (http.fullmatch(path) is not None) is (expected is not None)


def test_a_route_to_servers_without_a_front_has_tritons_paths_alone() -> None:
    route = releases()["gateway-no-front"].one("HTTPRoute")
    assert {port_for(route, path) for path in SHOWN} == {None}
    assert {port_for(route, path) for path in TRITON} == {8000}


def test_no_route_cuts_a_long_answer() -> None:
    for case in ("gateway", "pool"):
        route = releases()[case].one("HTTPRoute")
        for rule in route["spec"]["rules"]:
            backends = {backend.get("port", "pool") for backend in rule["backendRefs"]}
            answers = backends == {8000} or any("completions" in match["path"]["value"] for match in rule["matches"])
            if answers:
                assert rule["timeouts"] == {"request": "0s", "backendRequest": "0s"}


def test_a_canary_gets_its_share_of_every_route() -> None:
    release = releases()["gateway"]
    for kind in ("GRPCRoute", "HTTPRoute"):
        for rule in release.one(kind)["spec"]["rules"]:
            shares = {backend["name"]: backend["weight"] for backend in rule["backendRefs"]}
            assert shares == {release.server()["metadata"]["name"]: 95, "next-nemotron": 5}
            assert len({backend["port"] for backend in rule["backendRefs"]}) == 1


def test_a_pool_is_one_of_fronts_and_gets_what_asks_for_an_answer() -> None:
    release = releases()["pool"]
    pool = release.one("InferencePool")
    assert pool["apiVersion"] == "inference.networking.k8s.io/v1"
    assert pool["spec"] == {
        "selector": {"matchLabels": release.server()["spec"]["selector"]["matchLabels"]},
        "targetPorts": [{"number": 9000}],
        "endpointPickerRef": {"name": "picker", "port": {"number": 9002}, "failureMode": "FailOpen"},
    }
    route = release.one("HTTPRoute")
    assert port_for(route, "/v1/chat/completions") == "InferencePool"
    assert port_for(route, "/v1/models") == 9000
    assert release.server()["spec"]["template"]["metadata"]["labels"]["llm-d.ai/engine-type"] == "nemotron"
