"""The feed of jobs that settled: what is told, what is forgotten, and who is woken by what."""

from __future__ import annotations

import threading
import time

import pytest

from titan_core.scheduling import settled_feed
from titan_core.scheduling.clock_watcher import ClockWatcher
from titan_core.scheduling.settled_feed import SettledFeed
from titan_sdk.errors import Unavailable


@pytest.fixture
def feed():
    watcher = ClockWatcher()
    watcher.start()
    yield SettledFeed(watcher)
    watcher.stop()
    watcher.join(time.monotonic() + 5)


class Told(list):
    """What a waiter was told, and whether."""

    def __init__(self):
        self.any = threading.Event()

    def __call__(self, settled):
        self.append(settled)
        self.any.set()


def test_it_tells_what_settled_since_in_the_runs_that_are_asked_for(feed):
    feed.settled(["r/a", "s/b"])
    feed.settled(["r/c"])
    assert feed.since(feed.feed, 0, {"r"}) == (3, ("r/a", "r/c"), False, False)
    assert feed.since(feed.feed, 2, {"r"}).keys == ("r/c",)
    assert feed.since(feed.feed, 0, ()).keys == ("r/a", "s/b", "r/c")
    assert feed.since(feed.feed, 3, ()).keys == ()


def test_another_life_and_what_is_forgotten_mean_everything_anew(feed, monkeypatch):
    assert feed.since("of an earlier master", 0, ()).reset
    assert feed.since(feed.feed, 1, ()).reset, "a version to come"
    feed.settled([f"r/{number}" for number in range(settled_feed.MAX_REMEMBERED + 1)])
    assert feed.since(feed.feed, 0, ()).reset
    assert feed.since(feed.feed, 1, ()).keys[0] == "r/1"


def test_a_full_answer_goes_on_where_it_ended(feed, monkeypatch):
    monkeypatch.setattr(settled_feed, "MAX_KEYS", 2)
    feed.settled(["r/a", "s/x", "r/b", "s/y", "r/c"])
    first = feed.since(feed.feed, 0, {"r"})
    assert first.keys == ("r/a", "r/b") and first.more and first.version == 3
    assert feed.since(feed.feed, first.version, {"r"}) == (5, ("r/c",), False, False)
    told = Told()
    feed.wait(feed.feed, 5, {"r"}, 60.0, told)
    feed.settled(["r/d", "r/e", "r/f"])
    (answer,) = told
    assert answer.more and feed.since(feed.feed, answer.version, {"r"}).keys == ("r/d", "r/e")


def test_a_waiter_is_woken_once_and_by_its_own_runs_alone(feed):
    told, of_any = Told(), Told()
    feed.wait(feed.feed, 0, {"r", "q"}, 60.0, told)
    feed.settled(["s/a"])
    feed.wait(feed.feed, 1, (), 60.0, of_any)
    assert not told
    feed.settled(["q/a", "s/b", "r/a"])
    feed.settled(["r/b"])
    assert told == [(4, ("q/a", "r/a"), False, False)]
    assert of_any == [(4, ("q/a", "s/b", "r/a"), False, False)]


def test_what_settled_before_it_is_waited_for_is_told_at_once(feed):
    feed.settled(["r/a"])
    told = Told()
    feed.wait(feed.feed, 0, {"r"}, 60.0, told)
    assert told == [(1, ("r/a",), False, False)]
    feed.wait("of an earlier master", 0, {"r"}, 60.0, told)
    assert told[1].reset


def test_the_time_and_the_end_of_the_master_end_a_wait(feed):
    short, long = Told(), Told()
    feed.wait(feed.feed, 0, {"r"}, 0.01, short)
    assert short.any.wait(10) and short == [(0, (), False, False)]
    feed.wait(feed.feed, 0, {"r"}, 60.0, long)
    feed.end()
    assert long == [(0, (), False, False)]
    feed.wait(feed.feed, 0, {"r"}, 60.0, long)
    assert len(long) == 2, "nothing settles any more"


def test_there_is_a_bound_on_waiters(feed, monkeypatch):
    monkeypatch.setattr(settled_feed, "MAX_WAITERS", 1)
    feed.wait(feed.feed, 0, {"r"}, 60.0, Told())
    with pytest.raises(Unavailable):
        feed.wait(feed.feed, 0, {"r"}, 60.0, Told())
    feed.settled(["r/a"])
    feed.wait(feed.feed, 1, {"r"}, 60.0, Told())
