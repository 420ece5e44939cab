"""Logs that rotate: on the worker, on their way, and on the master. What is kept is right by its offset."""

from __future__ import annotations

import errno
import os
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from titan_core.filesys import log_store
from titan_core.filesys.log_store import LogStore, Rotation
from titan_core.tasks.alarms import Alarms
from titan_core.tasks.job_log import RotatingLog
from titan_core.tasks.line_scanner import LineScanner
from titan_core.tasks.log_batcher import LogBatcher, OnLogState
from titan_sdk.messages import Lease, LogPiece, LogState
from titan_test_suite.pytests.cluster import wait_until

LEASE = Lease(job="r/s", attempt=1, epoch=1)


def numbered(length: int, begin: int = 0) -> bytes:
    """Bytes that tell where they belong."""
    return bytes(number % 251 for number in range(begin, begin + length))


# --- on the worker ---


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 16), st.integers(2, 4))
def test_the_latest_files_hold_the_end_of_what_was_printed(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], limit: int, count: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "s.log"
    log = RotatingLog(str(path), limit, count)
    for length in lengths:
        log.write(numbered(length, log.printed))
    tail, offset = log.close()
    everything = numbered(sum(lengths))
    assert log.size == log.printed == len(everything)
    assert everything[offset:] == tail
    older = sorted((item for item in path.parent.iterdir() if item != path), key=lambda item: int(item.suffix[1:]))
    assert len(older) < count
    for item in older:
        begin = (int(item.suffix[1:]) - 1) * limit
        assert item.read_bytes() == everything[begin : begin + limit]
    kept = b"".join(item.read_bytes() for item in (*older, path))
    assert everything.endswith(kept) and len(kept) >= min(len(everything), (count - 1) * limit)


def test_a_disk_that_takes_no_more_is_told_of(tmp_path: Path) -> None:
    log = RotatingLog(str(tmp_path / "s.log"), 4, 2)
    log.write(b"abcd")
    (tmp_path / "s.log.1").mkdir()  # so that it cannot be renamed
    log.write(b"e")
    assert log.error.startswith("its log could not be written")
    assert (log.size, log.printed) == (4, 5)
    log.close()


def test_a_line_is_found_whole_in_pieces_and_after_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "s.log"
    scanner = LineScanner(path, re.compile(rb"^ready: \d+$"))
    assert not scanner.found()
    path.write_bytes(b"starting\nready: ")
    assert not scanner.found()
    os.rename(path, tmp_path / "s.log.1")
    path.write_bytes(b"12\n")
    assert scanner.found()
    path.write_bytes(b"")
    assert scanner.found(), "once is enough"


# --- on the way ---


class Master:
    """Takes pieces as a LogStore does, when it is let."""

    def __init__(self, store: LogStore) -> None:
        self.store = store
        self.pieces: list[LogPiece] = []

    def send_log(self, piece: LogPiece, on_answer: OnLogState) -> None:
        self.pieces.append(piece)
        rotation = Rotation(1000, 3)
        received = self.store.append("r/s", 1, piece.offset, piece.data, rotation=rotation, gap=piece.gap)
        on_answer(LogState(received=received))


@pytest.fixture
def shipping(tmp_path: Path):
    alarms = Alarms("alarms")
    alarms.start()
    master = Master(LogStore(tmp_path / "master"))

    def no_one(lease: Lease) -> None:
        raise AssertionError(f"{lease} is stale")

    batcher = LogBatcher(master, alarms, no_one)
    yield master, batcher
    batcher.forget(LEASE)
    alarms.stop()
    alarms.join(5)


def test_a_log_that_rotates_comes_to_the_master_whole(shipping: tuple[Master, LogBatcher], tmp_path: Path) -> None:
    master, batcher = shipping
    batcher.resume()
    log = RotatingLog(str(tmp_path / "s.log"), 100, 50)
    batcher.open(LEASE, str(tmp_path / "s.log"), 100)
    for _ in range(20):
        log.write(numbered(77, log.printed))
        batcher.grew(LEASE, log.size)
    wait_until(lambda: master.store.size("r/s", 1, rotates=True) == 20 * 77)
    log.close()
    assert not any(piece.gap for piece in master.pieces)
    assert everything_of(master.store) == numbered(20 * 77)


