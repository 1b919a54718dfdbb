"""The docker command: what it mounts, what it runs, and that a shell reads it as it was meant."""

from __future__ import annotations

import csv
import os
import shlex
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from nemotron_build.cli import main
from nemotron_serving.engine.tensorrt_llm.files import IMAGE
from nemotron_serving.launcher.cli import main as serve_main
from tests.fakes.packages import make_package
from tests.unit.build.pipeline.pretend import write_profile

Run = pytest.CaptureFixture[str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my, own model").mkdir()
    (tmp_path / "out").mkdir()
    return tmp_path


def container(*more: str, profile: str = "h100-fp8") -> int:
    return main(["container", "build", "my, own model", "--profile", profile, "-o", "out/my package", *more])


def printed(capsys: Run) -> list[str]:
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.count("\n") == 1
    return shlex.split(captured.out)


def mounts(command: list[str]) -> dict[str, tuple[str, bool]]:
    lines = [value for flag, value in pairwise(command) if flag == "--mount"]
    found = {}
    for kind, source, target, *rest in csv.reader(lines):
        assert kind == "type=bind"
        found[target.removeprefix("target=")] = (source.removeprefix("source="), rest == ["readonly"])
    return found


def inside(command: list[str]) -> list[list[str]]:
    assert command[-3:-1] == ["sh", "-c"]
    install, build = command[-1].split(" && exec ")
    return [shlex.split(install), shlex.split(build)]


def test_source_is_read_only_and_paths_are_the_same_inside(here: Path, capsys: Run) -> None:
    assert container() == 0
    command = printed(capsys)
    assert command[:3] == ["docker", "run", "--rm"]
    assert command[-4] == IMAGE
    there = mounts(command)
    assert there[str(here / "my, own model")] == (str(here / "my, own model"), True)
    assert there[str(here / "out")] == (str(here / "out"), False)
    assert [writable for writable, (_, read_only) in there.items() if not read_only] == [str(here / "out")]
    assert f"{os.getuid()}:{os.getgid()}" in command
    assert {"HOME=/tmp", "USER=nemotron", "TORCHINDUCTOR_CACHE_DIR=/tmp/inductor"} <= set(command)
    assert command[command.index("--gpus") + 1] == "all"
    assert "--shm-size=8g" in command
    assert inside(command)[1] == [
        "python3", "-m", "nemotron_build", "build", str(here / "my, own model"), "--profile", "h100-fp8",
        "--output", str(here / "out" / "my package"),
    ]  # fmt: skip


def test_directories_to_write_to_are_made_first(here: Path, capsys: Run) -> None:
    (here / "out").rmdir()
    container("--work", "w")
    assert printed(capsys)[:6] == ["mkdir", "-p", str(here / "out"), str(here / "w"), "&&", "docker"]


def test_our_own_code_is_mounted_as_it_is(capsys: Run, here: Path) -> None:  # noqa: ARG001
    container()
    there = mounts(printed(capsys))
    for package in ("nemotron_build", "nemotron_serving"):
        source, read_only = there[f"/opt/nemotron/{package}"]
        assert read_only
        assert (Path(source) / "__init__.py").is_file()


def test_all_that_the_build_reads_and_writes_is_there(here: Path, capsys: Run) -> None:
    profile = write_profile(here)
    (here / "w").mkdir()
    more = ["--calibration", "texts.jsonl", "--held-out", "others.txt", "--work", "w", "--force", "--keep-work"]
    more += ["--chat-format", "template", "--name", "a name", "--scan-values", "--dry-run"]
    container(*more, "--gpus", "device=1", "--image", "other:1", profile=profile.name)
    command = printed(capsys)
    there = mounts(command)
    assert there[str(profile)][1] and there[str(here / "texts.jsonl")][1] and there[str(here / "others.txt")][1]
    assert not there[str(here / "w")][1]
    assert command[-4] == "other:1"
    assert command[command.index("--gpus") + 1] == "device=1"
    arguments = inside(command)[1]
    assert arguments[arguments.index("--profile") + 1] == str(profile)
    assert arguments[arguments.index("--calibration") + 1] == str(here / "texts.jsonl")
    assert arguments[arguments.index("--name") + 1] == "a name"
    assert {"--force", "--keep-work", "--scan-values", "--dry-run"} <= set(arguments)


def test_links_into_a_download_cache_are_followed(here: Path, capsys: Run) -> None:
    (here / "blobs").mkdir()
    (here / "blobs" / "1234").touch()
    (here / "my, own model" / "model.safetensors").symlink_to("../blobs/1234")
    container()
    assert mounts(printed(capsys))[str(here / "blobs")][1]


def test_with_wheels_the_container_has_no_network(here: Path, capsys: Run) -> None:
    container()
    assert "--network" not in printed(capsys)
    container("--wheels", "wheels")
    command = printed(capsys)
    assert command[command.index("--network") + 1] == "none"
    assert mounts(command)["/opt/nemotron-wheels"] == (str(here / "wheels"), True)
    install = inside(command)[0]
    assert install[install.index("--find-links") + 1] == "/opt/nemotron-wheels"
    assert "--no-index" in install
    main(["container", "wheels", "wheels"])
    download = printed(capsys)
    assert download[:2] == ["pip", "download"]
    assert download[-7:] == install[-7:]


def test_run_needs_docker(here: Path, capsys: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(here))
    assert container("--run") == 4
    assert "docker was not found" in capsys.readouterr().err
    (here / "my, own model").rmdir()
    assert container("--run") == 3
    assert "is not there" in capsys.readouterr().err


@pytest.mark.parametrize("status", [0, 5])
def test_run_hands_on_dockers_status(here: Path, capfd: Run, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    docker = here / "docker"
    docker.write_text(f"#!{sys.executable}\nimport sys\nprint(len(sys.argv), 'arguments')\nsys.exit({status})\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{here}{os.pathsep}{os.environ['PATH']}")
    assert container("--run") == status
    captured = capfd.readouterr()
    assert captured.out.count("\n") == 1
    assert captured.out.endswith("arguments\n")
    assert (here / "out").is_dir()
    assert ("docker ended with status 5" in captured.err) == (status == 5)


def test_limits_reach_the_build_inside(capsys: Run, here: Path) -> None:  # noqa: ARG001
    container("--max-seq-len", "8192", "--max-num-tokens", "4096")
    arguments = inside(printed(capsys))[1]
    at = arguments.index("--profile")
    assert arguments[at : at + 6] == ["--profile", "h100-fp8", "--max-seq-len", "8192", "--max-num-tokens", "4096"]


def test_bad_requests_are_refused_outside(here: Path, capsys: Run) -> None:
    assert main(["container", "build", "nvidia/nano", "--profile", "h100-fp8", "-o", "out/p"]) == 3
    assert "'hf download nvidia/nano --local-dir nano'" in capsys.readouterr().err
    assert container(profile="h1000") == 2
    assert "There is no profile 'h1000'" in capsys.readouterr().err
    assert container(profile="cpu-int4") == 2
    assert "needs no image: use 'nemotron-build build' itself" in capsys.readouterr().err
    (here / "out/my package").mkdir()
    (here / "out/my package/thesis.tex").touch()
    assert container() == 1
    assert "is not a package" in capsys.readouterr().err


def test_a_package_is_served_read_only_on_this_machine_alone(here: Path, capsys: Run) -> None:
    make_package(here / "a package", "engine")
    assert main(["container", "serve", "a package", "--grpc-port", "9001", "--", "--kv-cache-gib", "40"]) == 0
    command = printed(capsys)
    there = mounts(command)
    assert there[str(here / "a package")] == (str(here / "a package"), True)
    assert all(read_only for _, read_only in there.values())
    published = [value for flag, value in pairwise(command) if flag == "--publish"]
    assert published == ["127.0.0.1:8000:8000", "127.0.0.1:9001:8001", "127.0.0.1:8002:8002", "127.0.0.1:8003:8003"]
    serve = inside(command)[1]
    assert serve[:4] == ["python3", "-m", "nemotron_serving.launcher", str(here / "a package")]
    assert serve[-2:] == ["--kv-cache-gib", "40"]
    repository = serve[serve.index("--model-repository") + 1]
    assert there[repository][1] and (Path(repository) / "ensemble/config.pbtxt").is_file()
    # nemotron-serve takes the command line: what it says is of the option that was added.
    assert serve_main([*serve[3:], "--tls-ca", "ca.pem"]) == 2
    assert "--tls-ca alone cannot serve TLS" in capsys.readouterr().err


def test_serving_in_a_container_is_for_packages_for_gpus(here: Path, capsys: Run) -> None:
    assert main(["container", "serve", "out"]) == 5
    assert "out is not a package" in capsys.readouterr().err
    main(["simulated", "-o", "s"])
    capsys.readouterr()
    assert main(["container", "serve", "s"]) == 2
    assert "'nemotron-serve s' serves it" in capsys.readouterr().err
    make_package(here / "p", "engine")
    assert main(["container", "serve", "p", "--wheels", "wheels"]) == 0
    command = printed(capsys)
    assert "--network" not in command  # a port has to be reached
    assert "--no-index" in inside(command)[0]


# `docker run` hands a signal on to the container; this stands for it.
STAND_IN = """#!{python}
import pathlib, signal, sys

mark = pathlib.Path({mark!r})


def end(*_):
    mark.write_text(mark.read_text() + "ended")
    sys.exit(143)


runs = mark.with_name("runs")
runs.write_text("runs, ")
signal.signal(signal.SIGTERM, end)
runs.rename(mark)
while True:
    signal.pause()
"""


def test_terminating_ends_the_container_too(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark, programs = here / "mark", here / "bin"
    programs.mkdir()
    docker = programs / "docker"
    docker.write_text(STAND_IN.format(python=sys.executable, mark=str(mark)))
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    command = [sys.executable, "-m", "nemotron_build", "container", "build", "my, own model", "--profile", "h100-fp8"]
    with subprocess.Popen([*command, "-o", "out/p", "--run"], stderr=subprocess.PIPE, text=True) as process:
        while not mark.exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.terminate()
        _, errors = process.communicate(timeout=90)
    assert process.returncode == 143
    assert "terminated" in errors
    assert mark.read_text() == "runs, ended"
