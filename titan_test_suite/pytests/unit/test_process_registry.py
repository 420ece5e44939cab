"""What a crash left is found by pid and start time, or by its mark, and nobody else is ever touched."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from titan_core.tasks.process_registry import MARK, ProcessRegistry, find_leftovers
from titan_core.tasks.process_table import find_process
from titan_test_suite.pytests.cluster import wait_until

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="marks are read from /proc")

SLEEPS = "import time; print('up', flush=True); time.sleep(600)"


class Children:
    """Processes of a test, in sessions of their own."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, source: str = SLEEPS, *, mark: str = "", session: bool = True) -> subprocess.Popen[bytes]:
        """A process that has said what it has to say."""
        env = {**os.environ, MARK: mark} if mark else {n: v for n, v in os.environ.items() if n != MARK}
        child = subprocess.Popen(
            [sys.executable, "-c", source], env=env, stdout=subprocess.PIPE, start_new_session=session
        )
        self._started.append(child)
        assert child.stdout is not None
        assert child.stdout.readline()
        return child

    def end(self) -> None:
        for child in self._started:
            child.kill()
            child.wait()
            assert child.stdout is not None
            child.stdout.close()


@pytest.fixture
def children() -> Iterator[Children]:
    children = Children()
    yield children
    children.end()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[ProcessRegistry]:
    registry = ProcessRegistry(tmp_path / "processes")
    registry.begin()
    yield registry
    registry.close()


def started(pid: int) -> str:
    process = find_process(pid)
    assert process is not None
    return process.started


def lives(pid: int) -> bool:
    process = find_process(pid)
    return process is not None and not process.zombie


def pids(registry: ProcessRegistry) -> set[int]:
    return {process.pid for process in registry.left()}


def test_what_was_noted_is_found_by_the_next_worker(
    registry: ProcessRegistry, children: Children, tmp_path: Path
) -> None:
    launcher, supervisor, job = (children.start() for _ in range(3))
    innocent = children.start()
    registry.note_launcher(launcher.pid)
    registry.note_supervisor(3, supervisor.pid, started(supervisor.pid))
    registry.note_job(3, job.pid, started(job.pid))
    successor = ProcessRegistry(tmp_path / "processes")
    assert pids(successor) == {launcher.pid, supervisor.pid, job.pid}
    assert successor.end_left(5.0) == []
    assert [child.wait(10) for child in (launcher, supervisor, job)] == [-15] * 3
    assert innocent.poll() is None
    assert pids(successor) == set()


def test_what_carries_the_mark_is_found_although_nobody_noted_it(registry: ProcessRegistry, children: Children) -> None:
    marked = children.start(mark=registry.mark)
    children.start(mark="another-worker's")
    children.start(mark=registry.mark + "0")
    children.start(mark=registry.mark[:-1])
    assert pids(registry) == {marked.pid}


