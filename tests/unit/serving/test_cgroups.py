from __future__ import annotations

import os
from pathlib import Path

import pytest

from nemotron_serving.cgroups import (
    Events,
    available_memory,
    cores,
    events,
    memory_left,
    memory_limit,
    paid_cores,
    tasks_left,
)

MIB = 1 << 20


def process(root: Path, groups: str, mounts: list[str]) -> Path:
    """A directory as in /proc; in `mounts`, {root} stands for the directory that the hierarchies are mounted in."""
    proc = root / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text(groups)
    (proc / "mountinfo").write_text("".join(f"{line.format(root=root)}\n" for line in mounts))
    return proc


def group(path: Path, **files: object) -> None:
    path.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (path / name.replace("_", ".", 1)).write_text(f"{content}\n")


V2 = "30 23 0:26 / {root}/cgroup rw,nosuid - cgroup2 cgroup2 rw"


def test_the_tightest_of_all_groups_counts(tmp_path: Path) -> None:
    own = tmp_path / "cgroup" / "system.slice" / "nemotron.service"
    group(own, memory_max="max", memory_current=1, pids_max=500, pids_current=100)
    group(own.parent, memory_max=900 * MIB, memory_current=500 * MIB, pids_max=300, pids_current=280,
          memory_stat=f"anon 1\ninactive_file {100 * MIB}\nactive_file 7")  # fmt: skip
    group(own.parent.parent, memory_max=600 * MIB, memory_current=10 * MIB)
    proc = process(tmp_path, "0::/system.slice/nemotron.service\n", [V2])
    assert memory_limit(proc) == 600 * MIB
    left = memory_left(proc)
    assert left is not None and left.left == 500 * MIB and left.file == own.parent / "memory.max"
    tasks = tasks_left(proc)
    assert tasks is not None and (tasks.most, tasks.used, tasks.left) == (300, 280, 20)


def test_a_container_that_sees_its_own_group_alone(tmp_path: Path) -> None:
    """With the host's names of groups, and its own group mounted where the host has the root."""
    group(tmp_path / "cgroup", memory_max=1024 * MIB, memory_current=24 * MIB, pids_max=2048, pids_current=7)
    mount = "30 23 0:26 /../.. {root}/cgroup ro - cgroup2 cgroup2 rw"
    proc = process(tmp_path, "0::/../elsewhere\n", [mount])
    assert memory_limit(proc) == 1024 * MIB
    tasks = tasks_left(proc)
    assert tasks is not None and tasks.left == 2041


def test_version_1_has_a_hierarchy_for_each_controller(tmp_path: Path) -> None:
    memory, pids = tmp_path / "memory", tmp_path / "pids with space"
    group(memory, memory_limit_in_bytes=(1 << 63) - 4096, memory_usage_in_bytes=8)
    group(memory / "box", memory_limit_in_bytes=512 * MIB, memory_usage_in_bytes=200 * MIB,
          memory_stat=f"inactive_file 5\ntotal_inactive_file {50 * MIB}")  # fmt: skip
    group(pids / "docker" / "box", pids_max=64, pids_current=3)
    group(pids / "docker", pids_max="max", pids_current=3)
    proc = process(
        tmp_path,
        "9:name=systemd:/\n8:pids:/docker/box\n4:cpu,memory:/docker/box\n0::/\n",
        [
            "35 31 0:32 /docker {root}/memory rw - cgroup cgroup rw,cpu,memory",
            "39 31 0:36 / {root}/pids\\040with\\040space rw - cgroup cgroup rw,pids",
            "41 31 0:38 / {root}/unified rw - cgroup2 cgroup2 rw",
        ],
    )
    assert memory_limit(proc) == 512 * MIB
    left = memory_left(proc)
    assert left is not None and left.left == 362 * MIB
    tasks = tasks_left(proc)
    assert tasks is not None and tasks.left == 61


@pytest.mark.parametrize("groups", ["", "0::/\n", "8:pids:/\n"])
def test_without_a_limit_the_machine_has_the_word(tmp_path: Path, groups: str) -> None:
    proc = process(tmp_path, groups, [V2])
    assert (memory_limit(proc), memory_left(proc), tasks_left(proc)) == (None, None, None)
    assert available_memory(proc) > 0


