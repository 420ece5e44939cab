"""The feed of changes: what is told, what is forgotten, who is woken and how often."""

from __future__ import annotations

import threading
import time

import pytest

from titan_core.scheduling import change_feed
from titan_core.scheduling.change_feed import ChangeFeed
from titan_core.scheduling.clock_watcher import ClockWatcher


@pytest.fixture
def feed():
    watcher = ClockWatcher()
    watcher.start()
    yield ChangeFeed(watcher)
    watcher.stop()
    watcher.join(time.monotonic() + 5)


def test_it_tells_what_changed_since_oldest_first_and_each_once(feed):
    feed.changed(["r/a", "r/b"])
    feed.changed(["r/c"])
    feed.changed(["r/a"])
    assert feed.since(feed.feed, 0).keys == ("r/b", "r/c", "r/a")
    assert feed.since(feed.feed, 1).keys == ("r/c", "r/a")
    assert feed.since(feed.feed, 3) == (3, (), False, False)


def test_another_life_and_a_version_to_come_mean_everything_anew(feed):
    feed.changed(["r/a"])
    assert feed.since("of an earlier master", 0).reset
    assert feed.since(feed.feed, 2).reset
    assert feed.since(feed.feed, -1).reset


def test_what_is_forgotten_is_not_passed_over(feed, monkeypatch):
    monkeypatch.setattr(change_feed, "MAX_REMEMBERED", 2)
    for key in ("r/a", "r/b", "r/c"):
        feed.changed([key])
    assert feed.since(feed.feed, 0).reset
    assert feed.since(feed.feed, 1).keys == ("r/b", "r/c")


def test_a_full_answer_ends_between_two_versions(feed, monkeypatch):
    monkeypatch.setattr(change_feed, "MAX_KEYS", 2)
    for key in ("r/a", "r/b", "r/c"):
        feed.changed([key])
    first = feed.since(feed.feed, 0)
    assert first.keys == ("r/a", "r/b") and first.more
    second = feed.since(feed.feed, first.version)
    assert second.keys == ("r/c",) and not second.more


def test_a_waiter_is_woken_once_by_many_changes_and_by_the_end_of_its_time(feed):
    woken = threading.Semaphore(0)
    assert feed.wait(feed.feed, 0, 60.0, woken.release)
    begin = time.monotonic()
    for number in range(100):
        feed.changed([f"r/{number}"])
    assert woken.acquire(timeout=5)
    assert time.monotonic() - begin >= change_feed.GATHER_S * 0.9
    assert not feed.wait(feed.feed, 0, 60.0, woken.release)  # it has changed: ask
    assert feed.wait(feed.feed, 100, 0.01, woken.release)
    assert woken.acquire(timeout=5)
    assert not woken.acquire(blocking=False)
