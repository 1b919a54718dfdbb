"""podman and buildah as root, with settings, networks and containers of their own: nothing of the user's is touched.

Images are kept in `.cache/deploy`, whose layers are those of the Dockerfile and of what it copies: a second run on the
same sources builds nothing. All else is in a temporary directory, which goes when the tests are over. Containers are
stopped then, whatever has happened.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import resource
import secrets
import shutil
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.running import end
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "deploy"
DOCKERFILE = ROOT / "deploy" / "image" / "Dockerfile"
IMAGE = "localhost/nemotron-triton:test"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
MOST_LAYERS = 150  # of all builds that are kept, some 20 of each; with more of them all are made anew
START_S = 300
BUILD_S = 900
# A base that can be made without a registry. The Dockerfile's own default cannot be fetched here.
BASE_SUITE = "bookworm"
BASE_PACKAGES = ("ca-certificates", "libpython3.11", "python3-venv")
BASE = f"localhost/nemotron-test-base:{BASE_SUITE}"
# The limits that a deployment sets. /tmp is all that can be written to.
HARDENED = (
    *("--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL", "--security-opt=no-new-privileges"),
    *("--tmpfs=/tmp:rw,nosuid,nodev,noexec,size=256m,mode=1777", "--shm-size=64m"),
    *("--memory=1g", "--memory-swap=1g", "--cpus=1", "--pids-limit=1024"),
)
_PIP_SETTINGS = ("index-url", "proxy", "timeout", "trusted-host")


@dataclass(frozen=True)
class Podman:
    """The two programs with a store of their own.

    Attributes:
        directory: What they write, but for the images that are kept.
        name: Of its network, and what all names of its containers begin with.
        environment: Of each program that is to use the same store, such as Compose's.
    """

    directory: Path
    name: str
    environment: Mapping[str, str]

    def run(self, *arguments: str | Path, timeout: float = 300, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`podman ARGUMENTS`, whose output is text."""
        return _run(["podman", *map(str, arguments)], self.environment, timeout, check, self.directory)

    def inspect(self, kind: str, name: str) -> dict[str, Any]:
        """What podman says about a container, an image, a network …"""
        (value,) = json.loads(self.run(kind, "inspect", name).stdout)
        return dict(value)

    @contextlib.contextmanager
    def container(
        self, *arguments: str | Path, options: Sequence[str | Path] = (), image: str = IMAGE
    ) -> Iterator[Container]:
        """A container in the session's network, which has no way out, until the block ends.

        Args:
            arguments: What its entry point is given.
            options: Of `podman run`.
            image: What is run.
        """
        name = f"{self.name}-{secrets.token_hex(3)}"
        try:
            self.run("run", "--detach", f"--name={name}", f"--network={self.name}", *options, image, *arguments)
            yield Container(self, name)
        finally:
            self.run("rm", "--force", "--time=0", "--ignore", name)

    @contextlib.contextmanager
    def service(self) -> Iterator[str]:
        """podman's service, which answers what asks for Docker: the value of DOCKER_HOST, until the block ends."""
        socket = self.directory / "docker.sock"
        process = subprocess.Popen(
            ["podman", "system", "service", "--time=0", f"unix://{socket}"],
            env=dict(self.environment),
            cwd=self.directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until(socket.exists, START_S)
            yield f"unix://{socket}"
        finally:
            end(process)


@dataclass(frozen=True)
class Container:
    """A container that was started.

    Attributes:
        podman: What runs it.
        name: Its name.
        infra: The container of its pod that has the network; its own without a pod.
    """

    podman: Podman
    name: str
    infra: str = ""
    _known: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Its address in the network, reached from this machine."""
        if "address" not in self._known:
            networks = self.podman.inspect("container", self.infra or self.name)["NetworkSettings"]["Networks"]
            self._known["address"] = str(networks[self.podman.name]["IPAddress"])
        return self._known["address"]

    @property
    def running(self) -> bool:
        return bool(self.podman.inspect("container", self.name)["State"]["Running"])

    @property
    def exit_status(self) -> int:
        return int(self.podman.inspect("container", self.name)["State"]["ExitCode"])

    @property
    def log(self) -> str:
        """What it has written so far, to both of its outputs."""
        found = self.podman.run("logs", self.name)
        return found.stdout + found.stderr

    def execute(self, *command: str, check: bool = True) -> str:
        """What a command in it writes."""
        return self.podman.run("exec", self.name, *command, check=check).stdout

    def wait_ready(self, port: int = 8003, path: str = "/ready") -> None:
        """Wait until it answers requests."""
        url = f"http://{self.address}:{port}{path}"

        def answers() -> bool:
            assert self.running, self.log
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=60) as response:
                return int(response.status) == 200
            return False

        try:
            wait_until(answers, START_S)
        except AssertionError:
            raise AssertionError(f"{url} has not answered 200 in time:\n{self.log}") from None


@contextlib.contextmanager
def session() -> Iterator[Podman]:
    """Both programs with a store that has the image, and a network that leads nowhere else, until the block ends."""
    directory = Path(tempfile.mkdtemp(prefix="nemotron-", dir="/tmp"))  # short, for paths of sockets end at 108 bytes
    try:
        name = f"nt{secrets.token_hex(3)}"
        podman = Podman(directory, name, _settings(directory, name))
        with _locked():
            if len(_buildah(podman, "images", "--all", "--quiet").stdout.split()) > MOST_LAYERS:
                _buildah(podman, "rmi", "--all", "--force")
            _make_base(podman)
            _make_image(podman)
        subnet = _subnet()
        gateway = subnet.replace(".0/24", ".1")
        podman.run(
            "network", "create", "--internal", "--disable-dns", f"--subnet={subnet}", f"--gateway={gateway}", name
        )
        try:
            yield podman
        finally:
            podman.run("pod", "rm", "--all", "--force", check=False)
            podman.run("rm", "--all", "--force", "--time=0", check=False)
            podman.run("network", "rm", "--force", name, check=False)
    finally:
        _remove(directory)


def _run(
    command: Sequence[str | Path],
    environment: Mapping[str, str],
    timeout: float,
    check: bool = True,
    directory: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run it, in a directory that may be written to: where a container had no memory, conmon leaves a file there."""
    found = subprocess.run(
        [*map(str, command)],
        env=dict(environment),
        cwd=directory,
        timeout=timeout,
        check=False,
        capture_output=True,
        text=True,
    )
    assert not check or found.returncode == 0, (
        f"{' '.join(map(str, command))}: {found.returncode}\n{found.stdout}{found.stderr}"
    )
    return found


def _settings(directory: Path, name: str) -> dict[str, str]:
    """Write both programs' settings: the environment that names them."""
    assert os.getuid() == 0, "networks of containers need root"
    for program in ("podman", "buildah", "debootstrap", "runc"):
        assert shutil.which(program, path=_path()), f"{program} is missing: run 'make setup-deploy' first"
    # Without them podman asks for more than many a shell's hard limits. Buildah lowers its own processes to pid_max.
    most = int(Path("/proc/sys/kernel/pid_max").read_text())
    files, processes = (resource.getrlimit(kind)[1] for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC))
    processes = min(most, processes) if processes > 0 else most
    ulimits = [f"nofile={files}:{files}", f"nproc={processes}:{processes}"]
    sections: dict[str, dict[str, object]] = {
        # crun refuses control groups of version 1 beside those of version 2.
        "containers": {"default_ulimits": ulimits, "log_driver": "k8s-file"},
        "engine": {
            "runtime": "runc",
            "cgroup_manager": "cgroupfs",
            "events_logger": "file",
            "tmp_dir": str(directory / "tmp"),
        },
        "network": {
            **{"network_backend": "netavark", "network_config_dir": str(directory / "networks")},
            **{"default_network": f"{name}-default", "default_subnet": _subnet()},
        },
    }
    # Values of JSON are values of TOML.
    lines = [
        f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
        for section, values in sections.items()
    ]
    (directory / "containers.conf").write_text("\n".join(lines))
    (directory / "storage.conf").write_text(_storage(directory / "root", directory / "run", [CACHE]))
    for store in (CACHE, directory / "networks"):
        store.mkdir(parents=True, exist_ok=True)
    # The store of the images is a second one, which podman reads.
    (directory / "cache.conf").write_text(_storage(CACHE, directory / "cache-run", []))
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith(("CONTAINER", "DOCKER", "BUILDAH"))},
        **{"PATH": _path(), "TMPDIR": str(directory), "XDG_RUNTIME_DIR": str(directory)},
        "CONTAINERS_CONF": str(directory / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(directory / "storage.conf"),
    }


