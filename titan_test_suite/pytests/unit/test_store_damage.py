"""A database that is not whole, or not ours, is refused with a clear error and left as it is."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from titan_core.storage import integrity
from titan_core.storage.schema import SCHEMA_VERSION
from titan_core.storage.sqlite_store import SqliteStore
from titan_core.storage.store import StoreDamaged, StoreError
from titan_test_suite.pytests.store_records import crash_image, refusal, submission


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two directories: ``whole`` was closed in order, ``crashed`` has 29 commits in its log."""
    root = tmp_path_factory.mktemp("originals")
    store = SqliteStore(root / "whole")
    store.open()
    store.apply([record for run in range(1, 200) for record in submission(run, 10 * run, "a", "b", "c")])
    store.close()
    store = SqliteStore(root / "alive")
    store.open()
    for run in range(1, 30):
        store.apply(submission(run, run, "a"))
    crash_image(store, root / "crashed")
    store.close()
    return root


@pytest.fixture
def whole(originals: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(originals / "whole", tmp_path / "whole"))


@pytest.fixture
def crashed(originals: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(originals / "crashed", tmp_path / "crashed"))


WAL_HEADER = 32
WAL_FRAME = 24 + 4096


def patch(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


@pytest.mark.parametrize(
    ("harm", "text"),
    [
        (lambda db: db.write_bytes(b""), "ends after 0 bytes"),
        (lambda db: db.write_bytes(db.read_bytes()[:70]), "ends after 70 bytes"),
        (lambda db: db.write_bytes(b"hello " * 1000), "does not begin like a database"),
        (lambda db: db.write_bytes(db.read_bytes()[: 4096 * 3]), "damaged"),
        (lambda db: db.write_bytes(db.read_bytes()[:-4096]), "damaged"),
        (lambda db: patch(db, 100, bytes(200)), "damaged"),
        (lambda db: patch(db, 4096 * 5, b"\xff" * 4096), "damaged"),
        (lambda db: patch(db, 4096 * 20, bytes(100)), "damaged"),
    ],
)
def test_a_damaged_database_is_refused(whole: Path, harm: Callable[[Path], object], text: str) -> None:
    harm(whole / "titan.db")
    message = refusal(whole)
    assert text in message
    assert str(whole / "titan.db") in message


def test_somebody_elses_database_is_refused(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "titan.db")
    db.execute("CREATE TABLE cookies (id)")
    db.commit()
    db.close()
    assert "not one of Titan's" in refusal(tmp_path)


def test_a_newer_database_is_refused(whole: Path) -> None:
    db = sqlite3.connect(whole / "titan.db")
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    assert "newer Titan" in refusal(whole, StoreError)


def test_damage_that_shows_only_when_read(whole: Path) -> None:
    db = sqlite3.connect(whole / "titan.db")
    db.execute("UPDATE specs SET body = x'c1' WHERE job_seq = 501")
    db.commit()
    db.close()
    store = SqliteStore(whole)
    store.open()
    with pytest.raises(StoreDamaged):
        list(store.load(0))
    store.close()


def test_a_database_without_its_log_is_refused(crashed: Path) -> None:
    (crashed / "titan.db-wal").unlink()
    assert "titan.db-wal" in refusal(crashed)
    (crashed / "titan.db-wal").touch()  # what the text names as the way to do without
    store = SqliteStore(crashed)
    store.open()
    store.close()


def test_a_log_without_its_database_is_refused(crashed: Path) -> None:
    (crashed / "titan.db").unlink()
    assert "belongs to" in refusal(crashed)


@pytest.mark.parametrize("offset", [0, 9, 17, 30])
def test_a_log_with_a_damaged_header_is_refused(crashed: Path, offset: int) -> None:
    patch(crashed / "titan.db-wal", offset, b"\xa5\x5a")
    assert "titan.db-wal" in refusal(crashed)


@pytest.mark.parametrize("frame", [0, 1, 20])
@pytest.mark.parametrize("offset", [0, 10, 16, 24, 4000])
def test_a_log_damaged_in_the_middle_is_refused(crashed: Path, frame: int, offset: int) -> None:
    """SQLite would take what follows for the end of a crash and forget those commits."""
    patch(crashed / "titan.db-wal", WAL_HEADER + frame * WAL_FRAME + offset, b"\xa5\x5a\xa5\x5a")
    assert "commits that were acknowledged follow" in refusal(crashed)


@pytest.mark.parametrize("cut", [1, 4000, WAL_FRAME, 2 * WAL_FRAME + 5])
def test_an_unfinished_commit_at_the_end_of_the_log_is_dropped(crashed: Path, cut: int) -> None:
    """What a crash in the middle of a commit leaves is no damage: nobody was told of that commit."""
    wal = crashed / "titan.db-wal"
    wal.write_bytes(wal.read_bytes()[:-cut])
    assert runs_after_restart(crashed) == list(range(1, 29))


def test_a_torn_commit_at_the_end_of_the_log_is_dropped(crashed: Path) -> None:
    """The pages of the last commit reach the disk in any order: its end may be there and its beginning not."""
    wal = crashed / "titan.db-wal"
    size = wal.stat().st_size
    patch(wal, size - WAL_FRAME * 2 + 4000, b"\xa5" * 100)
    assert runs_after_restart(crashed) == list(range(1, 29))


def runs_after_restart(folder: Path) -> list[int]:
    """The runs that are there; and it can be gone on from there, twice."""
    store = SqliteStore(folder)
    store.open()
    runs = [stored.run.seq for stored in store.load(0)]
    store.apply(submission(99, 99, "a"))
    image = crash_image(store, folder.with_name("again"))
    store.close()
    again = SqliteStore(image)
    again.open()
    assert [stored.run.seq for stored in again.load(0)] == [*runs, 99]
    again.close()
    return runs


def test_a_database_too_big_to_check_at_once_is_checked_as_it_is_read(
    whole: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(integrity, "FULL_CHECK_BYTES", 4096)
    with sqlite3.connect(whole / "titan.db") as db:
        root = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'specs'").fetchone()[0]
    db.close()
    patch(whole / "titan.db", (root - 1) * 4096, b"\xff" * 4096)
    store = SqliteStore(whole)
    store.open()
    assert "not now" in caplog.text
    with pytest.raises(StoreDamaged):
        list(store.load(0))
    store.close()


def test_damage_that_sqlite_quotes_is_told_in_one_line(whole: Path) -> None:
    """Bytes that are no text, in the schema: SQLite's own message repeats them."""
    data = (whole / "titan.db").read_bytes()
    at = data.index(b"CREATE TABLE executions")
    patch(whole / "titan.db", at, b"\xc9\xff")
    message = refusal(whole)
    assert "docs/operations.md" in message and "\n" not in message


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("DELETE FROM specs WHERE job_seq = 501", "descriptions"),
        ("UPDATE specs SET job_seq = 99999 WHERE job_seq = 501", "belongs to nothing"),
        ("UPDATE jobs SET run_seq = 99999 WHERE seq = 501", "belongs to nothing"),
    ],
)
def test_a_job_that_would_be_missing_in_silence_is_noticed(whole: Path, change: str, text: str) -> None:
    db = sqlite3.connect(whole / "titan.db")
    db.execute(change)
    db.commit()
    db.close()
    assert text in refusal(whole)


def test_a_value_that_its_index_does_not_know_is_noticed(whole: Path) -> None:
    """One bit of a run's id: the page is sound, and the row is another one than was written."""
    data = (whole / "titan.db").read_bytes()
    first = data.index(b"run-150")
    patch(whole / "titan.db", first, b"rum-150")
    assert "damaged" in refusal(whole)
