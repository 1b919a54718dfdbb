"""The command that builds or serves inside the serving image: container."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemotron_build.cli.options import limit_arguments, named_profile
from nemotron_build.cli.pipeline import add_build_arguments, profile_argument
from nemotron_serving.command_line import path, whole

if TYPE_CHECKING:
    from rich.console import Console

_CONTAINER = """\
Print the docker command that runs the same build inside the serving image, which has TensorRT-LLM and its compiler:
the checkpoint is mounted read-only, the package's parent directory is written to, and files belong to you. --run runs
it. The image takes 14 GB and is not fetched by this command before docker does.
"""
_SERVE = """\
Print the docker command that serves a package for a GPU inside the serving image, which has Triton and TensorRT-LLM.
The package is mounted read-only, and the ports are published on this machine alone. --run runs it until ctrl-C. What
stands behind -- goes to nemotron-serve inside. OpenAI's API comes from a front outside: nemotron-front
grpc://127.0.0.1:8001. The command is tested, but the image was not started with it yet.
"""
_SERVE_EPILOG = """\
examples:
  nemotron-build container serve packages/nano               the command, to be copied
  nemotron-build container serve packages/nano --run         run it
  nemotron-build container serve packages/nano --run --gpus device=1 --grpc-port 9001 -- --kv-cache-gib 40
"""
_CONTAINER_EPILOG = """\
examples:
  nemotron-build container build ~/Llama-3.1-Nemotron-Nano-8B-v1 --profile h100-fp8 -o packages/nano --run
  nemotron-build container serve packages/nano --run
"""
_EPILOG = """\
The container installs a few small Python libraries that the image may lack. On a machine without a network, fetch
their wheels elsewhere ('container wheels DIR' prints the command) and name their directory with --wheels: then the
container gets no network at all.
"""


def add_commands(commands: Any) -> None:
    """Add it to the parser's subcommands."""
    shape = argparse.RawDescriptionHelpFormatter
    container = commands.add_parser("container", help="build or serve inside the serving image", formatter_class=shape)
    container.description = "Build a package, or serve one, inside the serving image, which has TensorRT-LLM."
    container.epilog = _CONTAINER_EPILOG
    parts = container.add_subparsers(title="commands", metavar="COMMAND", required=True)
    build = parts.add_parser("build", help="see 'nemotron-build build'", description=_CONTAINER, formatter_class=shape)
    build.epilog = _EPILOG
    build.set_defaults(run=_container)
    add_build_arguments(build)
    _add_docker_options(build)

    serve = parts.add_parser("serve", help="see 'nemotron-serve'", description=_SERVE, formatter_class=shape)
    serve.epilog = _SERVE_EPILOG
    serve.set_defaults(run=_serve)
    serve.add_argument("package", type=path, metavar="PACKAGE", help="made for a GPU")
    serve.add_argument("--bind", default="127.0.0.1", metavar="ADDRESS", help="of this machine (127.0.0.1)")
    for name, port in (("http", 8000), ("grpc", 8001), ("metrics", 8002), ("health", 8003)):
        serve.add_argument(f"--{name}-port", type=whole(1, 65535), default=port, metavar="PORT", help=f"({port})")
    _add_docker_options(serve)

    wheels = parts.add_parser("wheels", help="print the command that fetches what --wheels needs")
    wheels.set_defaults(run=_wheels)
    wheels.add_argument("directory", type=path, metavar="DIR", help="for --wheels")


def _add_docker_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--run", dest="run_docker", action="store_true", help="run the command instead of printing it")
    add("--image", help="another image with TensorRT-LLM 1.2.1")
    add("--gpus", default="all", metavar="GPUS", help="docker's --gpus (all), such as device=0")
    add("--wheels", type=path, metavar="DIR", help="wheels of what the image lacks, so that nothing is fetched")


