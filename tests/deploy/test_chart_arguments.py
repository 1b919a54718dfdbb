"""What containers run is what the programs take: the real ones read their arguments."""

from __future__ import annotations

import io
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr

import pytest

from nemotron_build import cli as build
from nemotron_client.chat import cli as chat
from nemotron_front import cli as front
from nemotron_loadtest import cli as bench
from nemotron_serving.launcher import cli as serve
from tests.deploy.chart_cases import ALL, releases, values_of
from tests.deploy.releases import Release, options, pod_templates

PROGRAMS: dict[str, Callable[[list[str]], int]] = {
    "nemotron-serve": serve.main,
    "nemotron-front": front.main,
    "nemotron-chat": chat.main,
    "nemotron-bench": bench.main,
    "nemotron-build": build.main,
}
UNKNOWN = "--there-is-no-such-option"


def complaint(program: str, arguments: Sequence[str]) -> str:
    """What a program says of a command line; it ends with an option that no program has, so that nothing is done."""
    said = io.StringIO()
    with redirect_stderr(said), pytest.raises(SystemExit):
        PROGRAMS[program]([*arguments, UNKNOWN])
    return said.getvalue()


def assert_taken(program: str, arguments: Sequence[str]) -> None:
    """The option that is not there must be all that is wrong."""
    said = complaint(program, arguments)
    assert UNKNOWN in said, f"{program} {shlex.join(arguments)}\n{said}"
    last = said.strip().splitlines()[-1]
    assert not [word for word in arguments if word.startswith("--") and word.partition("=")[0] in last.split()], said


def command_lines() -> Iterator[tuple[str, tuple[str, ...]]]:
    for release in releases().values():
        for _, template in pod_templates(release.objects):
            for container in template["spec"]["containers"]:
                yield container["command"][0], (*container["command"][1:], *container["args"])


def test_a_wrong_argument_would_be_seen() -> None:
    for program, wrong in (
        ("nemotron-serve", ["/packages/nano", "--restart=sometimes"]),
        ("nemotron-serve", ["/packages/nano", "--grpc-prot=8001"]),
        ("nemotron-serve", []),
        ("nemotron-front", ["--workers=none"]),
        ("nemotron-build", ["build", "/checkpoints/nano"]),
    ):
        with pytest.raises(AssertionError):
            assert_taken(program, wrong)


def test_programs_take_their_arguments() -> None:
    lines = set(command_lines())
    assert {program for program, _ in lines} == {*PROGRAMS, "envoy"} - {"nemotron-front"}
    for program, arguments in lines:
        if program != "envoy":
            assert_taken(program, arguments)


def front_options(release: Release) -> list[str]:
    """The front's options as nemotron-serve splits them."""
    return shlex.split(options(release.container())["--openai-options"])


@pytest.mark.parametrize("case", [case for case in ALL if values_of(case).get("front", {}).get("enabled", True)])
def test_the_front_takes_its_options(case: str) -> None:
    assert_taken("nemotron-front", front_options(releases()[case]))


def test_names_with_spaces_and_quotes_reach_the_front_whole() -> None:
    assert front_options(releases()["front-options"]) == [
        *("--workers", "1", "--served-model-name", "nano", "--served-model-name", 'Nano, the "small" one'),
        *("--cors-origin", "https://chat.example", "--cors-origin", "*", "--max-requests=64", "--no-access-log"),
    ]


def test_keys_reach_the_front_as_a_file() -> None:
    release = releases()["keys"]
    given = front_options(release)
    file = given[given.index("--api-key-file") + 1]
    pod = release.server()["spec"]["template"]["spec"]
    mount = next(mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "api-keys")
    secret = next(volume["secret"] for volume in pod["volumes"] if volume["name"] == "api-keys")
    assert secret["secretName"] == "llm-keys"
    assert [f"{mount['mountPath']}/{item['path']}" for item in secret["items"] if item["key"] == "of-all"] == [file]
    assert "llm-keys" not in str(pod["containers"][0].get("env"))


def test_options_are_the_values() -> None:
    assert options(releases()["long-drain"].container()) == {
        "--bind": "0.0.0.0",  # noqa: S104
        "--http-port": "8000",
        "--grpc-port": "8001",
        "--metrics-port": "8002",
        "--health-port": "8003",
        "--openai-port": "9000",
        "--openai-options": "--workers 1",
        "--restart": "never",
        "--start-seconds": "900",
        "--drain-delay-seconds": "0",
        "--drain-seconds": "3600",
        "--hang-seconds": "0",
        "--stops": "bound",
        "--kv-cache-gib": "40",
        "--verbose": "",
        "--stream-interval-ms": "0",
    }
    assert not {"--kv-cache-gib", "--verbose"} & set(options(releases()["least"].container()))


def test_the_load_test_asks_this_release() -> None:
    release = releases()["bench"]
    container = release.one("Job")["spec"]["template"]["spec"]["containers"][0]
    given, server = options(container), release.server()["metadata"]["name"]
    assert container["args"][0] == "quick"
    assert (given["--url"], given["--metrics-url"]) == (f"grpc://{server}:8001", f"http://{server}:8002/metrics")
    assert given["--package"] == release.container()["command"][1]
    assert given["--slo"] == "interactive"


def test_a_scenario_of_ones_own_is_handed_over() -> None:
    release = releases()["bench-own"]
    job = release.one("Job")["spec"]["template"]["spec"]
    file = job["containers"][0]["args"][0]
    mount = next(mount["mountPath"] for mount in job["containers"][0]["volumeMounts"] if mount["name"] == "scenario")
    scenario = release.one("ConfigMap", "-bench")["data"][file.removeprefix(f"{mount}/")]
    assert scenario.strip() == values_of("bench-own")["bench"]["scenarioFile"].strip()


def test_a_build_writes_what_is_served() -> None:
    release = releases()["build"]
    container = release.one("Job")["spec"]["template"]["spec"]["containers"][0]
    assert options(container)["--output"] == release.container()["command"][1] == "/packages/nano"
    assert release.one("Job")["spec"]["template"]["spec"]["tolerations"] == values_of("build")["tolerations"]