def test_what_was_rotated_away_meanwhile_is_a_gap(shipping: tuple[Master, LogBatcher], tmp_path: Path) -> None:
    master, batcher = shipping
    log = RotatingLog(str(tmp_path / "s.log"), 100, 3)
    batcher.open(LEASE, str(tmp_path / "s.log"), 100)
    log.write(numbered(1050))
    batcher.grew(LEASE, log.size)
    batcher.resume()  # the master was away
    wait_until(lambda: master.store.size("r/s", 1, rotates=True) == 1050)
    log.close()
    assert [piece.offset for piece in master.pieces if piece.gap] == [800]
    assert master.store.first("r/s", 1) in (0, 800)
    assert master.store.read("r/s", 1, 800, 5000, rotates=True) == numbered(250, 800)


def everything_of(store: LogStore) -> bytes:
    data, offset = b"", store.first("r/s", 1)
    while piece := store.read("r/s", 1, offset + len(data), 1 << 20, rotates=True):
        data += piece
    return data


# --- on the master ---


def test_the_master_keeps_the_latest_files(tmp_path: Path) -> None:
    store = LogStore(tmp_path)
    rotation = Rotation(100, 3)
    for _ in range(40):
        size = store.size("r/s", 1, rotates=True)
        assert store.append("r/s", 1, size, numbered(30, size), rotation=rotation) == size + 30
        assert store.append("r/s", 1, size, numbered(30, size), rotation=rotation) == size + 30, "again does no harm"
    assert len(list((tmp_path / "r").iterdir())) == 3
    for each in (store, LogStore(tmp_path)):  # and a master that was started again knows what it has
        first = each.first("r/s", 1)
        assert each.size("r/s", 1, rotates=True) == 1200 and 1200 - 360 <= first <= 1200 - 200
        assert everything_of(each) == numbered(1200 - first, first)
        assert each.read("r/s", 1, 0, 100, rotates=True) == b""


def test_a_hole_is_refused_unless_it_may_be(tmp_path: Path) -> None:
    store = LogStore(tmp_path)
    rotation = Rotation(100, 3)
    store.append("r/s", 1, 0, b"abc", rotation=rotation)
    assert store.append("r/s", 1, 50, b"x", rotation=rotation) == 3
    assert store.append("r/s", 1, 50, b"xyz", rotation=rotation, gap=True) == 53
    assert store.read("r/s", 1, 1, 9, rotates=True) == b"bc"
    assert store.read("r/s", 1, 51, 9, rotates=True) == b"yz"


def test_old_attempts_of_a_service_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_store, "KEPT_ATTEMPTS", 3)
    store = LogStore(tmp_path)
    store.append("r/s.1", 1, 0, b"another job")
    for attempt in range(1, 8):
        store.append("r/s", attempt, 0, b"x" * 300, rotation=Rotation(100, 3))
    names = sorted(item.name for item in (tmp_path / "r").iterdir())
    assert names == ["s.1.1.log", "s.5.log", "s.6.log", "s.7.log"]


def test_a_log_goes_on_when_the_disk_has_room_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the disk was full while a file was being rotated."""
    log = RotatingLog(str(tmp_path / "log"), 100, 10)
    log.write(b"a" * 100)
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with monkeypatch.context() as full:

        def no_room(*_: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        full.setattr(os, "open", no_room)
        log.write(b"lost")
    assert "No space left" in log.error and log.size == 100
    log.write(b"lost too")
    now[0] += 6
    log.write(b"back")
    assert not log.error
    mark = b"\n[titan: 12 bytes are left out here; its log could not be written: No space left on device]\n"
    assert (tmp_path / "log.1").read_bytes() == b"a" * 100
    assert (tmp_path / "log").read_bytes() == mark + b"back"
    assert log.close() == (mark + b"back", 100)
