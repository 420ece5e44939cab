"""Is this file a whole database of ours? Asked before anything is written to it.

SQLite notices broken pages by itself, but three losses it takes for a normal state, and would go on without the
missing commits: a write-ahead log (WAL) whose middle is damaged is read up to there; one whose header is damaged counts
as empty; one that is gone is not missed. All three are told apart here from what a crash may leave behind. Offsets are
those of https://www.sqlite.org/fileformat2.html and https://www.sqlite.org/walformat.html.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import struct
from pathlib import Path
from typing import BinaryIO, Final

from titan_core.storage.schema import APPLICATION_ID, SCHEMA_VERSION
from titan_core.storage.store import WAY_OUT, StoreDamaged, StoreError

logger = logging.getLogger(__name__)

FULL_CHECK_BYTES: Final = 1 << 30
"""Largest database that is checked page by page at each start: about a second per 500 MB, and a restart has five."""
INDEX_CHECK_BYTES: Final = 128 << 20
"""Largest one whose rows are compared with their indexes too, which tells a changed value: a second per 100 MB."""

_DATABASE_HEADER: Final = struct.Struct(">16s44xI4xI28x")
_WAL_HEADER: Final = struct.Struct(">8I")
_WAL_FRAME_HEADER: Final = struct.Struct(">6I")
_WAL_MAGIC: Final = 0x377F0682
"""The lowest bit of the magic says which byte order the checksums use."""


def examine(path: Path) -> None:
    """Return when ``path`` is a whole database of ours, of this version or an older one. Nothing of it is changed.

    The caller holds the lock of the data directory: nobody else has the file open.

    Raises:
        StoreDamaged: not ours, truncated, damaged, or without the log that belongs to it.
        StoreError: it was made by a newer Titan, or it cannot be read.
    """
    wal = path.with_name(path.name + "-wal")
    try:
        _examine_header(path)
        has_wal = wal.exists()
        salts = _examine_wal_header(wal) if has_wal else None
        # Without a log the file alone is the database; `immutable` keeps SQLite from making an empty log beside it.
        uri = f"{path.absolute().as_uri()}?mode=ro{'' if has_wal else '&immutable=1'}"
        with contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as db:
            if _examine_pages(db, path):
                _examine_links(db, path)
            _examine_state(db, path, has_wal)
            if salts is not None:
                _examine_wal_frames(wal, salts, _frames_in_use(path), db)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # SQLite's own texts quote what it found, as it is
        raise _damaged(path, str(error)) from error
    except OSError as error:
        raise StoreError(f"cannot read {error.filename or path}: {error.strerror}") from error


def _damaged(path: Path, what: str) -> StoreDamaged:
    return StoreDamaged(
        f"{path} is damaged: {' '.join(what.split())}. Nothing was changed. Restore the data directory from a backup, "
        f"or start with another one. {WAY_OUT}"
    )


def _examine_header(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(_DATABASE_HEADER.size)
    if len(head) < _DATABASE_HEADER.size:
        raise _damaged(path, f"it ends after {len(head)} bytes")
    magic, version, application = _DATABASE_HEADER.unpack(head)
    if magic != b"SQLite format 3\0":
        raise _damaged(path, "it does not begin like a database")
    if application != APPLICATION_ID:
        raise StoreDamaged(f"{path} is a database, but not one of Titan's. It was left as it is. {WAY_OUT}")
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{path} was made by a newer Titan (version {version} of its tables, this one knows {SCHEMA_VERSION}). "
            f"It was left as it is: use the newer Titan, or another data directory. {WAY_OUT}"
        )


def _examine_pages(db: sqlite3.Connection, path: Path) -> bool:
    """Whether the database is small enough to be read from end to end now."""
    size = path.stat().st_size
    if size > FULL_CHECK_BYTES:
        logger.warning("%s has %d MB: its pages are checked when they are read, not now", path, size >> 20)
        return False
    check = "integrity_check" if size <= INDEX_CHECK_BYTES else "quick_check"
    verdict: str = db.execute(f"PRAGMA {check}(1)").fetchone()[0]
    if verdict != "ok":
        raise _damaged(path, verdict)
    return True


def _examine_links(db: sqlite3.Connection, path: Path) -> None:
    """A job whose run or spec cannot be found would be missing without a word."""
    lonely = db.execute("PRAGMA foreign_key_check").fetchone()
    if lonely is not None:
        raise _damaged(path, f"row {lonely[1]} of {lonely[0]} belongs to nothing in {lonely[2]}")
    jobs, specs = db.execute("SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM specs)").fetchone()
    if jobs != specs:
        raise _damaged(path, f"there are {jobs} jobs, and {specs} descriptions of jobs")


def _examine_state(db: sqlite3.Connection, path: Path, has_wal: bool) -> None:
    row = db.execute("SELECT clean FROM titan").fetchone()
    if row is None:
        raise _damaged(path, "the row that says whose it is, is missing")
    if not row[0] and not has_wal:
        raise _damaged(
            path,
            f"the master was not stopped in order and {path.name}-wal, which holds its last commits, is missing "
            "(to do without them, create an empty file of that name)",
        )


def _examine_wal_header(wal: Path) -> tuple[int, int] | None:
    """The two salts that all frames of this log share; None when there is no frame in it."""
    with wal.open("rb") as file:
        head = file.read(_WAL_HEADER.size)
        if len(head) < _WAL_HEADER.size or not file.read(1):
            return None
    words = _WAL_HEADER.unpack(head)
    if words[0] & ~1 == _WAL_MAGIC and _checksum(head[:24], big_endian=bool(words[0] & 1)) == (words[6], words[7]):
        return words[4], words[5]
    raise _damaged(wal, "its header is not that of a write-ahead log")


def _checksum(data: bytes, *, big_endian: bool) -> tuple[int, int]:
    words = struct.unpack(f"{'>' if big_endian else '<'}{len(data) // 4}I", data)
    first = second = 0
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second


def _frames_in_use(path: Path) -> int:
    """How many frames SQLite found valid, read from the index that it has just built for the open connection."""
    with path.with_name(path.name + "-shm").open("rb") as file:
        file.seek(16)
        frames: int = struct.unpack("=I", file.read(4))[0]
        return frames


def _examine_wal_frames(wal: Path, salts: tuple[int, int], valid: int, db: sqlite3.Connection) -> None:
    """A crash can leave one unfinished commit at the end of the log: each is synced before the next begins.

    More than one commit of this log's own salts behind the last valid frame were therefore acknowledged.
    """
    frame_size: int = _WAL_FRAME_HEADER.size + db.execute("PRAGMA page_size").fetchone()[0]
    commits = 0
    with wal.open("rb") as file:
        offset = _WAL_HEADER.size + valid * frame_size
        while head := _frame_header(file, offset):
            offset += frame_size
            pages_after_commit, salt1, salt2 = head[1:4]
            commits += bool(pages_after_commit) and (salt1, salt2) == salts
    if commits > 1:
        raise _damaged(wal, f"frame {valid + 1} is broken, and {commits} commits that were acknowledged follow it")


def _frame_header(file: BinaryIO, offset: int) -> tuple[int, ...] | None:
    file.seek(offset)
    head = file.read(_WAL_FRAME_HEADER.size)
    return _WAL_FRAME_HEADER.unpack(head) if len(head) == _WAL_FRAME_HEADER.size else None
