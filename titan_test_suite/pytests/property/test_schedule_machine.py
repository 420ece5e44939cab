"""Random histories of schedules: whatever happens, every due time is decided once, and as the policies say.

core_world checks the core's invariants after every event, and that no due time is decided twice. The machine adds the
books: what was due since a schedule was made is what was fired, skipped, refused and missed, and what still waits.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from titan_core.model.states import JobState
from titan_core.scheduling.core.events import (
    AttemptEnded,
    ScheduleDeleted,
    SchedulePaused,
    SchedulePut,
    ScheduleTriggered,
    TimePassed,
)
from titan_sdk.errors import Conflict
from titan_sdk.messages import JobSpec, Recurrence, ScheduleSpec
from titan_sdk.timetable import timetable_of
from titan_test_suite.pytests.core_world import World

NAMES = ("s1", "s2")
TIMES: dict[str, dict[str, Any]] = {
    "s1": {"every_ms": 10_000},
    "s2": {"cron": "*/2 * * * *", "timezone": "Europe/Berlin", "jitter_ms": 30_000},
}


class ScheduleMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.overlapped: set[str] = set()
        """Schedules that were allowed to run beside themselves."""

    @initialize()
    def start(self) -> None:
        self.world.register("w", slots=2)

    def rows(self):
        return {row.name: row for row in self.world.journal.schedules.values()}

    @rule(
        name=st.sampled_from(NAMES),
        misfire=st.sampled_from(("latest", "skip", "all")),
        overlap=st.sampled_from(("skip", "queue", "cancel", "allow")),
        window_ms=st.sampled_from((0, 60_000, 10**8)),
        clash=st.booleans(),
    )
    def put(self, name: str, misfire, overlap, window_ms: int, clash: bool) -> None:
        when = Recurrence(misfire=misfire, overlap=overlap, misfire_window_ms=window_ms, **TIMES[name])
        jobs = (JobSpec(id=f"{name}-a", file="a.py"), JobSpec(id="both" if clash else f"{name}-b", file="b.py"))
        if overlap == "allow":
            self.overlapped.add(name)
        self.world.do(SchedulePut(ScheduleSpec(name=name, jobs=jobs, when=when)))

    @precondition(lambda self: self.rows())
    @rule(undo=st.booleans(), data=st.data())
    def pause(self, undo: bool, data) -> None:
        name = data.draw(st.sampled_from(sorted(self.rows())))
        self.world.do(SchedulePaused(name, undo))
        assert self.rows()[name].state.paused is not undo

    @precondition(lambda self: self.rows())
    @rule(data=st.data())
    def trigger(self, data) -> None:
        name = data.draw(st.sampled_from(sorted(self.rows())))
        busy = bool(self.rows()[name].state.active)
        try:
            self.world.do(ScheduleTriggered(name))
        except Conflict:
            assert busy

    @precondition(lambda self: self.rows())
    @rule(data=st.data())
    def delete(self, data) -> None:
        name = data.draw(st.sampled_from(sorted(self.rows())))
        self.world.do(ScheduleDeleted(name))
        self.overlapped.discard(name)

    @rule(seconds=st.sampled_from((1.0, 9.0, 35.0, 130.0)))
    def time_passes(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @rule(wall_jump_ms=st.sampled_from((-90_000, -1_000, 5_000, 300_000)))
    def the_clock_is_set(self, wall_jump_ms: int) -> None:
        self.world.now = self.world.now._replace(wall=self.world.now.wall + wall_jump_ms)
        self.world.do(TimePassed())

    @rule(wall_jump_ms=st.sampled_from((0, 2_000, -30_000, 200_000)))
    def the_master_is_killed_and_started_again(self, wall_jump_ms: int) -> None:
        before = dict(self.world.journal.schedules)
        self.world.restart(wall_jump_ms)
        assert self.world.journal.schedules == before, "a restart alone changes nothing"
        self.world.register("w", slots=2, holding=tuple(self.leases()))

    def leases(self):
        running = self.world.journal.in_state(JobState.RUNNING)
        return [lease for row in running if (lease := self.world.core.current_lease(row.key)) is not None]

    @precondition(lambda self: self.leases())
    @rule(outcome=st.sampled_from(("completed", "failed", "cancelled")), data=st.data())
    def an_attempt_ends(self, outcome, data) -> None:
        lease = data.draw(st.sampled_from(self.leases()))
        self.world.do(AttemptEnded("w", lease, outcome, 0 if outcome == "completed" else 1))

    @invariant()
    def the_books_are_right(self) -> None:
        for seq, row in self.world.journal.schedules.items():
            state = row.state
            assert row.spec is not None
            timetable = timetable_of(row.spec.when, state.anchor)
            due, wanted = timetable.after(state.created_at), 0
            while due is not None and due <= state.cursor:
                wanted, due = wanted + 1, timetable.after(due)
            firings = [each for (of, _), each in self.world.journal.firings.items() if of == seq and not each.manual]
            waiting = sum(not each.manual for each in state.waiting)
            assert sum(each.count for each in firings) + waiting == wanted, row
            assert len(self.world.journal.firings) >= state.number or len(self.rows()) > 1
            counted = state.fired + state.skipped + state.missed + state.refused
            assert counted == sum(each.count for (of, _), each in self.world.journal.firings.items() if of == seq)
            assert row.name in self.overlapped or len(state.active) <= 1, row

    @invariant()
    def somebody_looks_at_the_clock(self) -> None:
        rows = self.rows().values()
        if any(not row.state.paused for row in rows):
            assert self.world.alarm is not None

    def teardown(self) -> None:
        """Let it work: everything that waits has its turn, and each schedule is up to date."""
        for name in self.rows():
            self.world.do(SchedulePaused(name))
            self.world.do(SchedulePaused(name, undo=True))
            self.world.do(SchedulePaused(name))
        for _ in range(600):
            if not (leases := self.leases()):
                break
            self.world.do(AttemptEnded("w", leases[0], "completed", 0))
        for row in self.rows().values():
            assert row.state.paused or (not row.state.active and not row.state.waiting), row


ScheduleMachine.TestCase.settings = settings(stateful_step_count=40)
TestSchedules = ScheduleMachine.TestCase
