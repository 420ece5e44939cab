"""ScheduleBook: every recurring schedule, and which of them is due next."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from heapq import heapify, heappop, heappush
from typing import Final

from msgspec.structs import replace

from titan_core.model.schedule import ScheduleState
from titan_sdk.errors import InvalidName
from titan_sdk.messages import JOB_IDS_SHOWN, ScheduleInfo, ScheduleSpec
from titan_sdk.timetable import Timetable, timetable_of

_SLACK: Final = 64
"""Stale entries of the heap are put up with until they are this many more than the live ones."""


class Schedule:
    """A schedule in memory.

    Attributes:
        seq: names it for ever. spec: what was asked for. state: how far it has come; replaced, never changed.
        timetable: None when it cannot be used here; ``problem`` says why.
        due: the first due time after the cursor, None when there is none. fire_at: when it is fired (``due`` and its
            jitter) while it is in the heap, else None. Both epoch ms.
    """

    __slots__ = ("due", "fire_at", "problem", "seq", "spec", "state", "timetable")

    def __init__(self, seq: int, spec: ScheduleSpec, state: ScheduleState) -> None:
        self.seq = seq
        self.state = state
        self.due: int | None = None
        self.fire_at: int | None = None
        self.describe(spec)

    def describe(self, spec: ScheduleSpec) -> None:
        """What it is from now on."""
        self.spec = spec
        self.timetable: Timetable | None = None
        self.problem = ""
        try:
            self.timetable = timetable_of(spec.when, self.state.anchor)
        except InvalidName as error:  # accepted by a master that knew the zone, say
            self.problem = str(error)

    @property
    def name(self) -> str:
        return self.spec.name

    def jitter(self, due: int) -> int:
        """Milliseconds that the firing of a due time is put off; a restart of the master does not change it."""
        most = self.spec.when.jitter_ms
        return int.from_bytes(self._digest(f"jitter {due}")[:8], "big") % (most + 1) if most else 0

    def run_id(self, due: int, number: int) -> str:
        """The id of the run of a firing: always the same for the same one, so that it cannot be made twice."""
        return f"run-{self._digest(f'run {due} {number}').hex()[:15]}"

    def _digest(self, text: str) -> bytes:
        return sha256(f"{self.seq} {self.state.created_at} {self.name} {text}".encode()).digest()

    def info(self) -> ScheduleInfo:
        """For people, without the next due times."""
        state, jobs = self.state, self.spec.jobs
        last_run = state.last_run
        if last_run is not None and any(each.number == last_run.number for each in state.active):
            last_run = replace(last_run, state="RUNNING")
        return ScheduleInfo(
            name=self.name,
            when=self.spec.when,
            created_at=state.created_at,
            updated_at=state.updated_at,
            jobs=[job.id for job in jobs[:JOB_IDS_SHOWN]],
            total=len(jobs),
            paused=state.paused,
            active=[each.run_id for each in state.active],
            waiting=[each.due_at for each in state.waiting],
            last=state.last,
            last_run=last_run,
            fired=state.fired,
            skipped=state.skipped,
            missed=state.missed,
            refused=state.refused,
            problem=self.problem,
        )


class ScheduleBook:
    """Schedules by name, and a heap of those that are to fire: one that is paused or over costs nothing."""

    def __init__(self) -> None:
        self.by_name: dict[str, Schedule] = {}
        self.seq = 0
        """The highest ever used."""
        self._heap: list[tuple[int, int, Schedule]] = []
        """(fire_at, seq, schedule); an entry that is not the schedule's current one is stale."""
        self._live = 0

    def __len__(self) -> int:
        """How many are armed."""
        return self._live

    def arm(self, schedule: Schedule) -> None:
        """See to it that the schedule is in the heap when, and only when, it is to fire."""
        self.disarm(schedule)
        state, timetable = schedule.state, schedule.timetable
        schedule.due = None if timetable is None else timetable.after(state.cursor)
        if schedule.due is None or state.paused:
            return
        schedule.fire_at = schedule.due + schedule.jitter(schedule.due)
        heappush(self._heap, (schedule.fire_at, schedule.seq, schedule))
        self._live += 1

    def disarm(self, schedule: Schedule) -> None:
        """It fires no more for now."""
        if schedule.fire_at is None:
            return
        schedule.fire_at = None
        self._live -= 1
        if len(self._heap) > 2 * self._live + _SLACK:
            self._heap = self.live_entries()
            heapify(self._heap)

    def live_entries(self) -> list[tuple[int, int, Schedule]]:
        """For invariants: in no order, stale ones left out, equal ones once."""
        return list({entry[1]: entry for entry in self._heap if entry[0] == entry[2].fire_at}.values())

    def next_fire(self) -> int | None:
        """When the first one is to fire, epoch ms; None when none is."""
        heap = self._heap
        while heap and heap[0][0] != heap[0][2].fire_at:
            heappop(heap)
        return heap[0][0] if heap else None

    def pop_due(self, wall: int) -> Iterator[Schedule]:
        """Take those that are to fire by now, in order; each is armed anew by whoever takes it."""
        while (fire_at := self.next_fire()) is not None and fire_at <= wall:
            schedule = heappop(self._heap)[2]
            schedule.fire_at = None
            self._live -= 1
            yield schedule
