"""The docker command that builds or serves inside the pinned serving image, which has TensorRT-LLM."""

from __future__ import annotations

import csv
import io
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nemotron_build
import nemotron_serving
from nemotron_build.errors import BuildError, UnsupportedError
from nemotron_serving.engine.tensorrt_llm.files import IMAGE
from nemotron_serving.launcher.triton_files import default_repository

# Our own code is mounted and put on Python's path: it is pure Python, and nothing has to be built for the image.
_CODE = "/opt/nemotron"
_LIBRARIES = "/tmp/nemotron-libraries"  # noqa: S108 - inside the container
_WHEELS = "/opt/nemotron-wheels"
# Of what the commands import, those that the image may lack. The rest comes with TensorRT-LLM.
_NEEDED = {
    "nemotron_build": ("msgspec", "rich", "markdown-it-py", "mdurl", "pygments", "ml-dtypes", "nvidia-ml-py"),
    "nemotron_serving.launcher": ("msgspec",),
}
_PORTS = {"http": 8000, "grpc": 8001, "metrics": 8002, "health": 8003}  # inside, where nothing else listens


@dataclass(frozen=True)
class ContainerOptions:
    """How the container is run.

    Attributes:
        arguments: What the command is given, all paths absolute.
        read: Files and directories that it reads.
        write: Directories that it writes.
        image: The image.
        gpus: Value of docker's `--gpus`.
        wheels: Directory with wheels of the few libraries that the image lacks; the container then fetches nothing.
        module: What is run with `python3 -m`.
        publish: Values of docker's `--publish`; with them the container keeps its network.
    """

    arguments: Sequence[str]
    read: Sequence[Path]
    write: Sequence[Path]
    image: str = IMAGE
    gpus: str = "all"
    wheels: Path | None = None
    module: str = "nemotron_build"
    publish: Sequence[str] = ()


def serve_options(
    package: Path,
    *,
    bind: str,
    ports: Mapping[str, int],
    more: Sequence[str],
    image: str,
    gpus: str,
    wheels: Path | None,
) -> ContainerOptions:
    """How a package is served in the image: read-only, at its usual ports inside.

    Args:
        package: Its directory.
        bind: Address of this machine that the ports are published on.
        ports: Ports of this machine, by `http`, `grpc`, `metrics` and `health`.
        more: Further arguments of nemotron-serve.
        image: See `ContainerOptions`, as the two behind it.
        gpus: Value of docker's `--gpus`.
        wheels: Directory with wheels.
    """
    repository = default_repository().resolve()
    arguments = [str(package.absolute()), "--bind", "0.0.0.0", "--model-repository", str(repository)]  # noqa: S104
    return ContainerOptions(
        arguments=[*arguments, *more],
        read=[package, repository],
        write=[],
        image=image,
        gpus=gpus,
        wheels=wheels,
        module="nemotron_serving.launcher",
        publish=[f"{bind}:{ports[name]}:{inside}" for name, inside in _PORTS.items()],
    )


def docker_command(options: ContainerOptions) -> list[str]:
    """Program and arguments. Paths are the same inside and outside, so that messages and logs hold for both."""
    command = ["docker", "run", "--rm", "--init", "--gpus", options.gpus]
    # PyTorch's and MPI's workers share memory; CUDA pins it.
    command += ["--shm-size=8g", "--ulimit", "memlock=-1", "--ulimit", "stack=67108864"]
    command += ["--user", f"{os.getuid()}:{os.getgid()}", "--env", "HOME=/tmp"]
    # The user has no entry in the image's passwd, where PyTorch's compiler would look for a name.
    command += ["--env", "USER=nemotron", "--env", "TORCHINDUCTOR_CACHE_DIR=/tmp/inductor"]
    command += ["--env", f"PYTHONPATH={_CODE}:{_LIBRARIES}"]
    if options.wheels:
        command += [] if options.publish else ["--network", "none"]
        command += [*_mount(options.wheels.resolve(), Path(_WHEELS), read_only=True)]
    for ports in options.publish:
        command += ["--publish", ports]
    for package in (nemotron_build, nemotron_serving):
        source = Path(package.__file__ or "").parent
        command += _mount(source, Path(_CODE, source.name), read_only=True)
    written = sorted({path.absolute() for path in options.write})
    for path in sorted({path.absolute() for path in options.read} - set(written)):
        command += _mount(path, path, read_only=True)
    for path in written:
        command += _mount(path, path, read_only=False)
    return [*command, options.image, "sh", "-c", _script(options)]


def run_container(command: Sequence[str]) -> None:
    """Run the docker command on this terminal.

    Raises:
        UnsupportedError: docker is not there.
        BuildError: it ended with another status than 0, which becomes ours.
    """
    if shutil.which(command[0]) is None:
        raise UnsupportedError(
            "docker was not found on PATH. Install docker with NVIDIA's container toolkit, or leave out --run and give "
            "the printed command to whoever has it."
        )
    with subprocess.Popen(command) as process:
        try:
            status = process.wait()
        except KeyboardInterrupt:
            # The terminal sent it to docker too, which hands it on to the build and waits for it.
            process.wait()
            raise
        except BaseException:
            process.terminate()  # docker hands this on as well
            raise
    if status:
        error = BuildError(f"docker ended with status {status}; what it or the build said stands above.")
        error.exit_status = status if status > 0 else 128 - status
        raise error


def wheels_command(directory: Path) -> list[str]:
    """The command that fills a directory for `ContainerOptions.wheels`, on a machine with a network."""
    python = ["--python-version", "3.12", "--only-binary", ":all:", "--no-deps"]
    return ["pip", "download", *python, "--dest", str(directory), *_NEEDED["nemotron_build"]]


def _script(options: ContainerOptions) -> str:
    source = ["--no-index", "--find-links", _WHEELS] if options.wheels else []
    install = ["pip", "install", "--quiet", "--no-deps", "--target", _LIBRARIES, *source, *_NEEDED[options.module]]
    command = ["python3", "-m", options.module, *options.arguments]
    return f"{shlex.join(install)} && exec {shlex.join(command)}"


def _mount(source: Path, target: Path, *, read_only: bool) -> list[str]:
    # docker reads the value as a line of CSV: a comma in a path has to be quoted.
    line = io.StringIO()
    fields = ["type=bind", f"source={source}", f"target={target}", *(["readonly"] if read_only else [])]
    csv.writer(line, lineterminator="").writerow(fields)
    return ["--mount", line.getvalue()]
