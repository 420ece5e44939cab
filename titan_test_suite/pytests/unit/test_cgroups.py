"""Control groups: what is written where. The folders are ours here; integration/test_resources.py has the kernel's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from titan_core.tasks.cgroups import JobGroup, find_homes, make_roots, remove_roots

MIXED = """tmpfs /sys/fs/cgroup tmpfs rw 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,nsdelegate 0 0
"""


def test_where_a_process_stands_under_version_1() -> None:
    own = "4:memory:/box\n2:cpu,cpuacct:/\n0::/user.slice\n"
    found = find_homes(MIXED, own)
    assert found == {"cpu": (1, "/sys/fs/cgroup/cpu,cpuacct"), "memory": (1, "/sys/fs/cgroup/memory/box")}


def test_version_2_goes_before_where_it_has_the_controller(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "cgroup.controllers").write_text("cpuset memory pids\n")
    mounts = f"cgroup2 {tmp_path} cgroup2 rw 0 0\n" + MIXED.partition("cgroup2")[0]
    homes = find_homes(mounts, "4:memory:/box\n2:cpu,cpuacct:/\n0::/x\n")
    assert homes == {"memory": (2, f"{tmp_path}/x"), "cpu": (1, "/sys/fs/cgroup/cpu,cpuacct")}


def test_no_groups_without_a_hierarchy_or_the_right_to_write(tmp_path: Path) -> None:
    assert find_homes("tmpfs / tmpfs rw 0 0\n", "0::/\n") == {}
    assert make_roots("titan", {"memory": (1, "/proc"), "cpu": (2, str(tmp_path))}) == {}
    assert list(tmp_path.iterdir()) == [], "what was tried is taken back"


@pytest.mark.parametrize(
    ("version", "files", "written"),
    [
        (
            2,
            ("memory.max", "memory.swap.max", "memory.oom.group", "cpu.max"),
            {"memory.max": "64000000", "memory.swap.max": "0", "memory.oom.group": "1", "cpu.max": "150000 100000"},
        ),
        (
            1,
            ("memory.limit_in_bytes", "cpu.cfs_period_us", "cpu.cfs_quota_us"),
            {"memory.limit_in_bytes": "64000000", "cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "150000"},
        ),
    ],
)
def test_the_limits_of_a_job(
    version: int, files: tuple[str, ...], written: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel puts the files into each new folder."""

    really_make = os.mkdir

    def mkdir(folder: str) -> None:
        really_make(folder)
        for name in (*files, "cgroup.procs", "cgroup.kill"):
            (Path(folder) / name).touch()
        (Path(folder) / "memory.events").write_text("oom 1\noom_kill 1\n")

    monkeypatch.setattr(os, "mkdir", mkdir)
    roots = {"memory": (version, str(tmp_path)), "cpu": (version, str(tmp_path))}
    group = JobGroup(roots, "job-1", 64_000_000, 1500)
    found = {path.name: path.read_text() for path in (tmp_path / "job-1").iterdir()}
    assert {name: found[name] for name in files} == written
    group.add(4711)
    group.kill()
    assert (tmp_path / "job-1" / "cgroup.procs").read_text() == "4711"
    assert (tmp_path / "job-1" / "cgroup.kill").read_text() == "1"
    assert group.out_of_memory()


def test_a_group_that_takes_no_process_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "job-1" / "cgroup.procs").mkdir(parents=True)  # nothing can be written there
    group = JobGroup({}, "job-1", 0, 0)
    group._folders[str(tmp_path / "job-1")] = 1
    group._folders[str(tmp_path / "gone")] = 1
    group.add(0)


def test_the_folders_of_jobs_that_ask_for_nothing_are_not_made(tmp_path: Path) -> None:
    roots = {"memory": (2, str(tmp_path)), "cpu": (2, str(tmp_path))}
    JobGroup(roots, "job-1", 0, 0).remove()
    assert list(tmp_path.iterdir()) == []
    remove_roots({"memory": (2, str(tmp_path / "gone"))})


def test_folders_of_processes_that_are_gone_are_removed(tmp_path: Path) -> None:
    gone = 1 << 30  # no system numbers its processes so high
    for name in (f"titan-w1-{gone}/job-1", f"titan-w2-{gone}", f"titan-w3-{os.getpid()}", f"titan-w4-{gone}/job-1"):
        (tmp_path / name).mkdir(parents=True)
    make_roots("titan-w1", {"memory": (1, str(tmp_path))})
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [f"titan-w3-{os.getpid()}", f"titan-w4-{gone}"], "what another worker left is not ours to end"
