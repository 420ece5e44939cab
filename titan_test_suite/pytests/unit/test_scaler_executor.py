"""ScalerExecutor: looks again and again, tells what was measured, and a stop wakes it."""

from __future__ import annotations

import queue
import time

from titan_core.scheduling.core.events import LoadMeasured, WorkerLoad
from titan_core.scheduling.scaler_executor import ScalerExecutor

LOADS = {"w": WorkerLoad(12.5, 1 << 30, 0.5)}


def test_each_look_has_what_was_measured_and_a_run_of_its_own():
    events: queue.SimpleQueue[LoadMeasured] = queue.SimpleQueue()
    names = iter(["run-a", "run-b", "run-c"])
    scaler = ScalerExecutor(0.01, post=events.put, measure=lambda: LOADS, new_run_id=lambda: next(names, "run-z"))
    begin = time.monotonic()
    scaler.start()
    seen = [events.get(timeout=10) for _ in range(3)]
    assert time.monotonic() - begin >= 0.03, "the first look is a whole period after the start"
    scaler.stop()
    assert scaler.join(time.monotonic() + 5)
    assert [event.run_id for event in seen] == ["run-a", "run-b", "run-c"]
    assert all(event.loads == LOADS for event in seen)


def test_a_stop_does_not_wait_for_the_next_look():
    scaler = ScalerExecutor(3600, post=lambda event: None, measure=dict, new_run_id=lambda: "run-a")
    scaler.start()
    scaler.stop()
    assert scaler.join(time.monotonic() + 5)


def test_what_breaks_it_ends_the_process():
    failed: queue.SimpleQueue[str] = queue.SimpleQueue()

    def measure() -> dict[str, WorkerLoad]:
        raise RuntimeError("no measure")

    scaler = ScalerExecutor(0.01, post=lambda event: None, measure=measure, new_run_id=lambda: "", fail=failed.put)
    scaler.start()
    assert failed.get(timeout=10) == "thread ScalerExecutor died"
    assert scaler.join(time.monotonic() + 5)
