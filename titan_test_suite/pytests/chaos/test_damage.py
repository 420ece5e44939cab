"""Databases that were harmed at random: refused with a way out, or whole; never empty in silence."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from titan_core.storage.sqlite_store import SqliteStore
from titan_core.storage.store import StoreError
from titan_test_suite.pytests.chaos.tally import ROUNDS, Tally
from titan_test_suite.pytests.cluster import Cluster
from titan_test_suite.pytests.store_records import crash_image, submission

RUNS: Final = 120
IN_LOG: Final = 20
"""Of those, the runs whose commits are still in the write-ahead log of the ``crashed`` folder."""
WAY_OUT: Final = "docs/operations.md"


def put(store: SqliteStore, runs: range) -> None:
    for run in runs:
        store.apply(submission(run, 10 * run, f"a{run}", f"b{run}"))


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``whole`` was closed in order; ``crashed`` has its last commits in the log."""
    root = tmp_path_factory.mktemp("originals")
    store = SqliteStore(root / "whole")
    store.open()
    put(store, range(1, RUNS - IN_LOG + 1))
    store.close()
    shutil.copytree(root / "whole", root / "alive")
    store = SqliteStore(root / "alive")
    store.open()
    put(store, range(RUNS - IN_LOG + 1, RUNS + 1))
    crash_image(store, root / "crashed")
    store.close()
    store = SqliteStore(root / "whole")
    store.open()
    put(store, range(RUNS - IN_LOG + 1, RUNS + 1))
    store.close()
    return root


def flip_bits(path: Path, dice: random.Random) -> None:
    with path.open("r+b") as file:
        size = path.stat().st_size
        for _ in range(dice.choice((1, 1, 1, 8, 100))):
            offset = dice.randrange(size)
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes((byte ^ (1 << dice.randrange(8)),)))


def cut_off(path: Path, dice: random.Random) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(dice.choice((dice.randrange(size), size // 4096 // 2 * 4096)))


def zero_pages(path: Path, dice: random.Random) -> None:
    with path.open("r+b") as file:
        file.seek(dice.randrange(path.stat().st_size // 4096) * 4096)
        file.write(bytes(4096 * dice.choice((1, 2))))


def make_foreign(path: Path, dice: random.Random) -> None:
    path.unlink()
    if dice.random() < 0.5:
        path.write_bytes(dice.randbytes(dice.choice((0, 10, 100_000))))
        return
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE jobs (seq)")
    db.commit()
    db.close()


HARMS: Final[dict[str, Callable[[Path, random.Random], None]]] = {
    "database with flipped bits": flip_bits,
    "database cut off": cut_off,
    "database with pages of zeros": zero_pages,
    "foreign database": make_foreign,
}


_LAST_COMMITS: Final = frozenset({RUNS - 1, RUNS})
_ALL_IN_LOG: Final = frozenset(range(RUNS - IN_LOG + 1, RUNS + 1))


def may_be_missing(harm: str, in_log: bool) -> frozenset[int]:
    """A log that was cut off looks like one that ended there, a torn end of it like a crash within its last commit.

    That includes the one before when it is its last page that is not there any more.
    """
    if not in_log:
        return frozenset()
    return _ALL_IN_LOG if harm == "database cut off" else _LAST_COMMITS


def runs_after(folder: Path) -> set[int] | str:
    """The runs that are there after a start, or the text that it is refused with."""
    store = SqliteStore(folder)
    try:
        store.open()
        return {stored.run.seq for stored in store.load(1_000_000) if len(stored.jobs) == 2}
    except StoreError as error:
        return str(error)
    finally:
        store.close()


@pytest.mark.parametrize("harm", HARMS)
def test_a_harmed_database_is_refused_or_whole(
    harm: str, originals: Path, tmp_path: Path, tally: Tally, dice: random.Random
) -> None:
    everything = set(range(1, RUNS + 1))
    for n in range(25 * ROUNDS):
        origin = dice.choice(("whole", "crashed"))
        folder = Path(shutil.copytree(originals / origin, tmp_path / str(n)))
        in_log = origin == "crashed" and harm != "foreign database" and dice.random() < 0.5
        HARMS[harm](folder / ("titan.db-wal" if in_log else "titan.db"), dice)
        with tally.trial(harm) as violations:
            found = runs_after(folder)
            if isinstance(found, str):
                if str(folder) not in found or WAY_OUT not in found:
                    violations.append(f"the refusal names no way out: {found}")
            elif missing := everything - found - may_be_missing(harm, in_log):
                violations.append(f"{len(missing)} of {RUNS} runs are gone in silence")
        shutil.rmtree(folder)


def test_a_master_says_in_one_line_what_is_wrong_and_where_to_read_on(
    originals: Path, cluster: Cluster, tally: Tally
) -> None:
    shutil.copytree(originals / "whole", cluster.data_dir)
    with (cluster.data_dir / "titan.db").open("r+b") as file:
        file.truncate(8192)
    with tally.trial("master on a damaged database"):
        master = cluster.start_master(wait=False)
        assert master.wait() == 2
        complaint = master.log_text().splitlines()
        assert len(complaint) == 1 and complaint[0].startswith("TitanMaster: ")
        assert WAY_OUT in complaint[0]
