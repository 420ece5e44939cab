"""No descendant of a job outlives it, however it ends and whoever dies: on a real cluster, with real kills.

A job starts descendants of every kind. Each notes its pid and start time; those are looked for afterwards.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from titan_core.tasks.process_table import find_process
from titan_sdk.messages import CancelJob
from titan_test_suite.pytests.cluster import Cluster, Program, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="daemons that left their session need a sub-reaper")

GONE_S = 10.0
LEASE = ("--lease-seconds", "3", "--heartbeat-seconds", "0.5", "--grace-seconds", "1")
KINDS = ("main", "child", "stdout", "session", "daemon", "forked", "stubborn", "grandchild", "forker")
"""What every family has at the least; the forker has ever new children too."""

KIN = """
import os, signal, subprocess, sys, time

here = os.path.dirname(os.path.abspath(__file__))
attempt = os.environ["TITAN_ATTEMPT"]

def note(kind):
    path = f"{here}/{attempt} {kind} {os.getpid()}"
    with open("/proc/self/stat") as stat, open(path + " new", "w") as file:
        file.write(stat.read().rpartition(")")[2].split()[19])
    os.rename(path + " new", path)

def start(kind, **options):
    return subprocess.Popen([sys.executable, __file__, kind], **options)

def daemon(kind):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            note(kind)
            time.sleep(600)
        os._exit(0)
    os.wait()

def main():
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    start("child", **quiet)
    start("stdout")
    start("session", start_new_session=True, **quiet)
    start("stubborn")
    start("parent")
    start("daemon", **quiet).wait()
    daemon("forked")  # without exec: the kernel shows it as the interpreter that was forked
    start("forker")
    note("main")
    while not set(KINDS) <= {name.split()[1] for name in os.listdir(here) if name.startswith(attempt + " ")}:
        time.sleep(0.01)

if __name__ == "__main__":
    kind = sys.argv[1]
    if kind == "daemon":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        daemon(kind)
        os._exit(0)
    if kind == "parent":
        start("grandchild")
    if kind in ("stubborn", "session"):
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    if kind == "forker":
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    note(kind)
    while kind == "forker":
        if os.fork() == 0:
            note("fork")
            time.sleep(1)
            os._exit(0)
        time.sleep(0.05)
    time.sleep(600)
"""

JOB = """
import sys, time
sys.path.insert(0, sys.argv[1])
import kin
kin.main()
time.sleep(float(sys.argv[2]))
"""


class Family:
    """The processes of one job, as they noted themselves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "kin.py").write_text(f"KINDS = {KINDS}\n{KIN}")

    def noted(self, attempt: int = 1) -> list[tuple[str, int, str]]:
        """Kind, pid and start time of each."""
        found = []
        for path in self.folder.glob(f"{attempt} *"):
            words = path.name.split()
            if len(words) == 3:
                found.append((words[1], int(words[2]), path.read_text()))
        return found

    def complete(self, attempt: int = 1) -> bool:
        return set(KINDS) <= {kind for kind, _, _ in self.noted(attempt)}

    def alive(self, attempt: int = 1) -> list[str]:
        """Kinds of those that live."""
        kinds = []
        for kind, pid, started in self.noted(attempt):
            process = find_process(pid)
            if process is not None and process.started == started and not process.zombie:
                kinds.append(kind)
        return kinds

    def assert_gone(self, deadline: float = GONE_S) -> None:
        """Of the first attempt nothing lives, soon."""
        wait_until(lambda: not self.alive(), deadline, f"of the {len(self.noted())} processes none lives")
        assert self.complete(), "there was something to end"


@pytest.fixture
def neighbour() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the same user that has nothing to do with it; it must live on."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    yield process
    alive = process.poll() is None
    process.kill()
    process.wait()
    assert alive, "an innocent process was ended"


@pytest.fixture
def worker(cluster: Cluster, neighbour: subprocess.Popen[bytes]) -> Program:
    """The one worker of a master that notices soon when it is gone."""
    cluster.start_master(*LEASE)
    return cluster.start_worker("--grace-seconds", "1", "--drain-seconds", "0.5", "--slots", "3")


def start(cluster: Cluster, tmp_path: Path, *, lasts_s: float = 600, **fields) -> tuple[str, Family]:
    """A running family, and its job's key."""
    family = Family(tmp_path / f"family-{fields.get('id', 'job')}")
    key = cluster.run(JOB, args=(str(family.folder), str(lasts_s)), **fields)
    wait_until(family.complete, 20, "every kind of process runs")
    return key, family


def launcher_of(worker: Program) -> psutil.Process:
    (launcher,) = [p for p in psutil.Process(worker.pid).children() if "launcher_main.py" in " ".join(p.cmdline())]
    return launcher


def outcomes(cluster: Cluster, key: str) -> list[str]:
    return [execution.outcome for execution in cluster.info(key).executions]


