"""What a worker removes: folders of ended jobs and unused contents, and never what is still needed."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from titan_core.filesys import workspace_retention
from titan_core.filesys.content_store import ContentStore
from titan_core.filesys.workspace_manager import WorkspaceManager
from titan_core.filesys.workspace_retention import WorkspaceRetention, trim_cache
from titan_core.tasks.result_spool import ResultSpool, SpooledResult, spooled_logs
from titan_sdk.messages import JobReport, JobSpec, Lease

DAY = 24 * 3600.0


@pytest.fixture
def workspace(tmp_path: Path) -> WorkspaceManager:
    manager = WorkspaceManager(tmp_path / "workspace")
    manager.open()
    return manager


def make(workspace: WorkspaceManager, job_id: str, age_days: float, size: int = 1) -> Path:
    folder = workspace.jobs / job_id
    (folder / "project" / "deep").mkdir(parents=True)
    (folder / "project" / "deep" / "data").write_bytes(b"x" * size)
    age(folder, age_days)
    return folder


def age(path: Path, days: float) -> None:
    at = time.time() - days * DAY
    os.utime(path, (at, at))


def sweep(
    workspace: WorkspaceManager,
    *,
    days: float = 365,
    count: int = 1000,
    size: int = 1 << 40,
    wanted: frozenset[Path] = frozenset(),
) -> set[str]:
    retention = WorkspaceRetention(
        workspace, max_age_s=days * DAY, max_count=count, max_bytes=size, wanted=lambda: wanted
    )
    retention.sweep(lambda: False)
    assert list((workspace.root / "removed").glob("*")) == []
    return {path.name for path in workspace.jobs.iterdir()}


def test_old_folders_go_and_shared_stays(workspace: WorkspaceManager) -> None:
    make(workspace, "old", 8)
    make(workspace, "new", 6)
    (workspace.shared / "result").write_text("mine")
    age(workspace.shared / "result", 1000)
    (workspace.jobs / "link").symlink_to(workspace.shared)
    assert sweep(workspace, days=7) == {"new", "link"}
    assert (workspace.shared / "result").read_text() == "mine"


def test_beyond_the_count_or_the_size_the_oldest_go(workspace: WorkspaceManager) -> None:
    for number in range(6):
        make(workspace, f"job-{number}", 6 - number, size=100_000)
    assert sweep(workspace, count=4) == {"job-2", "job-3", "job-4", "job-5"}
    assert sweep(workspace, size=350_000) == {"job-3", "job-4", "job-5"}
    make(workspace, "just-now", 0)
    assert sweep(workspace, count=0) == {"just-now"}, "another worker of this workspace may run it"


def test_what_runs_or_waits_for_the_master_stays_however_old(workspace: WorkspaceManager) -> None:
    running = workspace.prepare(Lease(job="r/running", attempt=1, epoch=1), JobSpec(id="running", file="a.py"), b"")
    age(running.job_dir, 100)
    waiting = make(workspace, "waiting", 100)
    spool = ResultSpool(workspace.root / "worker-8081" / "spool")  # another worker's, which is down
    spool.open()
    lease = Lease(job="r/waiting", attempt=1, epoch=2)
    spool.put(SpooledResult(report=JobReport(lease=lease, outcome="completed"), log_path=str(waiting / "waiting.log")))
    make(workspace, "done", 100)
    wanted = frozenset(path.parent for path in spooled_logs(workspace.root / "worker-8081" / "spool"))
    assert sweep(workspace, days=1, wanted=wanted) == {"running", "waiting"}
    workspace.release(running.job_dir)
    spool.remove(lease)
    assert sweep(workspace, days=1) == {"running"}, "it was seen running a moment ago"
    age(running.job_dir, 2)
    assert sweep(workspace, days=1) == set()


def test_after_a_sleep_of_the_machine_other_workers_mark_theirs_first(
    workspace: WorkspaceManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    clock = SimpleNamespace(time=lambda: now, monotonic=lambda: 1000.0)
    monkeypatch.setattr(workspace_retention, "time", clock)
    make(workspace, "another's", 0)
    retention = WorkspaceRetention(workspace, max_age_s=DAY, max_count=9, max_bytes=1 << 40, wanted=tuple)
    retention.sweep(lambda: False)
    now += 3 * DAY
    retention.sweep(lambda: False)
    assert (workspace.jobs / "another's").exists()
    retention.sweep(lambda: False)
    assert not (workspace.jobs / "another's").exists()


def test_folders_without_the_right_to_write_go_too(workspace: WorkspaceManager) -> None:
    folder = make(workspace, "go-modules", 8) / "project" / "deep"
    folder.chmod(0o500)
    folder.parent.chmod(0o500)
    assert sweep(workspace, days=7) == set()


def test_the_cache_keeps_what_was_used_last_and_what_is_needed(tmp_path: Path) -> None:
    store = ContentStore(tmp_path / "content", durable=False)
    store.open()
    digests = [store.put_bytes(bytes([number]) * 1000) for number in range(5)]
    store.note_uses()
    for number, sha256 in enumerate(digests):
        age(store.path(sha256), 5 - number)
    assert store.has(digests[1])  # the oldest but one was used just now
    assert trim_cache(store, 5000, set()) == 0
    assert trim_cache(store, 2000, {digests[0]}) == 3
    assert [sha256 for sha256 in digests if store.has(sha256)] == digests[:2]
    for sha256 in digests[:2]:
        store.note_uses()
        age(store.path(sha256), 1)
    assert store.small(digests[0], 1000)
    assert trim_cache(store, 0, set()) == 1
    assert [sha256 for sha256 in digests if store.has(sha256)] == digests[:1]


def test_abandoned_uploads_go_and_fresh_ones_stay(tmp_path: Path) -> None:
    store = ContentStore(tmp_path / "content", durable=False)
    store.open()
    for name in ("a" * 64, "b" * 64):
        store.append_upload(name, 100, 0, b"piece")
    age(tmp_path / "content" / "partial" / ("a" * 64), 2)
    trim_cache(store, 0, set())
    assert [path.name for path in (tmp_path / "content" / "partial").iterdir()] == ["b" * 64]
