"""Asking again: what is repeated, until when, and what the caller is told at the end."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from titan_sdk import steady
from titan_sdk.errors import (
    ConnectFailed,
    ConnectionLost,
    DeadlineExceeded,
    NotFound,
    TitanError,
    Unavailable,
    WaitTimeout,
)
from titan_sdk.messages import GetJob, GetStats, StatsText, Welcome
from titan_sdk.steady import SteadyCaller, deadline_after

ANSWER = StatsText(text="here")


class Master:
    """In place of RpcClient: answers with what stands in ``script``, the last of it for ever."""

    def __init__(self, *script: TitanError | StatsText) -> None:
        self.script = list(script)
        self.calls: list[tuple[Any, float]] = []
        self.welcome: Welcome | None = Welcome(master_id="m", term=1, version="1")
        self.host, self.port = "h", 1
        self.after_call: Callable[[], None] = lambda: None

    def call(self, request: Any, timeout: float) -> StatsText:
        self.calls.append((request, timeout))
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        self.after_call()
        if isinstance(answer, TitanError):
            raise answer
        return answer

    def close(self) -> None:
        pass


def caller(master: Master, monkeypatch: pytest.MonkeyPatch, timeout: float = 30.0) -> SteadyCaller:
    monkeypatch.setattr(steady, "RpcClient", lambda *_, **__: master)
    return SteadyCaller("h", 1, timeout=timeout)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steady, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(steady, "LONGEST_PAUSE_S", 0.002)


def test_a_broken_connection_is_no_reason_to_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    master = Master(ConnectionLost("broke"), ConnectFailed("away"), ConnectFailed("away"), ANSWER)
    assert caller(master, monkeypatch).call(GetStats()) is ANSWER
    assert len(master.calls) == 4
    timeouts = [timeout for _, timeout in master.calls]
    assert timeouts == sorted(timeouts, reverse=True) and timeouts[0] <= 30, "all tries share one time"


def test_where_no_master_is_the_first_try_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    master = Master(ConnectFailed("nobody"))
    with pytest.raises(ConnectFailed):
        caller(master, monkeypatch).call(GetStats())
    assert len(master.calls) == 1


def test_what_may_have_been_done_is_never_called_a_failure_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    master = Master(ConnectionLost("broke"), ConnectFailed("away"))
    with pytest.raises(ConnectionLost):
        caller(master, monkeypatch, timeout=0.05).call(GetStats())
    assert len(master.calls) > 2


@pytest.mark.parametrize("error", [DeadlineExceeded("late"), NotFound("no"), Unavailable("draining")])
def test_an_answer_that_is_one_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch, error: TitanError) -> None:
    master = Master(error)
    with pytest.raises(type(error)):
        caller(master, monkeypatch).call(GetStats())
    assert len(master.calls) == 1


def test_a_long_ask_outlives_everything_that_passes(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    passing = (ConnectionLost("b"), ConnectFailed("a"), Unavailable("stops"), DeadlineExceeded("frozen"))
    master = Master(*passing, ANSWER)
    with caplog.at_level(logging.WARNING):
        answer: object = caller(master, monkeypatch).ask(lambda wait_s: GetJob(id="a", wait_s=wait_s), math.inf)
    assert answer is ANSWER
    assert len(caplog.records) == 1, "it is said once that the master is away"
    assert {(request.wait_s, timeout) for request, timeout in master.calls} == {(30.0, 60.0)}


def test_a_long_ask_asks_for_no_more_than_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    master = Master(ANSWER)
    caller(master, monkeypatch).ask(lambda wait_s: GetJob(id="a", wait_s=wait_s), deadline_after(5))
    ((request, timeout),) = master.calls
    assert 4 < request.wait_s <= 5
    assert request.wait_s < timeout <= request.wait_s + steady.GRACE_S + 0.1


def test_a_long_ask_ends_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    master = Master(ConnectFailed("away"))
    began = time.monotonic()
    with pytest.raises(WaitTimeout, match="away"):
        caller(master, monkeypatch).ask(lambda wait_s: GetJob(id="a", wait_s=wait_s), deadline_after(0.05))
    assert 0.04 < time.monotonic() - began < 5


def test_a_refusal_ends_a_long_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound):
        caller(Master(NotFound("no")), monkeypatch).ask(lambda _: GetJob(id="a"), math.inf)


def test_a_master_that_was_never_there_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    master = Master(ConnectFailed("nobody"))
    master.welcome = None
    with pytest.raises(ConnectFailed):
        caller(master, monkeypatch).ask(lambda _: GetJob(id="a"), math.inf)


def test_a_master_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steady, "AWAY_S", 0.03)
    with pytest.raises(ConnectFailed):
        caller(Master(ConnectFailed("away")), monkeypatch).ask(lambda _: GetJob(id="a"), math.inf)


def test_closing_ends_what_waits_for_the_next_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steady, "FIRST_PAUSE_S", 3600.0)
    monkeypatch.setattr(steady, "LONGEST_PAUSE_S", 3600.0)
    master = Master(ConnectionLost("broke"))
    asked = threading.Event()
    master.after_call = asked.set
    client = caller(master, monkeypatch)
    errors: list[TitanError] = []

    def wait() -> None:
        try:
            client.ask(lambda _: GetJob(id="a"), math.inf)
        except TitanError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert asked.wait(10)
    client.close()
    thread.join(10)
    assert not thread.is_alive() and isinstance(errors[0], ConnectionLost)
