"""nemotron-serve check: what stands in the way of serving, as a table; with --engine, how TensorRT-LLM differs."""

from __future__ import annotations

import platform
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from nemotron_serving.cgroups import available_memory, memory_limit
from nemotron_serving.engine.tensorrt_llm.files import read_engine_files
from nemotron_serving.errors import ServingError
from nemotron_serving.launcher.endpoints import choose_endpoints
from nemotron_serving.launcher.engine_library import check_engine_library, differences, installed_release, recorded_api
from nemotron_serving.launcher.errors import SetupError
from nemotron_serving.launcher.limits import Look, Need, check_files, check_shared_memory, check_threads
from nemotron_serving.launcher.options import ServeOptions
from nemotron_serving.launcher.terminal import show
from nemotron_serving.launcher.triton_command import tritonserver_environment
from nemotron_serving.launcher.triton_files import (
    PYTHON_VERSION,
    check_stub,
    default_repository,
    find_triton,
    libpython_directories,
    model_names,
)
from nemotron_serving.package import ENGINE_DIR, Package

_VERSION_S = 20.0
_GIB = 1 << 30
_LEAST_KV_CACHE_GIB = 1  # of the engine on the CPU, when it chooses
_PROCESSES = 340 << 20  # beside weights and cache: a group with the demo had 431 MB after its start, 95 of them files
_LARGEST_SHARE = 0.8  # of the memory that the model leaves, the most to advise as KV cache: the server needs some too
_NAME_WIDTH = 22

Check = Callable[[], str]


def report(options: ServeOptions, package: Path | None) -> int:
    """Print the table.

    Args:
        options: How the server would be started.
        package: What it would serve; None checks the machine alone.

    Returns:
        0 if nothing stands in the way, else 1.
    """
    faults = 0
    for name, check in _checks(options, package):
        try:
            found = check()
            _row("look" if isinstance(found, Look) else "ok", name, found)
        except ServingError as error:
            _row("FAIL", name, str(error))
            faults += 1
    return 1 if faults else 0


def report_engine(package: Path | None) -> int:
    """Print how the installed TensorRT-LLM differs from the release that the engine's adapter was written for.

    Args:
        package: Compares only what this package needs, of another engine its library's release; None compares all.

    Returns:
        0 if the adapter can work with it, else 1.
    """
    loaded: Package | None = None
    try:
        loaded = Package.load(package) if package else None
        if loaded and (engine := loaded.manifest.engine).kind != "tensorrt_llm":
            library = check_engine_library(engine, loaded.engine_path)
            _row("ok", f"{engine.kind} package", f"{library}; --engine compares TensorRT-LLM alone")
            return 0
        flow = read_engine_files(loaded).flow if loaded else None
        installed, recorded = installed_release(), recorded_api()
    except ServingError as error:
        _row("FAIL", "package" if package and not loaded else "TensorRT-LLM", str(error))
        return 1
    _row("ok", "TensorRT-LLM", f"{installed}, compared with {recorded.release}")
    faults = 0
    for one in recorded.objects:
        if flow is not None and one.flow not in (None, flow):
            continue
        found = differences(one)
        for difference in found:
            _row("FAIL" if difference.breaks else "look", one.name, difference.text)
        if not found:
            _row("ok", one.name, f"{len(one.members)} names as recorded" if one.members else "is there")
        faults += sum(difference.breaks for difference in found)
    return 1 if faults else 0


def check_memory(package: Package, kv_cache_gib: int | None) -> str:
    """Compare the memory that an engine on the CPU takes with what is available.

    Args:
        package: Its engine's files are held in memory.
        kv_cache_gib: What was asked for as the KV cache; None leaves it to the engine, which looks at what is free.

    Returns:
        What was found, for people to read.

    Raises:
        SetupError: it is not enough; an engine would end in the middle of its start.
    """
    size = sum(file.bytes for name, file in package.manifest.files.items() if name.startswith(f"{ENGINE_DIR}/"))
    found = f"the engine's files take {size / _GIB:.2f} GiB"
    if package.manifest.engine.kind != "openvino":  # the memory is the GPU's, or nobody's
        return found
    available = available_memory()
    if size > available:
        raise SetupError(
            f"The engine's files take {size / _GIB:.2f} GiB, {available / _GIB:.2f} GiB of memory are available. "
            "Free some, or build the package in a smaller precision."
        )
    if kv_cache_gib is not None and size + kv_cache_gib * _GIB > available:
        most = int((available - size) * _LARGEST_SHARE) // _GIB
        remedy = f"Give at most {most}, or leave the option out" if most else "Leave the option out, or free some"
        raise SetupError(
            f"--kv-cache-gib {kv_cache_gib}: with the engine's files of {size / _GIB:.1f} GiB that is more than the "
            f"{available / _GIB:.1f} GiB of memory that are available. {remedy}."
        )
    found += f", the KV cache {kv_cache_gib or f'at least {_LEAST_KV_CACHE_GIB}'} GiB"
    if size + (kv_cache_gib or _LEAST_KV_CACHE_GIB) * _GIB + _PROCESSES > available:
        return Look(
            f"{found}, the processes {_PROCESSES / _GIB:.2f} GiB: more than the {available / _GIB:.2f} GiB that are "
            "available. Once the cache is full, the kernel may end the server."
        )
    return found