def _serve(arguments: argparse.Namespace, _: Console) -> str | None:
    from nemotron_build.docker import docker_command, run_container, serve_options
    from nemotron_build.errors import UsageError
    from nemotron_serving.engine.tensorrt_llm.files import IMAGE
    from nemotron_serving.package import Package

    package: Path = arguments.package
    engine = Package.load(package).manifest.engine
    if engine.kind != "tensorrt_llm":
        raise UsageError(
            f"{package} is for {engine.kind} on a CPU and needs no image: 'nemotron-serve {package}' serves it."
        )
    options = serve_options(
        package,
        bind=arguments.bind,
        ports={name: getattr(arguments, f"{name}_port") for name in ("http", "grpc", "metrics", "health")},
        more=arguments.behind,
        image=arguments.image or IMAGE,
        gpus=arguments.gpus,
        wheels=arguments.wheels,
    )
    command = docker_command(options)
    if not arguments.run_docker:
        return shlex.join(command)
    run_container(command)
    return None


def _container(arguments: argparse.Namespace, _: Console) -> str | None:
    from nemotron_build.docker import ContainerOptions, docker_command, run_container
    from nemotron_build.errors import CheckpointError, UsageError
    from nemotron_build.target import refuse_existing
    from nemotron_serving.engine.tensorrt_llm.files import IMAGE
    from nemotron_serving.paths import hub_name, no_checkpoint

    package = arguments.package.absolute()
    if hub_name(arguments.checkpoint):  # a command for another machine names a path that is there
        raise CheckpointError(no_checkpoint(arguments.checkpoint))
    profile = named_profile(arguments)
    if profile.target == "openvino":
        raise UsageError(f"Profile {profile.name} is for CPUs and needs no image: use 'nemotron-build build' itself.")
    refuse_existing(package, force=arguments.force)
    options = ContainerOptions(
        arguments=_build_arguments(arguments),
        read=_read(arguments),
        write=[package.parent, *([arguments.work] if arguments.work else [])],
        image=arguments.image or IMAGE,
        gpus=arguments.gpus,
        wheels=arguments.wheels,
    )
    command = docker_command(options)
    missing = [str(directory.absolute()) for directory in options.write if not directory.exists()]
    if not arguments.run_docker:
        made_first = f"{shlex.join(['mkdir', '-p', *missing])} && " if missing else ""
        return made_first + shlex.join(command)
    if not arguments.checkpoint.exists():
        raise CheckpointError(no_checkpoint(arguments.checkpoint))
    for directory in options.write:
        directory.mkdir(parents=True, exist_ok=True)  # docker refuses to mount what is not there
    run_container(command)
    return None  # the build inside has said what it made


def _wheels(arguments: argparse.Namespace, _: Console) -> str:
    from nemotron_build.docker import wheels_command

    return shlex.join(wheels_command(arguments.directory))


def _build_arguments(arguments: argparse.Namespace) -> list[str]:
    """The arguments of the build inside, with paths that hold there too."""
    made = ["build", str(arguments.checkpoint.absolute()), "--profile", profile_argument(arguments.profile)]
    made += limit_arguments(arguments)
    made += ["--output", str(arguments.package.absolute())]
    for name in ("name", "chat_format"):
        if value := getattr(arguments, name):
            made += [f"--{name.replace('_', '-')}", value]
    for name in ("calibration", "held_out", "work"):
        if path := getattr(arguments, name):
            made += [f"--{name.replace('_', '-')}", str(path.absolute())]
    for name in ("force", "keep_work", "scan_values", "dry_run"):
        if getattr(arguments, name):
            made.append(f"--{name.replace('_', '-')}")
    return made


def _read(arguments: argparse.Namespace) -> list[Path]:
    """What the build reads. The target of a link, such as a file in Hugging Face's cache, has to be there too."""
    checkpoint = arguments.checkpoint.absolute()
    given = [checkpoint, arguments.calibration, arguments.held_out]
    if arguments.profile.endswith(".toml"):
        given.append(Path(arguments.profile))
    linked = {file.resolve().parent for file in checkpoint.iterdir()} if checkpoint.is_dir() else set()
    outside = {place for place in linked if not place.is_relative_to(checkpoint)}
    return [path.absolute() for path in given if path] + sorted(outside)