def _path() -> str:
    """Where Debian keeps programs for root, too."""
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def _storage(root: Path, run: Path, more: Sequence[Path]) -> str:
    options = f"[storage.options]\nadditionalimagestores = {json.dumps([str(path) for path in more])}\n" if more else ""
    return f'[storage]\ndriver = "overlay"\ngraphroot = "{root}"\nrunroot = "{run}"\n{options}'


def _subnet() -> str:
    """One that nobody else is likely to have, and no other run of these tests."""
    return f"10.{200 + secrets.randbelow(50)}.{secrets.randbelow(256)}.0/24"


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Alone with the images that are kept: each worker of a run wants them."""
    with (CACHE.parent / "deploy.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _buildah(podman: Podman, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {**podman.environment, "CONTAINERS_STORAGE_CONF": str(podman.directory / "cache.conf")}
    return _run(["buildah", *arguments], environment, BUILD_S, check)


def _make_base(podman: Podman) -> None:
    """A Debian with Python, once: its packages are unpacked and not configured, which takes half the time."""
    if _buildah(podman, "inspect", "--type=image", BASE, check=False).returncode == 0:
        return
    root = podman.directory / "base"
    include = f"--include={','.join(BASE_PACKAGES)}"
    _run(["debootstrap", "--foreign", "--variant=minbase", include, BASE_SUITE, root], podman.environment, BUILD_S)
    for package in sorted(root.glob("var/cache/apt/archives/*.deb")):
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as files:
            subprocess.run(["tar", "-x", "--keep-directory-symlink", "-C", root], stdin=files.stdout, check=True)
    for name in ("passwd", "group"):
        shutil.copy(root / f"usr/share/base-passwd/{name}.master", root / "etc" / name)
    for name in ("debootstrap", "var/cache/apt", "var/lib/apt"):
        shutil.rmtree(root / name, ignore_errors=True)
    if (root / "proc").is_symlink():  # where debootstrap may mount nothing
        (root / "proc").unlink()
        (root / "proc").mkdir()
    container = _buildah(podman, "from", "scratch").stdout.strip()
    try:
        _buildah(podman, "add", "--quiet", container, root, "/")
        _buildah(podman, "commit", "--quiet", container, BASE)
    finally:
        _buildah(podman, "rm", container, check=False)
        shutil.rmtree(root)


def _make_image(podman: Podman) -> None:
    """The image, from the Dockerfile; from the layers of the last time, where what they are made of is the same.

    Buildah asks itself that for half a minute: where all is the same, it is not asked.
    """
    made_of, known = _made_of(), CACHE.with_name("deploy.made-of")
    there = _buildah(podman, "inspect", "--type=image", IMAGE, check=False).returncode == 0
    if there and known.exists() and known.read_text() == made_of:
        return
    known.unlink(missing_ok=True)
    pip, authority = podman.directory / "pip.conf", podman.directory / "ca.crt"
    settings = _pip_settings()
    lines = [f"{key} = {settings[key]}\n" for key in _PIP_SETTINGS if key in settings]
    if "cert" in settings:
        lines.append("cert = /run/secrets/ca\n")
        shutil.copy(settings["cert"], authority)
    else:
        authority.touch()
    pip.write_text("[global]\n" + "".join(lines))
    # HEALTHCHECK is Docker's: images of OCI have none.
    options = [
        "--isolation=chroot",
        "--layers",
        "--format=docker",
        f"--build-arg=BASE={BASE}",
        f"--build-arg=VERSION={VERSION}",
    ]
    given = [f"--secret=id=pip,src={pip}", f"--secret=id=ca,src={authority}"]
    _buildah(podman, "build", "--quiet", *options, *given, f"--file={DOCKERFILE}", f"--tag={IMAGE}", ROOT)
    known.write_text(made_of)


def _made_of() -> str:
    """Hash of the Dockerfile and of all that it may copy."""
    ignore = ROOT / ".dockerignore"
    copied = [line.removeprefix("!") for line in ignore.read_text().splitlines() if line.startswith("!")]
    found = {path for pattern in copied for top in ROOT.glob(pattern) for path in (top, *top.rglob("*"))}
    files = sorted(path for path in found if path.is_file() and "__pycache__" not in path.parts)
    hashed = hashlib.sha256(BASE.encode())
    for path in (DOCKERFILE, ignore, *files):
        hashed.update(f"{path.relative_to(ROOT)} {path.stat().st_mode:o}".encode() + path.read_bytes())
    return hashed.hexdigest()


def _pip_settings() -> dict[str, str]:
    """What this machine's pip is told, by files and by its environment; the last one counts."""
    listed = _run([sys.executable, "-m", "pip", "config", "list"], os.environ, 300).stdout.splitlines()
    pairs = (line.partition("=") for line in listed)
    return {name.rpartition(".")[2]: value.strip("'") for name, _, value in pairs}


def _remove(directory: Path) -> None:
    """The directory, and what is still mounted in it."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in sorted((one for one in mounts if one.startswith(f"{directory}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=False)
    shutil.rmtree(directory)
