"""ClockWatcher: alarms go off in time and in order, and cost nothing until then."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from titan_core.scheduling import clock_watcher as module
from titan_core.scheduling.clock_watcher import ClockWatcher

DEADLINE_S = 10.0


@pytest.fixture
def failures() -> list[str]:
    return []


@pytest.fixture
def watcher(failures: list[str]) -> Iterator[ClockWatcher]:
    watcher = ClockWatcher(failures.append)
    watcher.start()
    yield watcher
    watcher.stop()
    assert watcher.join(time.monotonic() + DEADLINE_S)


class Calls:
    """Collects what goes off, and when."""

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[object, float]] = queue.Queue()

    def note(self, name: object) -> Callable[[], None]:
        return lambda: self._queue.put((name, time.monotonic()))

    def next(self) -> tuple[object, float]:
        return self._queue.get(timeout=DEADLINE_S)

    def empty(self) -> bool:
        return self._queue.empty()


def test_alarms_go_off_in_order_and_not_early(watcher: ClockWatcher) -> None:
    calls = Calls()
    now = time.monotonic()
    due = {"third": now + 0.12, "first": now + 0.04, "second": now + 0.08}
    for name, when in due.items():
        watcher.call_at(when, calls.note(name))
    for name in ("first", "second", "third"):
        called, at = calls.next()
        assert called == name
        assert at >= due[name]
    assert len(watcher) == 0


def test_an_earlier_alarm_overtakes_the_one_waited_for(watcher: ClockWatcher) -> None:
    calls = Calls()
    begin = time.monotonic()
    watcher.call_at(begin + 3600, calls.note("late"))
    watcher.call_at(begin + 0.02, calls.note("early"))
    assert calls.next()[0] == "early"
    assert len(watcher) == 1


def test_alarms_of_the_same_moment_keep_their_order(watcher: ClockWatcher) -> None:
    calls = Calls()
    when = time.monotonic() + 0.05
    for n in range(200):
        watcher.call_at(when, calls.note(n))
    assert [calls.next()[0] for _ in range(200)] == list(range(200))


def test_what_is_past_goes_off_at_once(watcher: ClockWatcher) -> None:
    calls = Calls()
    watcher.call_at(float("-inf"), calls.note("past"))
    assert calls.next()[0] == "past"


def test_a_cancelled_alarm_stays_silent(watcher: ClockWatcher) -> None:
    calls = Calls()
    when = time.monotonic() + 0.03
    cancelled = watcher.call_at(when, calls.note("cancelled"))
    other = watcher.call_at(when, calls.note("other"))
    cancelled.cancel()
    cancelled.cancel()
    assert len(watcher) == 1
    assert calls.next()[0] == "other"
    other.cancel()
    watcher.call_at(time.monotonic(), calls.note("last"))
    assert calls.next()[0] == "last"
    assert calls.empty()
    assert len(watcher) == 0


def test_an_alarm_may_be_set_and_cancelled_from_an_alarm(watcher: ClockWatcher) -> None:
    calls = Calls()
    victim = watcher.call_at(time.monotonic() + 3600, calls.note("victim"))

    def first() -> None:
        victim.cancel()
        watcher.call_at(time.monotonic() + 0.01, calls.note("second"))

    watcher.call_at(time.monotonic(), first)
    assert calls.next()[0] == "second"
    assert len(watcher) == 0


def test_cancelled_alarms_do_not_pile_up(watcher: ClockWatcher) -> None:
    """A request answered in time cancels its timeout: a million of them must not wait in the heap for an hour."""
    calls = Calls()
    kept = time.monotonic() + 0.5
    watcher.call_at(kept, calls.note("kept"))
    for _ in range(20_000):
        watcher.call_at(time.monotonic() + 3600, calls.note("cancelled")).cancel()
        assert len(watcher._heap) <= 2 * module.MIN_CANCELLED_TO_SWEEP
    assert len(watcher) == 1
    assert calls.next()[0] == "kept"


def test_waiting_costs_no_processor_time(watcher: ClockWatcher) -> None:
    calls = Calls()
    ticks: list[float] = []
    watcher.call_at(time.monotonic(), lambda: ticks.append(time.thread_time()))

    def measure() -> None:
        ticks.append(time.thread_time())
        calls.note("measured")()

    watcher.call_at(time.monotonic() + 0.5, measure)
    calls.next()
    assert ticks[1] - ticks[0] < 0.01


def test_stop_ends_a_long_wait_promptly(failures: list[str]) -> None:
    calls = Calls()
    watcher = ClockWatcher(failures.append)
    watcher.call_at(time.monotonic() + 3600, calls.note("never"))
    watcher.start()
    begin = time.monotonic()
    watcher.stop()
    watcher.stop()
    assert watcher.join(begin + DEADLINE_S), "it waits for an hour otherwise"
    watcher.call_at(time.monotonic(), calls.note("too late"))
    assert calls.empty()
    assert not failures


def test_join_gives_up_at_its_deadline(failures: list[str]) -> None:
    release = threading.Event()
    watcher = ClockWatcher(failures.append)
    assert watcher.join(time.monotonic() - 1)  # never started: nothing to wait for
    watcher.start()
    entered = threading.Event()

    def slow() -> None:
        entered.set()
        release.wait(DEADLINE_S)

    watcher.call_at(time.monotonic(), slow)
    assert entered.wait(DEADLINE_S)
    watcher.stop()
    assert not watcher.join(time.monotonic() + 0.05)
    release.set()
    assert watcher.join(time.monotonic() + DEADLINE_S)


def test_an_alarm_that_raises_ends_the_process() -> None:
    told: queue.Queue[tuple[str, BaseException | None]] = queue.Queue()
    watcher = ClockWatcher(lambda why: told.put((why, sys.exc_info()[1])))

    def broken() -> None:
        raise ZeroDivisionError("the story")

    watcher.call_at(time.monotonic(), broken)
    watcher.start()
    why, error = told.get(timeout=DEADLINE_S)
    assert why == "thread ClockWatcher died"
    assert isinstance(error, ZeroDivisionError)
    assert watcher.join(time.monotonic() + DEADLINE_S)
