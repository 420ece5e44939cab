"""Live logs: seals of datagrams, the streamer that sends them, the assembler that puts them together."""

from __future__ import annotations

import random
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.log_assembler import MAX_WAITING, LogAssembler
from titan_core.tasks.alarms import Alarms
from titan_core.tasks.job_log import RotatingLog
from titan_core.tasks.log_streamer import MAX_BYTES_PER_S, LogStreamer
from titan_sdk.log_datagrams import DATA_BYTES, MAX_DATAGRAM, LogDatagram, seal, unseal
from titan_sdk.messages import Lease, LogTarget
from titan_test_suite.pytests.cluster import wait_until

SECRET = b"s" * 32
LEASE = Lease(job="run-1/job", attempt=2, epoch=7)
DATAGRAM = LogDatagram(b"watch-id", 3, "run-1/jöb", 2, 100, 120, b"hello \xff")


def target(*jobs: str, watch: bytes = b"watch-id") -> LogTarget:
    return LogTarget(watch=watch, host="127.0.0.1", port=9, secret=SECRET, jobs=jobs)


def test_a_sealed_datagram_comes_back_as_it_was():
    assert unseal(seal(DATAGRAM, SECRET), SECRET) == DATAGRAM
    biggest = DATAGRAM._replace(key="r/" + "x" * 360, data=b"d" * DATA_BYTES)
    assert len(seal(biggest, SECRET)) <= MAX_DATAGRAM and unseal(seal(biggest, SECRET), SECRET) == biggest


@given(st.data())
def test_a_changed_cut_or_foreign_datagram_is_nothing(data):
    packet = seal(DATAGRAM, SECRET)
    position = data.draw(st.integers(0, len(packet) - 1))
    flipped = bytearray(packet)
    flipped[position] ^= 1 << data.draw(st.integers(0, 7))
    assert unseal(bytes(flipped), SECRET) is None
    assert unseal(packet[:position], SECRET) is None
    assert unseal(packet, b"t" * 32) is None
    assert unseal(data.draw(st.binary(max_size=200)), SECRET) is None


@given(st.binary(min_size=1, max_size=400), st.randoms(use_true_random=False))
def test_pieces_in_any_order_make_the_log(log, chance: random.Random):
    pieces = []
    offset = 0
    while offset < len(log):
        size = chance.randint(1, 40)
        start = max(0, offset - chance.randint(0, 5))
        pieces.append((start, log[start : offset + size]))
        offset += size
    pieces += chance.sample(pieces, len(pieces) // 2)
    chance.shuffle(pieces)
    assembler = LogAssembler(0)
    assert b"".join(assembler.add(*piece) for piece in pieces) == log
    assert assembler.position == len(log) and assembler.waiting == 0


def test_a_gap_holds_back_what_follows_and_memory_stays_bounded():
    assembler = LogAssembler(10)
    assert assembler.add(15, b"later") == b"" and assembler.waiting == 5
    assert assembler.add(10, b"first") == b"firstlater" and assembler.waiting == 0
    assembler.add(100, bytes(MAX_WAITING))
    assert assembler.add(100 + MAX_WAITING, b"x") == b"" and assembler.waiting == MAX_WAITING


@pytest.fixture
def streamer():
    alarms = Alarms("test-alarms")
    alarms.start()
    sent: list[LogDatagram | None] = []
    streamer = LogStreamer(alarms, lambda packet, address: sent.append(unseal(packet, SECRET)))
    yield streamer, sent
    alarms.stop()
    alarms.join(5)
    streamer.close()


def test_nothing_is_sent_when_nobody_watches(streamer, tmp_path):
    streamer, sent = streamer
    log = tmp_path / "log"
    log.write_bytes(b"x" * 10)
    streamer.grew(LEASE, str(log), 10)
    streamer.watch([target("run-1/other")], 60)
    wait_until(lambda: streamer._watched)
    streamer.grew(LEASE, str(log), 10)
    streamer.watch([target(LEASE.job)], 60)
    wait_until(lambda: LEASE.job in streamer._watched)
    assert not sent
    streamer.watch([], 60)
    wait_until(lambda: not streamer._watched)
    streamer.grew(LEASE, str(log), 10)
    assert not sent


def test_output_is_sent_in_numbered_pieces_and_its_end_is_repeated(streamer, tmp_path):
    streamer, sent = streamer
    log = tmp_path / "log"
    text = b"".join(b"line %d\n" % number for number in range(1000))
    log.write_bytes(text)
    streamer.watch([target(LEASE.job)], 60)
    wait_until(lambda: LEASE.job in streamer._watched)
    streamer.grew(LEASE, str(log), len(text))
    wait_until(lambda: sent and sent[-1] is not None and not sent[-1].data, 5, "the end is said once more")
    assert b"".join(each.data for each in sent) == text
    assert [each.seq for each in sent] == list(range(len(sent)))
    assert all(each.attempt == 2 and each.size == len(text) and len(each.data) <= DATA_BYTES for each in sent)
    assert sent[-1].offset == len(text)


def test_a_watch_that_is_not_renewed_ends(streamer, tmp_path):
    streamer, _ = streamer
    streamer.watch([target(LEASE.job)], 0.02)
    wait_until(lambda: LEASE.job in streamer._watched)
    wait_until(lambda: not streamer._watched, 5, "it has ended")


def test_a_job_that_prints_without_end_is_sent_at_a_bounded_rate(streamer, tmp_path):
    streamer, sent = streamer
    log = tmp_path / "log"
    size = 40 * MAX_BYTES_PER_S
    with log.open("wb") as file:
        file.truncate(size)
    streamer.watch([target(LEASE.job)], 60)
    wait_until(lambda: LEASE.job in streamer._watched)
    streamer.grew(LEASE, str(log), 1)
    streamer.grew(LEASE, str(log), size)
    wait_until(lambda: sent and not sent[-1].data, 20, "it has caught up")
    assert sum(len(each.data) for each in sent) < 4 * MAX_BYTES_PER_S


def test_a_log_that_rotates_is_streamed_on_and_what_is_gone_is_a_gap(streamer, tmp_path):
    stream, sent = streamer

    def reached(size):
        return any(each.offset + len(each.data) >= size for each in sent if each.data)

    path = tmp_path / "service.log"
    log = RotatingLog(str(path), 1000, 3)
    stream.watch([target(LEASE.job)], 60)
    wait_until(lambda: LEASE.job in stream._watched)
    printed, assembler, shown = b"", LogAssembler(0), b""
    for number in range(8):  # each crosses a file's end
        piece = bytes([97 + number]) * 700
        log.write(piece)
        printed += piece
        stream.grew(LEASE, str(path), log.size, 1000)
        wait_until(partial(reached, len(printed)))
    for each in sent:
        shown += assembler.add(each.offset, each.data)
    assert shown == printed
    sent.clear()
    log.write(b"z" * 6000)  # more than is kept
    stream.grew(LEASE, str(path), log.size, 1000)
    wait_until(partial(reached, log.size))
    begin = min(each.offset for each in sent if each.data)
    assert len(printed) < begin == (log.size // 1000 - 2) * 1000
    assert b"".join(each.data for each in sent) == b"z" * (log.size - begin)
    log.close()
