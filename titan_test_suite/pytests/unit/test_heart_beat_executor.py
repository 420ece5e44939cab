"""HeartBeatExecutor: silence is noticed in time, and only silence."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from titan_core.scheduling.heart_beat_executor import HeartBeatExecutor

DEADLINE_S = 10.0
Silent = tuple[str, str, str, float]


@pytest.fixture
def silent() -> queue.Queue[Silent]:
    return queue.Queue()


@pytest.fixture
def start(silent: queue.Queue[Silent]) -> Iterator[Callable[..., HeartBeatExecutor]]:
    started: list[HeartBeatExecutor] = []
    failures: list[str] = []

    def start(lease_s: float, grace_s: float) -> HeartBeatExecutor:
        def note(worker_id: str, boot_id: str, reason: str) -> None:
            silent.put((worker_id, boot_id, reason, time.monotonic()))

        executor = HeartBeatExecutor(lease_s, grace_s, note, failures.append)
        executor.start()
        started.append(executor)
        return executor

    yield start
    for executor in started:
        executor.stop()
        assert executor.join(time.monotonic() + DEADLINE_S)
    assert not failures


def test_a_silent_worker_is_told_of_once(start: Callable[..., HeartBeatExecutor], silent: queue.Queue[Silent]) -> None:
    begin = time.monotonic()
    executor = start(0.2, 60)
    executor.registered("w", "boot", 1)
    worker_id, boot_id, reason, at = silent.get(timeout=DEADLINE_S)
    assert (worker_id, boot_id) == ("w", "boot")
    assert "0.2 s" in reason
    assert at - begin >= 0.2
    assert not executor.watches("w")
    executor.registered("other", "boot", 2)
    assert silent.get(timeout=DEADLINE_S)[0] == "other"
    assert silent.empty()


def test_any_sign_of_life_begins_the_lease_anew(
    start: Callable[..., HeartBeatExecutor], silent: queue.Queue[Silent]
) -> None:
    executor = start(0.5, 60)
    executor.registered("talks", "b", 1)
    executor.registered("silent", "b", 2)
    end = time.monotonic() + DEADLINE_S
    found: Silent | None = None
    while found is None and time.monotonic() < end:
        executor.sign_of_life("talks")
        executor.sign_of_life("nobody")
        last = time.monotonic()
        with contextlib.suppress(queue.Empty):
            found = silent.get(timeout=0.01)
    assert found and found[0] == "silent"
    assert executor.watches("talks")
    name, _, _, at = silent.get(timeout=DEADLINE_S)
    assert name == "talks"
    assert at - last >= 0.4


def test_a_broken_link_gets_the_grace(start: Callable[..., HeartBeatExecutor], silent: queue.Queue[Silent]) -> None:
    executor = start(60, 0.2)
    executor.registered("w", "b", 1)
    executor.link_broken("w", 1)
    name, _, reason, _ = silent.get(timeout=DEADLINE_S)
    assert name == "w"
    assert "connection broke" in reason


def test_coming_back_within_the_grace_saves_the_worker(
    start: Callable[..., HeartBeatExecutor], silent: queue.Queue[Silent]
) -> None:
    executor = start(60, 0.2)
    executor.registered("back", "b", 1)
    executor.registered("gone", "b", 2)
    executor.link_broken("back", 1)
    executor.registered("back", "b", 3)
    executor.link_broken("back", 1)  # the end of the earlier link, told late
    executor.link_broken("gone", 2)
    assert silent.get(timeout=DEADLINE_S)[0] == "gone"
    assert executor.watches("back")
    assert silent.empty()


def test_a_worker_from_before_a_restart_has_a_whole_lease(
    start: Callable[..., HeartBeatExecutor], silent: queue.Queue[Silent]
) -> None:
    begin = time.monotonic()
    executor = start(0.3, 0.01)
    executor.remembered("w", "")
    name, boot_id, reason, at = silent.get(timeout=DEADLINE_S)
    assert (name, boot_id) == ("w", "")
    assert at - begin >= 0.3
    assert "restart" in reason


def test_one_that_left_is_not_silent(start: Callable[..., HeartBeatExecutor], silent: queue.Queue[Silent]) -> None:
    executor = start(0.2, 60)
    executor.registered("left", "b", 1)
    executor.registered("stays", "new", 2)
    executor.forget("left", "b")
    executor.forget("stays", "old")  # a farewell of the worker's earlier process
    assert silent.get(timeout=DEADLINE_S)[0] == "stays"
    assert silent.empty()


def test_silence_is_measured_from_the_last_sign(start: Callable[..., HeartBeatExecutor]) -> None:
    executor = start(60, 60)
    assert executor.silence("w") == 0.0
    executor.registered("w", "b", 1)
    time.sleep(0.05)
    assert 0.05 <= executor.silence("w") < 30
    executor.sign_of_life("w")
    assert executor.silence("w") < 0.05


STOPPED_MASTER = """
import sys, threading, time
from titan_core.scheduling.heart_beat_executor import HeartBeatExecutor
silent = threading.Event()
executor = HeartBeatExecutor(1.5, 1.5, lambda *_: silent.set())
executor.registered("w", "b", 1)
executor.start()
print("ready", flush=True)
sys.stdin.readline()
print("silent" if silent.wait(0.7) else "alive", flush=True)
print("silent" if silent.wait(10.0) else "alive", flush=True)
executor.stop()
executor.join(time.monotonic() + 5)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs SIGSTOP")
def test_a_master_that_was_stopped_itself_judges_nobody_by_it() -> None:
    """Stopped for longer than a lease: whoever was heard of before has a whole lease from then on, and no more."""
    master = subprocess.Popen(
        [sys.executable, "-c", STOPPED_MASTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    try:
        assert master.stdin and master.stdout
        assert master.stdout.readline() == "ready\n"
        os.kill(master.pid, signal.SIGSTOP)
        time.sleep(2.8)  # being stopped is what is tested, so this time has to pass
        os.kill(master.pid, signal.SIGCONT)
        master.stdin.write("\n")
        master.stdin.flush()
        assert master.stdout.readline() == "alive\n"
        assert master.stdout.readline() == "silent\n"
        assert master.wait(DEADLINE_S) == 0
    finally:
        master.kill()
        master.communicate()
