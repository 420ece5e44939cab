"""A data folder on a file system of its own, which fills up while jobs run."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from titan_sdk.errors import DeadlineExceeded, TitanError, TransportError, Unavailable
from titan_test_suite.pytests.chaos.storm import MASTER, Storm
from titan_test_suite.pytests.chaos.tally import ROUNDS, Tally
from titan_test_suite.pytests.cluster import Cluster, wait_until

DISK_MB = 96
"""Above what a master keeps in reserve for work it has accepted."""
EXIT_FAILED = 70
NEARLY_FULL_MB = 40
"""Left free: less than the reserve, and more than the accepted work needs."""


@pytest.fixture
def small_disk(tmp_path: Path, tally: Tally) -> Iterator[Path]:
    """A tmpfs where the cluster's data will be; skips where none can be mounted."""
    folder = tmp_path / "cluster" / "titan_data"
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=700", "tmpfs", str(folder)]
    reason = "only root can mount a tmpfs" if os.geteuid() else ""
    if not reason and subprocess.run(mount, capture_output=True, timeout=30, check=False).returncode:
        reason = "no tmpfs can be mounted here"
    if reason:
        tally.skipped["disk full"] = reason
        pytest.skip(reason)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], timeout=30, check=True)


def fill(folder: Path, leave_mb: int) -> Path:
    """Leave so much room."""
    filler = folder / "filler"
    usage = os.statvfs(folder)
    rest = usage.f_bavail * usage.f_frsize - (leave_mb << 20)
    with filler.open("wb") as file:
        try:
            while rest > 0:
                rest -= file.write(bytes(min(rest, 1 << 20)))
        except OSError:
            pass  # that is as full as it gets
    return filler


def test_a_disk_that_fills_up(
    small_disk: Path, cluster: Cluster, tmp_path: Path, tally: Tally, dice: random.Random
) -> None:
    storm = Storm(cluster, tmp_path / "ledger", dice)
    try:
        for _ in range(ROUNDS):
            with tally.trial("disk nearly full") as violations:
                violations.extend(nearly_full(storm, small_disk))
            with tally.trial("disk full") as violations:
                violations.extend(full(storm, small_disk))
        with tally.trial("after the disk was full") as violations:
            violations.extend(storm.check_all())
    finally:
        storm.stop()


def submit_one(storm: Storm) -> None:
    """A job of its own, noted when it is accepted. Raises what the submission is refused with."""
    plan = storm.random_dag(2)[:1]
    run_id = storm.cluster.submit(storm.spec(plan[0], 0)).run_id
    storm.acknowledged.runs[run_id] = plan


def nearly_full(storm: Storm, folder: Path) -> list[str]:
    """New work is refused, saying why; what was accepted goes on to its end, its logs included."""
    plan = storm.random_dag(12)
    run_id = storm.submit(plan)
    filler = fill(folder, NEARLY_FULL_MB)
    wrong: list[str] = []

    def refused() -> bool:
        try:
            submit_one(storm)
        except Unavailable as error:
            if "disk" not in str(error):
                wrong.append(f"the refusal does not name the disk: {error}")
            return True
        return False

    wait_until(refused, 10.0, "a submission is refused")
    try:
        storm.cluster.upload(b"a new script")
        wrong.append("a file is taken although the room that is left is needed otherwise")
    except Unavailable as error:
        if "disk" not in str(error):
            wrong.append(f"the refusal of a file does not name the disk: {error}")
    wrong += storm.finished(run_id)
    filler.unlink()
    wait_until(lambda: not refused(), 10.0, "a submission is taken once there is room")
    return wrong


def full(storm: Storm, folder: Path) -> list[str]:
    """Whatever cannot be written ends the master, with a message; with room again it goes on from there."""
    plan = storm.random_dag(12)
    run_id = storm.submit(plan)
    filler = fill(folder, 0)
    wrong: list[str] = []
    master = storm.master

    def noticed() -> bool:
        """The master ended, or refuses."""
        if not master.running:
            return True
        try:
            submit_one(storm)
        except (Unavailable, TransportError, DeadlineExceeded):
            return True
        except TitanError as error:
            wrong.append(f"unclear: {error!r}")
            return True
        return False

    wait_until(noticed, 20.0, "the full disk is noticed")
    filler.unlink()
    if master.running:
        return wrong + storm.finished(run_id)
    if master.wait() != EXIT_FAILED or "the disk is full" not in master.log_text():
        wrong.append(f"the master ended with {master.wait()} and without a word")
    storm.master = storm.cluster.start_master(*MASTER)
    return wrong + storm.finished(run_id)
