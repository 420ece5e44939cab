"""LogRetention: what is old goes, what is too much goes in order, and what may still be written stays."""

from __future__ import annotations

import os
import time
from pathlib import Path

from titan_core.filesys.log_retention import LogRetention, RunOutcome

DAY = 24 * 3600.0


def make(root: Path, run_id: str, size: int, age_days: float) -> None:
    folder = root / run_id
    folder.mkdir(parents=True)
    at = time.time() - age_days * DAY
    for number in (1, 2):
        path = folder / f"job.{number}.log"
        path.write_bytes(b"x" * (size // 2))
        os.utime(path, (at, at))
    os.utime(folder, (at, at))


def sweep(root: Path, outcomes: dict[str, RunOutcome], *, days: float = 365, max_bytes: int = 1 << 40) -> set[str]:
    def outcome_of(run_id: str) -> RunOutcome:
        return outcomes.get(run_id, "unknown")

    LogRetention(root, max_age_s=days * DAY, max_bytes=max_bytes, outcome_of=outcome_of).sweep()
    return {path.name for path in root.iterdir()}


def test_old_logs_of_finished_runs_go(tmp_path: Path) -> None:
    for name in ("done", "failed", "open", "gone"):
        make(tmp_path, f"old-{name}", 100, 40)
        make(tmp_path, f"new-{name}", 100, 20)
    outcomes: dict[str, RunOutcome] = {}
    for age in ("old", "new"):
        outcomes |= {f"{age}-done": "completed", f"{age}-failed": "failed", f"{age}-open": "open"}
    left = sweep(tmp_path, outcomes, days=30)
    assert left == {"old-open", "new-done", "new-failed", "new-open", "new-gone"}


def test_beyond_the_cap_old_successes_go_first_then_old_failures(tmp_path: Path) -> None:
    outcomes: dict[str, RunOutcome] = {
        "failed-1": "failed", "done-2": "completed", "open-3": "open", "failed-4": "failed", "done-5": "completed",
    }  # fmt: skip
    for name in outcomes:
        make(tmp_path, name, 100, 10 - int(name[-1]))
    assert sweep(tmp_path, outcomes, max_bytes=500) == set(outcomes)
    assert sweep(tmp_path, outcomes, max_bytes=499) == set(outcomes) - {"done-2"}
    assert sweep(tmp_path, outcomes, max_bytes=300) == {"failed-4", "open-3", "failed-1"}
    assert sweep(tmp_path, outcomes, max_bytes=250) == {"failed-4", "open-3"}
    assert sweep(tmp_path, outcomes, max_bytes=0) == {"open-3"}


def test_no_folder_is_no_trouble(tmp_path: Path) -> None:
    retention = LogRetention(tmp_path / "none", max_age_s=1, max_bytes=0, outcome_of=lambda _: "completed")
    assert retention.sweep() == 0