# --- the job's own end ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fresh", [False, True], ids=["forked", "fresh"])
def test_cancel_timeout_and_exit(cluster: Cluster, tmp_path: Path, worker: Program, fresh: bool) -> None:
    timed_out, first = start(cluster, tmp_path, id="timed-out", fresh=fresh, timeout_s=5.0, retries=0)
    cancelled, second = start(cluster, tmp_path, id="cancelled", fresh=fresh)
    cluster.client.call(CancelJob(id=cancelled))
    exits, third = start(cluster, tmp_path, id="exits", fresh=fresh, lasts_s=0.0)
    info = cluster.wait_state(exits)
    assert (info.state, info.exit_code) == ("COMPLETED", 0)
    assert third.alive() == [], "the report says that they are gone"
    assert cluster.wait_state(cancelled).state == "CANCELLED"
    assert second.alive() == []
    info = cluster.wait_state(timed_out)
    assert info.state == "DEAD" and outcomes(cluster, timed_out) == ["timed_out"]
    assert first.alive() == []
    for family in (first, second, third):
        family.assert_gone()


# --- the worker's end -------------------------------------------------------------------------------------------------


def test_worker_terminated(cluster: Cluster, tmp_path: Path, worker: Program) -> None:
    key, family = start(cluster, tmp_path, retries=0)
    assert worker.terminate() == 0
    assert family.alive() == [], "a worker leaves when everything it ran is gone"
    family.assert_gone()
    info = cluster.info(key)
    assert (info.state, outcomes(cluster, key)) == ("PENDING", ["handed_back"])


@pytest.mark.parametrize("fresh", [False, True], ids=["forked", "fresh"])
def test_worker_killed(cluster: Cluster, tmp_path: Path, worker: Program, fresh: bool) -> None:
    key, family = start(cluster, tmp_path, retries=0, fresh=fresh)
    worker.kill()
    family.assert_gone()
    wait_until(lambda: len(cluster.processes()) == 1, GONE_S, "only the master is left")
    assert "Traceback" not in worker.log_text(), "its supervisor saw to it in good order"
    info = cluster.wait_state(key, "PENDING", deadline=20)
    assert [*outcomes(cluster, key)] == ["lost"] and info.retries_left == 0, "queued again, and nothing charged"


def test_worker_killed_with_all_of_its_launcher(cluster: Cluster, tmp_path: Path, worker: Program) -> None:
    """Nobody is left to end the job's processes; the worker's next start does that, before it takes new work."""
    key, family = start(cluster, tmp_path, retries=0)
    fresh_key, fresh_family = start(cluster, tmp_path, id="fresh", retries=0, fresh=True)
    port = cluster.workers()[0].port
    launcher = launcher_of(worker)
    doomed = [psutil.Process(worker.pid), launcher, *launcher.children()]
    for process in doomed:
        process.suspend()
    for process in doomed:
        process.kill()
    worker.wait()
    families = {key: family, fresh_key: fresh_family}
    assert all(set(KINDS) <= set(family.alive()) for family in families.values()), "nobody has ended them"
    successor = cluster.start_worker("--grace-seconds", "1", "--drain-seconds", "0.5", port=port, name="successor")
    assert "that an earlier run of this worker left behind" in successor.log_text()
    for key, family in families.items():
        assert family.alive() == [], "gone before the worker asks for work"
        family.assert_gone()
        wait_until(partial(family.complete, 2), 20, "it runs again")
        info = cluster.info(key)
        assert (info.state, info.attempt, outcomes(cluster, key)[0]) == ("RUNNING", 2, "lost")


# --- the launcher's end -----------------------------------------------------------------------------------------------


def test_launcher_killed(cluster: Cluster, tmp_path: Path, worker: Program) -> None:
    key, family = start(cluster, tmp_path, retries=0)
    launcher_of(worker).kill()
    family.assert_gone()
    wait_until(lambda: cluster.info(key).attempt == 2, 20, "it runs again, though it has no retries")
    assert outcomes(cluster, key)[0] == "lost"
    assert "launcher" in cluster.info(key).executions[0].reason
    assert cluster.wait_state(cluster.run("print(1)", id="next")).state == "COMPLETED"


def test_supervisor_killed(cluster: Cluster, tmp_path: Path, worker: Program) -> None:
    key, family = start(cluster, tmp_path, retries=1)
    other = cluster.run("import time; print('up', flush=True); time.sleep(600)", id="other")
    wait_until(lambda: cluster.log(other), 10)
    (main,) = [pid for kind, pid, _ in family.noted() if kind == "main"]
    supervisor = psutil.Process(main).parent()
    assert supervisor is not None
    supervisor.kill()
    wait_until(lambda: cluster.info(key).attempt == 2, 20, "it is tried again")
    assert outcomes(cluster, key)[0] == "lost", "which charges no retry"
    assert family.alive() == [], "the report of the first attempt says that they are gone"
    assert cluster.info(other).state == "RUNNING", "the other slot is not concerned"
    assert "its supervisor died" in cluster.info(key).executions[0].reason
