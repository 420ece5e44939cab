"""Copies of a master's data: whole although it is at work, and good to go on from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from titan_core.storage.backup import EPOCHS_SKIPPED, restore, save
from titan_core.storage.sqlite_store import SqliteStore
from titan_core.storage.store import StoreDamaged, StoreError
from titan_dev import backup as backup_command
from titan_test_suite.pytests.cluster import ROOT, Cluster, wait_until
from titan_test_suite.pytests.store_records import submission


def ledger_job(ledger: Path, release: Path) -> str:
    return f"""
import pathlib, time
with open({str(ledger)!r}, 'a') as file:
    file.write('begin\\n')
while not pathlib.Path({str(release)!r}).exists():
    time.sleep(0.01)
print('done')
"""


def test_a_copy_of_a_master_at_work_is_gone_on_from(cluster: Cluster, tmp_path: Path) -> None:
    """Finished, running and waiting jobs, logs and all; what happened after the copy happens again."""
    ledger, release, target = tmp_path / "ledger", tmp_path / "release", tmp_path / "backups" / "monday"
    master = cluster.start_master()
    worker = cluster.start_worker()
    done = cluster.run("print('kept')", id="done")
    cluster.wait_state(done)
    running = cluster.job(ledger_job(ledger, release), id="running")
    waiting = cluster.job("print('at last')", id="waiting", parents=("running",))
    run_id = cluster.submit(running, waiting).run_id
    wait_until(ledger.exists, 10)

    save(cluster.data_dir, target)
    later = cluster.run("print('not in the copy')", id="later")
    cluster.wait_state(later)
    with pytest.raises(StoreError, match="in use by another master"):
        restore(target, cluster.data_dir)
    master.kill()
    aside = restore(target, cluster.data_dir)
    assert aside is not None and (aside / "titan.db").exists()

    cluster.start_master()
    worker.wait_for_line("registered")
    assert cluster.info(done).state == "COMPLETED" and cluster.log(done) == b"kept\n"
    release.touch()
    assert {job.id: job.state for job in cluster.wait_run(run_id).jobs} == dict.fromkeys(
        ("running", "waiting"), "COMPLETED"
    )
    assert ledger.read_text() == "begin\n", "the job went on, and ran once"
    assert cluster.client.call(_list_all()).total == 3


def _list_all():
    from titan_sdk.messages import ListJobs

    return ListJobs()


def test_the_copy_is_of_one_moment_and_skips_epochs(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "data")
    store.open()
    store.apply(submission(1, 10, "a"))
    save(tmp_path / "data", tmp_path / "copy")
    store.apply(submission(2, 20, "b"))
    epoch = store.last_sequence()[2]
    store.close()
    assert restore(tmp_path / "copy", tmp_path / "new") is None
    store = SqliteStore(tmp_path / "new")
    store.open()
    assert [stored.run.seq for stored in store.load(0)] == [1]
    assert store.last_sequence()[2] == epoch + EPOCHS_SKIPPED
    store.close()


def test_what_cannot_be_copied_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no titan\.db"):
        save(tmp_path / "nothing", tmp_path / "copy")
    store = SqliteStore(tmp_path / "data")
    store.open()
    store.apply([record for run in range(1, 60) for record in submission(run, 10 * run, "a", "b")])
    store.close()
    database = tmp_path / "data" / "titan.db"
    with database.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096)
    with pytest.raises(StoreError):
        save(tmp_path / "data", tmp_path / "copy")
    (tmp_path / "there").mkdir()
    with pytest.raises(StoreError, match="exists already"):
        save(tmp_path / "data", tmp_path / "there")
    with pytest.raises(StoreDamaged):
        restore(tmp_path / "data", tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "there"]


def test_the_commands_say_what_they_did_and_what_they_cannot(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "data")
    store.open()
    store.close()

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", backup_command.MODULE, *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)

    saved = call("save", str(tmp_path / "data"), str(tmp_path / "copy"))
    assert (saved.returncode, saved.stderr) == (0, "")
    restored = call("restore", str(tmp_path / "copy"), str(tmp_path / "data"))
    assert restored.returncode == 0 and "data.before-" in restored.stdout
    again = call("save", str(tmp_path / "data"), str(tmp_path / "copy"))
    assert again.returncode == 2 and len(again.stderr.splitlines()) == 1