def test_descendants_and_group_members_of_what_is_found_belong_to_it(
    registry: ProcessRegistry, children: Children
) -> None:
    source = """
import os, subprocess, sys, time
clean = {n: v for n, v in os.environ.items() if n != "TITAN_LAUNCHER"}
wait = "import time; time.sleep(600)"
away = subprocess.Popen([sys.executable, "-c", wait], env=clean, start_new_session=True)
# The member has lost its parent, and belongs to us only by its group.
shell = f"({sys.executable} -c '{wait}' & echo $!); exec sleep 600"
group = subprocess.Popen(["/bin/sh", "-c", shell], env=clean, stdout=subprocess.PIPE, start_new_session=True)
print(away.pid, group.pid, int(group.stdout.readline()), flush=True)
time.sleep(600)
"""
    child = subprocess.Popen(
        [sys.executable, "-c", source],
        env={**os.environ, MARK: registry.mark},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert child.stdout is not None
    try:
        away, group, member = map(int, child.stdout.readline().split())
        assert pids(registry) >= {child.pid, away, group, member}
    finally:
        assert registry.end_left(0.0) == []
        child.wait()
        child.stdout.close()
    assert not [pid for pid in (away, group, member) if lives(pid)]


def test_an_innocent_process_that_got_the_pid_is_never_touched(registry: ProcessRegistry, children: Children) -> None:
    innocent = children.start()
    now = started(innocent.pid)
    for other in (str(int(now) - 1), str(int(now) + 1), now + "0", now[:-1], "x"):
        registry.note_job(0, innocent.pid, other)
        assert registry.left() == []
    assert registry.end_left(0.0) == []
    assert innocent.poll() is None
    registry.note_job(0, innocent.pid, now)
    assert pids(registry) == {innocent.pid}


def test_nothing_of_an_earlier_boot_is_recognized(
    registry: ProcessRegistry, children: Children, tmp_path: Path
) -> None:
    """Start times count from the boot, and soon after two boots the same ones come with the same pids."""
    child = children.start()
    registry.note_job(0, child.pid, started(child.pid))
    path = tmp_path / "processes"
    boot = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    data = path.read_bytes()
    assert boot in data
    path.write_bytes(data.replace(boot, boot[::-1]))
    assert registry.left() == []


def test_a_slot_that_has_ended_its_job_is_not_remembered_for_the_last_one(
    registry: ProcessRegistry, children: Children
) -> None:
    first, second = children.start(), children.start()
    registry.note_job(0, first.pid, started(first.pid))
    registry.note_job(0, second.pid, started(second.pid))
    assert pids(registry) == {second.pid}
    registry.note_job(0, second.pid, "")
    assert registry.left() == []


def test_a_new_launcher_forgets_what_the_last_one_ran(registry: ProcessRegistry, children: Children) -> None:
    mark = registry.mark
    children.start(mark=mark)
    registry.begin()
    assert registry.mark != mark
    assert registry.left() == []


def test_the_own_process_is_never_included(registry: ProcessRegistry, children: Children, tmp_path: Path) -> None:
    """Not even when the file says so, or when this very worker was started by a job of the one before it."""
    registry.note_launcher(os.getpid())
    registry.note_job(0, os.getpid(), started(os.getpid()))
    children.start()
    neighbour = children.start(session=False)
    assert registry.left() == []
    marked = f"""
import sys; sys.path.insert(0, {str(Path.cwd())!r})
import os
from titan_core.tasks.process_registry import find_leftovers
print([process.pid == os.getpid() for process in find_leftovers({registry.mark!r}, [])])
"""
    done = subprocess.run(
        [sys.executable, "-c", marked], env={**os.environ, MARK: registry.mark}, capture_output=True, text=True
    )
    assert done.stdout == "[]\n", done.stderr
    assert neighbour.poll() is None


def test_a_missing_file_means_nothing_is_left(tmp_path: Path) -> None:
    assert ProcessRegistry(tmp_path / "absent").left() == []


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: os.urandom(len(data)), id="noise"),
        pytest.param(lambda data: b"\0" * len(data), id="zeros"),
        pytest.param(lambda data: b"\n" * len(data), id="line ends"),
        pytest.param(lambda data: b"-1 5\n1\n 1 \n999999999999999999999999 1\n\xff\xfe 7\n", id="odd lines"),
        pytest.param(lambda data: data[:50], id="cut in the mark's line"),
    ],
)
def test_a_damaged_file_harms_nobody(registry: ProcessRegistry, children: Children, tmp_path: Path, damage) -> None:
    child = children.start()
    registry.note_job(0, child.pid, started(child.pid))
    path = tmp_path / "processes"
    path.write_bytes(damage(path.read_bytes()))
    assert registry.left() == []
    assert registry.end_left(0.0) == []
    assert child.poll() is None


def test_what_is_whole_in_a_damaged_file_still_counts(
    registry: ProcessRegistry, children: Children, tmp_path: Path
) -> None:
    first, second = children.start(), children.start()
    registry.note_job(0, first.pid, started(first.pid))
    registry.note_job(5, second.pid, started(second.pid))
    path = tmp_path / "processes"
    data = path.read_bytes()
    record = 96
    path.write_bytes(data[: 2 * record] + b"\xff\xc3" * (record // 2) + data[3 * record :])
    assert pids(registry) == {first.pid, second.pid}
    path.write_bytes(data[:-40])  # the last line is cut after what counts
    assert pids(registry) == {first.pid, second.pid}


def test_a_file_of_more_slots_than_this_worker_has_is_read_whole(
    registry: ProcessRegistry, children: Children, tmp_path: Path
) -> None:
    child = children.start()
    registry.note_job(63, child.pid, started(child.pid))
    assert pids(ProcessRegistry(tmp_path / "processes")) == {child.pid}


def test_ending_is_stern_with_what_ignores_it_and_with_what_forks(
    registry: ProcessRegistry, children: Children
) -> None:
    source = """
import os, signal, time
signal.signal(signal.SIGTERM, lambda *_: [os.fork() for _ in range(2)])
for _ in range(3):
    os.fork()
print('up', flush=True)
while True:
    time.sleep(0.05)
    if os.fork() == 0:
        time.sleep(0.2); os._exit(0)
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        pass
"""
    children.start(source, mark=registry.mark)
    wait_until(lambda: len(pids(registry)) >= 8)
    assert registry.end_left(0.2) == []
    assert find_leftovers(registry.mark, []) == []


def test_a_full_disk_does_not_stop_the_notes(tmp_path: Path) -> None:
    path = tmp_path / "processes"
    path.symlink_to("/dev/full")
    registry = ProcessRegistry(path)
    registry.begin()
    registry.note_job(0, os.getpid(), "1")
    registry.close()
