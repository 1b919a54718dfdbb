"""`nemotron-build build`: all stages, and the package at the end of them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from nemotron_build.checkpoint.shape import CONFIG
from nemotron_build.errors import BuildError
from nemotron_build.machine import Machine, detect
from nemotron_build.pipeline.assemble import assemble, package_content
from nemotron_build.pipeline.request import Request, check_possible, require_compiler
from nemotron_build.pipeline.run import OUTPUT_OPTION, Interrupted, kept, run_stages
from nemotron_build.pipeline.stage import Cost, logs_of
from nemotron_build.pipeline.stages import Files, make_stages, read_accuracy, results
from nemotron_build.pipeline.trtllm_build import check_engine
from nemotron_build.pipeline.work import WORK_OPTION, files_of, opened
from nemotron_build.profiles import Profile
from nemotron_build.space import directory_bytes, full_disk_as_error, require_space, same_disk, size
from nemotron_build.steps import Steps
from nemotron_build.target import refuse_existing
from nemotron_serving.package import TOKENIZER

_HASHED_BYTES_PER_S = 1e9


@dataclass(frozen=True)
class Place:
    """Where a build happens.

    Attributes:
        package: Directory of the package.
        work: The working directory.
        keep_work: Whether it stays after success.
        force: Whether a package that is there is replaced.
    """

    package: Path
    work: Path
    keep_work: bool = False
    force: bool = False


def build(request: Request, place: Place, steps: Steps) -> None:
    """Run all stages that are not finished, and write the package.

    Raises:
        BuildError: what is wrong and what to do about it; the class says of what kind it is.
        Interrupted: ctrl-C.
    """
    refuse_existing(place.package, force=place.force)
    check_possible(request)
    machine = detect()
    if request.profile.compiles:
        require_compiler(request.profile, machine)  # now, and not after an hour of quantizing
    for note in (*request.source.notes, *request.notes):
        steps.say(note)
    with opened(place.work) as work:
        stages = make_stages(request, work.files, machine)
        run_stages(stages, work, steps)
        names = [stage.name for stage in stages]
        try:
            with full_disk_as_error(place.work, option=WORK_OPTION), steps.step("Writing the package"):
                write(request, place.package, work.files, machine)
        except KeyboardInterrupt:
            raise Interrupted(f"interrupted while the package was written. {kept(names, work)}") from None
        if place.keep_work:
            steps.say(f"The working directory stays at {place.work}.")
        else:
            work.keep_logs(logs_of(place.package))
            work.remove()
    steps.done(_made(place.package))


def write(request: Request, package: Path, files: Files, machine: Machine) -> None:
    """Write the package from what the stages left."""
    made = results(request, files)
    if not same_disk(made.engine, package):
        require_space(package.parent, directory_bytes(made.engine), "the package", option=OUTPUT_OPTION)
    content = package_content(
        request, made.engine, sha256=made.read_sha256(), accuracy=made.read_accuracy(), machine=machine
    )
    assemble(package, content, request.profile, link=True)


def package_alone(
    request: Request, package: Path, *, engine: Path, accuracy: Path | None, force: bool, steps: Steps
) -> None:
    """Write a package of an engine or a converted checkpoint that was made before. Its files are copied.

    Raises:
        BuildError: a package is there, or `engine` is not what the profile needs.
    """
    refuse_existing(package, force=force)
    check_possible(request)
    machine = detect()
    check_engine_files(request.profile, engine)
    if request.profile.compiles:
        require_compiler(request.profile, machine)
    require_space(package.parent, directory_bytes(engine), "the package", option=OUTPUT_OPTION)
    for note in request.notes:
        steps.say(note)
    with steps.progress("Hashing the checkpoint") as report:
        sha256 = request.source.fingerprint(report)
    figures = read_accuracy(accuracy) if accuracy else {}
    with full_disk_as_error(package.parent, option=OUTPUT_OPTION), steps.step("Writing the package"):
        content = package_content(request, engine, sha256=sha256, accuracy=figures, machine=machine)
        assemble(package, content, request.profile, link=False)
    steps.done(_made(package))


def check_engine_files(profile: Profile, engine: Path) -> None:
    """Make sure that a directory holds what the engine of a profile loads.

    Raises:
        BuildError: it does not.
        VerificationError: an engine that is not what the profile says.
    """
    if profile.compiles:
        check_engine(engine, profile)
        return
    if not engine.is_dir():
        raise BuildError(f"{engine} is not there. Name with --engine what the stage before made.")
    for name in _cpu_files() if profile.target == "openvino" else (CONFIG,):
        if not (engine / name).is_file():
            raise BuildError(f"{engine} has no {name}. Name with --engine what the stage before made.")


def _cpu_files() -> tuple[str, ...]:
    from nemotron_build.cpu.to_openvino import ENGINE_FILES

    return (*ENGINE_FILES, TOKENIZER)


def dry_run(request: Request, place: Place) -> str:
    """What `build` would run, a line for each command, with what is expected of each stage.

    It needs neither a GPU nor TensorRT-LLM, and writes nothing.

    Raises:
        BuildError: it would be refused on every machine.
    """
    refuse_existing(place.package, force=place.force)
    check_possible(request)

    def files(stage: str) -> Path:
        return files_of(place.work, stage)

    lines = [f"# {request.source.path} -> {place.package}, by profile {request.profile.name}"]
    lines += [f"# {note}" for note in request.notes]
    costs = []
    for stage in make_stages(request, files, Machine()):
        costs.append(stage.cost())
        lines += ["", f"# {stage.name}: about {_shown(costs[-1])}"]
        lines += [shlex.join(command) for command in stage.commands(files(stage.name))]
    costs.append(Cost(1_000_000, max(cost.disk_bytes for cost in costs) / _HASHED_BYTES_PER_S))
    lines += ["", f"# package: about {_shown(costs[-1])}, as its files are links", shlex.join(_package(request, place))]
    total = Cost(sum(cost.disk_bytes for cost in costs), sum(cost.seconds for cost in costs))
    return "\n".join([*lines, "", f"# all: about {_shown(total)} in {place.work}"])


def _package(request: Request, place: Place) -> list[str]:
    made = results(request, lambda stage: files_of(place.work, stage))
    command = ["nemotron-build", "package", str(request.source.path), "--engine", str(made.engine)]
    command += [*request.profile_options, "--name", request.name]
    if made.accuracy:
        command += ["--accuracy", str(made.accuracy)]
    if request.chat_format:
        command += ["--chat-format", request.chat_format]
    return [*command, *(["--force"] if place.force else []), "--output", str(place.package)]


def _made(package: Path) -> str:
    return f"Made {package}: serve it with 'nemotron-serve {shlex.quote(str(package))}'."


def _shown(cost: Cost) -> str:
    time = f"{cost.seconds:.0f} s" if cost.seconds < 120 else f"{cost.seconds / 60:.0f} min"
    return f"{time}, {size(cost.disk_bytes)}"
