"""Copies of a data directory: taken while the master is at work, and put back while it is not.

Usage: python -m titan_core.storage.backup save DATA_DIR DEST
       python -m titan_core.storage.backup restore SRC DATA_DIR
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from titan_core.storage.data_dir_lock import DataDirLock
from titan_core.storage.integrity import examine
from titan_core.storage.sqlite_store import DATABASE_NAME
from titan_core.storage.store import StoreError

FOLDERS: Final = ("content", "logs")
"""Beside the database; a job's script is in the one before the job is accepted, and nothing is ever changed there."""
PAGES_AT_ONCE: Final = 1000
"""Pages copied before the master gets its turn: some 4 MB."""
BUSY_S: Final = 10.0
EPOCHS_SKIPPED: Final = 1_000_000
"""What has happened since the copy was taken is not known to it; workers may still hold leases of that time, and no
new one may look like one of them."""


def save(data_dir: Path, target: Path) -> None:
    """Copy the database, as of one moment, then the contents and logs that it speaks of. ``target`` must not exist.

    Raises:
        StoreError: there is no database, it is damaged, or it cannot be copied; nothing is left of the copy then.
    """
    database = data_dir / DATABASE_NAME
    if not database.is_file():
        raise StoreError(f"there is no {DATABASE_NAME} in {data_dir}")
    if target.exists():
        raise StoreError(f"{target} exists already; a backup is made in a new folder")
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        partial.mkdir(mode=0o700, parents=True)
        _copy_database(database, partial / DATABASE_NAME)
        for name in FOLDERS:
            _copy_folder(data_dir / name, partial / name)
        os.sync()
        partial.replace(target)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{data_dir} cannot be copied to {target}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def restore(source: Path, data_dir: Path) -> Path | None:
    """Put a copy in the place of a data directory; where the directory that was there is now, if there was one.

    Raises:
        StoreError: the copy is not whole, a master is at work on the directory, or it cannot be written.
    """
    if not (source / DATABASE_NAME).is_file():
        raise StoreError(f"there is no {DATABASE_NAME} in {source}")
    examine(source / DATABASE_NAME)
    new = data_dir.with_name(f".{data_dir.name}.{os.getpid()}")
    aside: Path | None = None
    try:
        shutil.copytree(source, new)
        _skip_epochs(new / DATABASE_NAME)
        os.sync()
        if data_dir.exists():
            lock = DataDirLock(data_dir)
            lock.acquire()
            try:
                aside = data_dir.with_name(f"{data_dir.name}.before-{time.strftime('%Y%m%d-%H%M%S')}")
                data_dir.rename(aside)
            finally:
                lock.release()
        new.rename(data_dir)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{source} cannot be put to {data_dir}: {error}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return aside


def _copy_database(database: Path, target: Path) -> None:
    uri = f"{database.absolute().as_uri()}?mode=ro"
    with (
        contextlib.closing(sqlite3.connect(uri, uri=True, timeout=BUSY_S)) as source,
        contextlib.closing(sqlite3.connect(target, isolation_level=None)) as copy,
    ):
        # A transaction of our own: one moment, however much the master writes meanwhile.
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM titan").fetchone()
        source.backup(copy, pages=PAGES_AT_ONCE)
        # The copy is whole without a log.
        copy.execute("UPDATE titan SET clean = 1")
        copy.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    examine(target)


def _copy_folder(source: Path, target: Path) -> None:
    """Every file that is there; what old age removes meanwhile is not missed."""
    target.mkdir()
    for folder, _, names in os.walk(source):
        there = target / Path(folder).relative_to(source)
        there.mkdir(exist_ok=True)
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                shutil.copy2(Path(folder) / name, there / name)


def _skip_epochs(database: Path) -> None:
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as db:
        db.execute("UPDATE titan SET epoch = epoch + ?", (EPOCHS_SKIPPED,))
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def main(argv: Sequence[str] | None = None) -> int:
    """0 when it is done, 2 when it cannot be; then stderr has one line."""
    parser = argparse.ArgumentParser(prog="backup", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("action", choices=("save", "restore"))
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args(argv)
    source, target = arguments.source.absolute(), arguments.target.absolute()
    try:
        aside = None
        if arguments.action == "save":
            save(source, target)
        else:
            aside = restore(source, target)
    except StoreError as error:
        sys.stderr.write(f"backup: {error}\n")
        return 2
    sys.stdout.write(f"{source} is copied to {target}\n")
    if aside is not None:
        sys.stdout.write(f"What was there before is in {aside}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