def _row(mark: str, name: str, text: str) -> None:
    show(f"{mark:<5}{name:<{_NAME_WIDTH}}{text}")


def _checks(options: ServeOptions, package: Path | None) -> Iterator[tuple[str, Check]]:
    yield "Python", _python
    yield "Triton", lambda: _triton(options)
    yield "Python models", lambda: _stub(options)
    yield "model repository", lambda: _repository(options)
    yield "ports", lambda: _ports(options)
    loaded: Package | None = None
    with suppress(ServingError):  # told below
        loaded = Package.load(package) if package else None
    need = Need.of(loaded, options.engine_threads)
    yield "threads", lambda: check_threads(need)
    yield "open files", lambda: check_files(need)
    yield "shared memory", lambda: check_shared_memory(need)
    yield "memory", _memory
    if package is None:
        return
    yield "package", lambda: _package(package)
    if loaded is not None:
        yield "package files", lambda: _package_files(loaded)
        if loaded.manifest.engine.device == "cpu":
            yield "package memory", lambda: check_memory(loaded, options.kv_cache_gib)
        yield "engine library", lambda: check_engine_library(loaded.manifest.engine, loaded.engine_path)


def _python() -> str:
    found = libpython_directories()
    shared = f"shared libpython in {found[0]}" if found else "shared libpython not found beside it"
    return f"{platform.python_version()}, {shared}"


def _triton(options: ServeOptions) -> str:
    triton = find_triton(options.tritonserver)
    with tempfile.TemporaryDirectory() as empty:
        # Triton tells its version only when it starts. A model that does not exist makes it end again.
        result = subprocess.run(
            [triton.binary, f"--model-repository={empty}", "--model-control-mode=explicit", "--load-model=none",
             "--exit-timeout-secs=0", "--allow-http=false", "--allow-grpc=false", "--allow-metrics=false"],
            env=tritonserver_environment(triton, options, Path(empty)),
            capture_output=True, text=True, check=False, timeout=_VERSION_S,
        )  # fmt: skip
    version = re.search(r"server_version\s*\|\s*([\d.]+)", result.stdout + result.stderr)
    if version is None:
        said = (result.stderr or result.stdout).strip().splitlines()[-1:]
        raise SetupError(f"{triton.binary} does not start: {' '.join(said) or f'status {result.returncode}'}")
    return f"{version[1]}, {triton.binary}"


def _stub(options: ServeOptions) -> str:
    triton = find_triton(options.tritonserver)
    check_stub(triton, tritonserver_environment(triton, options, Path()))
    return f"stub for Python {PYTHON_VERSION}, {triton.stub}"


def _repository(options: ServeOptions) -> str:
    repository = options.model_repository or default_repository()
    return f"{', '.join(model_names(repository))}, in {repository}"


def _ports(options: ServeOptions) -> str:
    free = choose_endpoints(options)
    openai = "" if free.openai_port is None else f", {free.openai_port}"
    return f"{free.http_port}, {free.grpc_port}, {free.metrics_port}, {free.health_port}{openai} free on {free.bind}"


def _memory() -> str:
    machine, limit = psutil.virtual_memory().total, memory_limit()
    total = machine if limit is None else min(limit, machine)
    allowed = (
        f", the most that this container or unit allows of the machine's {machine / _GIB:.1f}"
        if total < machine
        else ""
    )
    return f"{available_memory() / _GIB:.1f} of {total / _GIB:.1f} GiB available{allowed}"


def _package(path: Path) -> str:
    manifest = Package.load(path).manifest
    return f"{manifest.name} ({manifest.engine.kind} {manifest.engine.version}, {manifest.engine.precision})"


def _package_files(package: Package) -> str:
    package.verify_files()
    files = package.manifest.files.values()
    return f"{len(files)} files, {sum(file.bytes for file in files) / _GIB:.2f} GiB, as in the manifest"
