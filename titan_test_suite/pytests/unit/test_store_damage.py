"""A database that is not whole, or not ours, is refused with a clear error and left as it is."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from titan_core.storage.schema import SCHEMA_VERSION
from titan_core.storage.sqlite_store import SqliteStore
from titan_core.storage.store import StoreDamaged, StoreError
from titan_test_suite.pytests.store_records import crash_image, refusal, submission


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "data")
    store.open()
    yield store
    store.close()


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A directory with a database of some size, closed in order."""
    store = SqliteStore(tmp_path / "whole")
    store.open()
    for run in range(1, 200):
        store.apply(submission(run, 10 * run, "a", "b", "c"))
    store.close()
    return tmp_path / "whole"


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


def test_a_database_without_its_log_is_refused(store: SqliteStore, tmp_path: Path) -> None:
    store.apply(submission(1, 1, "a"))
    image = crash_image(store, tmp_path / "image")
    (image / "titan.db-wal").unlink()
    assert "titan.db-wal" in refusal(image)
    (image / "titan.db-wal").touch()  # what the text names as the way to do without
    again = SqliteStore(image)
    again.open()
    again.close()


def test_a_log_without_its_database_is_refused(store: SqliteStore, tmp_path: Path) -> None:
    store.apply(submission(1, 1, "a"))
    image = crash_image(store, tmp_path / "image")
    (image / "titan.db").unlink()
    assert "belongs to" in refusal(image)


@pytest.mark.parametrize("offset", [0, 9, 17, 30])
def test_a_log_with_a_damaged_header_is_refused(store: SqliteStore, tmp_path: Path, offset: int) -> None:
    store.apply(submission(1, 1, "a"))
    image = crash_image(store, tmp_path / "image")
    patch(image / "titan.db-wal", offset, b"\xa5\x5a")
    assert "titan.db-wal" in refusal(image)


@pytest.mark.parametrize("frame", [0, 1, 20])
@pytest.mark.parametrize("offset", [0, 10, 16, 24, 4000])
def test_a_log_damaged_in_the_middle_is_refused(store: SqliteStore, tmp_path: Path, frame: int, offset: int) -> None:
    """SQLite would take what follows for the end of a crash and forget those commits."""
    for run in range(1, 30):
        store.apply(submission(run, run, "a"))
    image = crash_image(store, tmp_path / "image")
    patch(image / "titan.db-wal", 32 + frame * (4096 + 24) + offset, b"\xa5\x5a\xa5\x5a")
    assert "commits that were acknowledged follow" in refusal(image)


@pytest.mark.parametrize("cut", [1, 4000, 4096 + 24, 2 * (4096 + 24) + 5])
def test_an_unfinished_commit_at_the_end_of_the_log_is_dropped(store: SqliteStore, tmp_path: Path, cut: int) -> None:
    """What a crash in the middle of a commit leaves is no damage: nobody was told of that commit."""
    for run in range(1, 30):
        store.apply(submission(run, run, "a"))
    image = crash_image(store, tmp_path / "image")
    wal = image / "titan.db-wal"
    wal.write_bytes(wal.read_bytes()[:-cut])
    again = SqliteStore(image)
    again.open()
    assert [stored.run.seq for stored in again.load(0)] == list(range(1, 29))
    again.apply(submission(29, 29, "a"))
    again.close()


def test_a_torn_commit_at_the_end_of_the_log_is_dropped(store: SqliteStore, tmp_path: Path) -> None:
    """The last commit's pages may reach the disk in any order: its commit frame may be there and another one not."""
    for run in range(1, 30):
        store.apply(submission(run, run, "a"))
    before = store.path.with_name("titan.db-wal").stat().st_size
    store.apply(submission(30, 30, "a", "b", "c"))
    image = crash_image(store, tmp_path / "image")
    patch(image / "titan.db-wal", before + 4000, b"\xa5" * 100)
    again = SqliteStore(image)
    again.open()
    assert [stored.run.seq for stored in again.load(0)] == list(range(1, 30))
    again.close()
