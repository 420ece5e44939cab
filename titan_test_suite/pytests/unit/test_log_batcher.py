"""Logs reach the master whole and in order whatever it answers, within the bounds on what is under way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from titan_core.tasks import log_batcher
from titan_core.tasks.alarms import Alarms
from titan_core.tasks.log_batcher import MAX_REFUSALS, MAX_UNACKNOWLEDGED, LogBatcher
from titan_sdk.errors import ConnectionLost, TitanError, Unavailable
from titan_sdk.messages import CHUNK_BYTES, Lease, LogPiece, LogState
from titan_test_suite.pytests.cluster import wait_until

OnAnswer = Callable[[LogState | TitanError], None]


class Master:
    """Stands where the link does: keeps logs as the master does, and answers when the test says so."""

    def __init__(self) -> None:
        self.logs: dict[str, bytearray] = {}
        self.pieces: list[LogPiece] = []
        self.held: list[tuple[LogPiece, OnAnswer]] = []
        self.answering = True
        self.failure: TitanError | None = None

    def send_log(self, piece: LogPiece, on_answer: OnAnswer) -> None:
        self.pieces.append(piece)
        if self.answering:
            on_answer(self.failure or self.keep(piece))
        else:
            self.held.append((piece, on_answer))

    def keep(self, piece: LogPiece) -> LogState:
        log = self.logs.setdefault(piece.lease.job, bytearray())
        if piece.offset <= len(log):
            log[piece.offset :] = piece.data
        return LogState(received=len(log))

    def answer_one(self) -> None:
        piece, on_answer = self.held.pop(0)
        on_answer(self.keep(piece))


def lease(number: int = 1) -> Lease:
    return Lease(job=f"r/{number}", attempt=1, epoch=number)


@pytest.fixture
def master() -> Master:
    return Master()


@pytest.fixture
def stale() -> list[Lease]:
    return []


@pytest.fixture
def batcher(master: Master, stale: list[Lease], monkeypatch: pytest.MonkeyPatch) -> Iterator[LogBatcher]:
    monkeypatch.setattr(log_batcher, "RETRY_S", 0.01)
    alarms = Alarms("alarms")
    alarms.start()
    batcher = LogBatcher(master, alarms, stale.append)
    batcher.resume()
    yield batcher
    for left in list(batcher._streams):
        batcher.forget(left)
    alarms.stop()
    alarms.join(5)


def write(tmp_path: Path, data: bytes, number: int = 1) -> str:
    path = tmp_path / f"{number}.log"
    path.write_bytes(data)
    return str(path)


class Shipped:
    """What ``finish`` calls."""

    def __init__(self) -> None:
        self.acked = -1
        self.calls = 0
        self.event = threading.Event()

    def __call__(self, acked: int) -> None:
        self.acked = acked
        self.calls += 1
        self.event.set()


def test_the_log_of_a_tiny_job_is_left_to_its_report(batcher: LogBatcher, master: Master, tmp_path: Path) -> None:
    batcher.open(lease(), write(tmp_path, b"hello\n"))
    batcher.grew(lease(), 6)
    shipped = Shipped()
    batcher.finish(lease(), 0, shipped)
    assert (shipped.acked, shipped.calls) == (0, 1), "at once, on the same thread"
    wait_until(lambda: not batcher._alarms._due, 5)
    assert master.pieces == []


def test_output_of_a_running_job_arrives_in_few_pieces(batcher: LogBatcher, master: Master, tmp_path: Path) -> None:
    data = b"".join(b"line %d\n" % number for number in range(1000))
    batcher.open(lease(), write(tmp_path, data))
    for size in range(10, len(data), 10):
        batcher.grew(lease(), size)
    batcher.grew(lease(), len(data))
    wait_until(lambda: master.logs.get("r/1") == bytearray(data), 5)
    assert len(master.pieces) <= 3


def test_a_large_log_is_sent_in_order_one_piece_at_a_time(batcher: LogBatcher, master: Master, tmp_path: Path) -> None:
    data = bytes(range(256)) * (3 * CHUNK_BYTES // 256) + b"end"
    master.answering = False
    batcher.open(lease(), write(tmp_path, data))
    batcher.grew(lease(), len(data))
    shipped = Shipped()
    batcher.finish(lease(), len(data) - 2, shipped)
    for number in range(4):
        wait_until(lambda: len(master.held) == 1, 5)
        assert len(master.held[0][0].data) <= CHUNK_BYTES
        assert not shipped.calls, f"piece {number} is under way"
        master.answer_one()
    assert shipped.event.wait(5)
    assert shipped.acked == len(data) - 2
    assert bytes(master.logs["r/1"]) == data[:-2]


def test_what_is_under_way_is_bounded_and_jobs_take_turns(batcher: LogBatcher, master: Master, tmp_path: Path) -> None:
    master.answering = False
    data = b"x" * (2 * CHUNK_BYTES)
    jobs = 9
    for number in range(jobs):
        batcher.open(lease(number), write(tmp_path, data, number))
        batcher.grew(lease(number), len(data))
    most = MAX_UNACKNOWLEDGED // CHUNK_BYTES
    wait_until(lambda: len(master.held) == most, 5)
    order = []
    for _ in range(2 * jobs):
        wait_until(lambda: master.held, 5)
        assert sum(len(piece.data) for piece, _ in master.held) <= MAX_UNACKNOWLEDGED
        order.append(master.held[0][0].lease.epoch)
        master.answer_one()
    wait_until(lambda: all(len(master.logs[f"r/{number}"]) == len(data) for number in range(jobs)), 5)
    assert set(order[: jobs + most]) == set(range(jobs)), f"every job had a turn before some had two more: {order}"


def test_a_broken_link_resumes_where_the_master_stands(batcher: LogBatcher, master: Master, tmp_path: Path) -> None:
    data = b"0123456789" * 100_000
    master.answering = False
    batcher.open(lease(), write(tmp_path, data))
    batcher.grew(lease(), len(data))
    wait_until(lambda: master.held, 5)
    piece, on_answer = master.held.pop()
    batcher.pause()
    master.keep(piece)  # it arrived, but the answer did not
    on_answer(ConnectionLost("cut"))
    master.answering = True
    batcher.resume()
    shipped = Shipped()
    batcher.finish(lease(), len(data), shipped)
    assert shipped.event.wait(5)
    assert bytes(master.logs["r/1"]) == data


def test_a_master_that_lost_the_end_of_its_copy_gets_it_again(
    batcher: LogBatcher, master: Master, tmp_path: Path
) -> None:
    data = bytes(range(250)) * 1000
    path = Path(write(tmp_path, data))
    batcher.open(lease(), str(path))
    batcher.grew(lease(), 100_000)
    wait_until(lambda: len(master.logs.get("r/1", b"")) == 100_000, 5)
    del master.logs["r/1"][40_000:]
    batcher.grew(lease(), len(data))
    shipped = Shipped()
    batcher.finish(lease(), len(data), shipped)
    assert shipped.event.wait(5)
    assert bytes(master.logs["r/1"]) == data


def test_a_result_does_not_wait_for_a_log_that_cannot_be_stored(
    batcher: LogBatcher, master: Master, tmp_path: Path
) -> None:
    master.failure = Unavailable("the disk is full")
    batcher.open(lease(), write(tmp_path, b"x" * 100_000))
    shipped = Shipped()
    batcher.finish(lease(), 70_000, shipped)
    assert shipped.event.wait(5)
    assert shipped.acked == 0
    assert len(master.pieces) == MAX_REFUSALS


def test_a_log_that_is_gone_does_not_hold_its_result_up(batcher: LogBatcher, tmp_path: Path) -> None:
    batcher.open(lease(), str(tmp_path / "never.log"))
    shipped = Shipped()
    batcher.finish(lease(), 1000, shipped)
    assert shipped.event.wait(5)
    assert shipped.calls == 1


def test_a_stale_log_is_forgotten_and_said_so(
    batcher: LogBatcher, master: Master, stale: list[Lease], tmp_path: Path
) -> None:
    master.answering = False
    batcher.open(lease(), write(tmp_path, b"x" * CHUNK_BYTES * 2))
    batcher.grew(lease(), CHUNK_BYTES * 2)
    wait_until(lambda: master.held, 5)
    master.held.pop()[1](LogState(received=0, stale=True))
    assert stale == [lease()]
    batcher.grew(lease(), CHUNK_BYTES * 2)
    assert not batcher._streams and not master.held


def test_a_log_set_aside_while_it_is_shipped_is_shipped_whole(
    batcher: LogBatcher, master: Master, tmp_path: Path
) -> None:
    """A later attempt of the same job renames the log of the one before."""
    data = b"y" * (CHUNK_BYTES + 10)
    master.answering = False
    path = Path(write(tmp_path, data))
    batcher.open(lease(), str(path))
    batcher.grew(lease(), len(data))
    wait_until(lambda: master.held, 5)
    path.rename(tmp_path / "1.1.log")
    path.write_bytes(b"another attempt")
    master.answering = True
    master.answer_one()
    shipped = Shipped()
    batcher.finish(lease(), len(data), shipped)
    assert shipped.event.wait(5)
    assert bytes(master.logs["r/1"]) == data