def test_more_used_than_allowed_leaves_nothing(tmp_path: Path) -> None:
    group(tmp_path / "cgroup", memory_max=MIB, memory_current=2 * MIB)
    assert available_memory(process(tmp_path, "0::/\n", [V2])) == 0


def test_this_process_has_memory() -> None:
    assert available_memory() > 0


def test_what_the_groups_have_counted(tmp_path: Path) -> None:
    own = tmp_path / "cgroup" / "box"
    group(own, pids_events="max 3", memory_events="low 0\noom 2\noom_kill 1")
    group(own.parent, pids_events="max 4")
    assert events(process(tmp_path, "0::/box\n", [V2])) == Events(tasks_refused=7, killed=1)


def test_version_1_counts_kills_elsewhere(tmp_path: Path) -> None:
    group(tmp_path / "memory", memory_oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 6")
    mount = "35 31 0:32 / {root}/memory rw - cgroup cgroup rw,memory"
    assert events(process(tmp_path, "4:memory:/\n", [mount])) == Events(tasks_refused=0, killed=6)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu_max": "50000 100000"}, 1),
        ({"cpu_max": "max 100000"}, None),
        ({"cpu_cfs_quota_us": 30000, "cpu_cfs_period_us": 100000}, 1),
        ({"cpu_cfs_quota_us": -1, "cpu_cfs_period_us": 100000}, None),
        ({}, None),
    ],
)
def test_a_quota_bounds_the_cores(tmp_path: Path, files: dict[str, object], expected: int | None) -> None:
    group(tmp_path / "cgroup", **files)
    one = "30 23 0:26 / {root}/cgroup rw - cgroup cgroup rw,cpu,cpuacct"
    proc = process(tmp_path, "0::/\n3:cpu,cpuacct:/\n", [V2 if "cpu_max" in files else one])
    assert cores(proc) == (expected or len(os.sched_getaffinity(0)))
    assert paid_cores(proc) == expected


def test_a_pod_with_a_limit_of_its_own_and_a_container_with_another(tmp_path: Path) -> None:
    """As Kubernetes nests them, seen from the node: 3 cores and 2 GiB for the pod, 2.5 cores and 1 GiB in it."""
    pod = tmp_path / "cgroup" / "kubepods.slice" / "kubepods-burstable.slice" / "kubepods-burstable-pod1.slice"
    box = pod / "cri-containerd-2.scope"
    group(pod.parent.parent, memory_max=60_000 * MIB, cpu_max="max 100000", pids_max="max")
    group(pod.parent, memory_max="max", cpu_max="max 100000")
    group(pod, memory_max=2048 * MIB, memory_current=700 * MIB, cpu_max="300000 100000")
    group(box, memory_max=1024 * MIB, memory_current=600 * MIB, cpu_max="250000 100000", pids_max=100, pids_current=9)
    proc = process(tmp_path, f"0::/{box.relative_to(tmp_path / 'cgroup')}\n", [V2])
    assert memory_limit(proc) == 1024 * MIB
    left = memory_left(proc)
    assert left is not None and left.left == 424 * MIB
    assert paid_cores(proc) == 3


def test_a_container_of_docker_on_version_1(tmp_path: Path) -> None:
    """Its own groups alone are mounted, by the names that the host has for them."""
    name = "/docker/4f2c"
    for controller, files in {
        "memory": {"memory_limit_in_bytes": 1024 * MIB, "memory_usage_in_bytes": 30 * MIB},
        "cpu,cpuacct": {"cpu_cfs_quota_us": 100_000, "cpu_cfs_period_us": 100_000},
        "pids": {"pids_max": 512, "pids_current": 4},
    }.items():
        group(tmp_path / controller, **files)
    mounts = [
        f"35 31 0:32 {name} {{root}}/memory ro - cgroup cgroup rw,memory",
        f"36 31 0:33 {name} {{root}}/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct",
        f"39 31 0:36 {name} {{root}}/pids ro - cgroup cgroup rw,pids",
    ]
    proc = process(tmp_path, f"8:pids:{name}\n4:memory:{name}\n3:cpu,cpuacct:{name}\n", mounts)
    assert memory_limit(proc) == 1024 * MIB
    assert available_memory(proc) <= 994 * MIB
    assert (cores(proc), paid_cores(proc)) == (1, 1)
    tasks = tasks_left(proc)
    assert tasks is not None and tasks.left == 508
