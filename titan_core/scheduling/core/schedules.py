"""Schedules: due times become runs, each once.

What became of a due time (a run, or why there is none) and the schedule's advance past it are recorded with one event:
after a crash both have happened or neither. The advance never goes back, so neither a restart nor a clock that is set
back fires a due time twice.

Due times are moments of the wall clock and alarms of the monotonic one, and the two part when the clock is set, or the
machine sleeps. So the wall clock is looked at again after HORIZON_S at the latest while anything is to fire.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from msgspec.structs import replace

from titan_core.model.run import Run
from titan_core.model.schedule import FiringRow, ScheduleRow, ScheduleState, Waiting
from titan_core.model.states import JobState
from titan_core.scheduling.core.changes import Changes
from titan_core.scheduling.core.commands import Answer, ForgetSchedule, SaveFiring, SaveSchedule
from titan_core.scheduling.core.event_log import EventLog
from titan_core.scheduling.core.events import (
    Instant,
    RunSubmitted,
    ScheduleDeleted,
    SchedulePaused,
    SchedulePut,
    ScheduleTriggered,
)
from titan_core.scheduling.core.job_book import JobBook
from titan_core.scheduling.core.lifecycle import JobLifecycle
from titan_core.scheduling.core.limits import CoreLimits
from titan_core.scheduling.core.schedule_book import Schedule, ScheduleBook
from titan_core.scheduling.core.spec_pool import SpecPool
from titan_core.scheduling.core.triggers import to_end
from titan_sdk.dag import validate_dag
from titan_sdk.errors import Conflict, InvalidName, NotFound, Problem, SubmissionRefused, TitanError, Unavailable
from titan_sdk.expressions import renamed, renamed_text
from titan_sdk.messages import EventKind, FiringInfo, FiringOutcome, JobSpec, ScheduleInfo, ScheduleSpec
from titan_sdk.names import check_job_id
from titan_sdk.sizes import counted
from titan_sdk.timetable import MAX_MOMENT_MS, Timetable, check_recurrence, iso_time

HORIZON_S: Final = 30.0
"""A clock that was set is noticed within this time."""
GRACE_MS: Final = 5000
"""With misfire policy ``skip``, what is later than this is missed: more than a busy machine is late by."""
SCHEDULES_PER_EVENT: Final = 20
"""Due at the same moment, at 1 to 4 ms each; the others come with the next event, so that reports get in between."""
MAX_WAITING: Final = 100
"""Due times of one schedule that wait for a run to end, or are made good after a downtime."""
MAX_COUNTED: Final = 1500
"""Missed due times that are counted one by one; a day of minutes has 1440. Of more, this many are told of."""
_LOOK_BACK_MS: Final = tuple(minutes * 60_000 for minutes in (2, 60, 1440, 40 * 1440, 366 * 1440, 1 << 40))


class Passed(NamedTuple):
    """Due times that have come: the ``newest``, those ``before`` it as far as wanted, and how many there are in all."""

    newest: int
    before: tuple[int, ...]
    total: int


class Schedules:
    """Handles what is asked about schedules, fires what is due, and follows the runs that come of it.

    ``start_run`` accepts a submission as any other, or raises what it is refused with.
    """

    def __init__(
        self,
        jobs: JobBook,
        lifecycle: JobLifecycle,
        changes: Changes,
        events: EventLog,
        pool: SpecPool,
        limits: CoreLimits,
        start_run: Callable[[RunSubmitted, Instant], Run],
    ) -> None:
        self._jobs = jobs
        self._lifecycle = lifecycle
        self._changes = changes
        self._events = events
        self._pool = pool
        self._limits = limits
        self._start_run = start_run
        self.book = ScheduleBook()
        self._by_run: dict[str, Schedule] = {}
        """Schedules by the ids of their unfinished runs."""
        self._alarm: tuple[int, float] | None = None
        """For which moment of the wall clock the monotonic alarm was computed, and that."""

    # --- asked for ------------------------------------------------------------------------------------------------

    def put(self, event: SchedulePut, now: Instant) -> None:
        spec = self._checked(event.spec)
        known = self.book.by_name.get(spec.name)
        if known is not None and known.spec == spec:
            self._changes.effect(Answer((False, False)))
            return
        if known is None:
            if len(self.book.by_name) >= self._limits.schedules:
                raise Unavailable(f"there are {self._limits.schedules} schedules already; delete some")
            self.book.seq += 1
            state = ScheduleState(
                created_at=now.wall, updated_at=now.wall, anchor=_whole_second(now.wall), cursor=now.wall
            )
            schedule = Schedule(self.book.seq, spec, state)
            self.book.by_name[spec.name] = schedule
        else:
            schedule = known
            times = known.spec.when
            # Of other times only those to come count; the same ones go on, with what was missed so far.
            same = all(
                getattr(times, field) == getattr(spec.when, field)
                for field in ("cron", "every_ms", "timezone", "start_at", "end_at")
            )
            state = replace(known.state, updated_at=now.wall)
            if not same:
                state = replace(state, cursor=max(state.cursor, now.wall))
            if times.every_ms != spec.when.every_ms:
                state = replace(state, anchor=_whole_second(now.wall))
            schedule.state = state
            schedule.describe(spec)
        self.book.arm(schedule)
        self._changes.schedule(SaveSchedule(ScheduleRow(schedule.seq, spec.name, spec, schedule.state)))
        kind: EventKind = "schedule-changed" if known else "schedule-created"
        self._events.note(kind, spec.name, _times(schedule), now)
        self._changes.effect(Answer((known is None, True)))

    def pause(self, event: SchedulePaused, now: Instant) -> None:
        schedule = self._named(event.name)
        if schedule.state.paused == event.undo:
            self._set(schedule, replace(schedule.state, paused=not event.undo))
            self._events.note("schedule-resumed" if event.undo else "schedule-paused", schedule.name, "on request", now)
            self._next_waiting(schedule, now)
        self.book.arm(schedule)
        self._changes.effect(Answer(True))

    def trigger(self, event: ScheduleTriggered, now: Instant) -> None:
        schedule = self._named(event.name)
        state, overlap = schedule.state, schedule.spec.when.overlap
        busy = bool(state.active) and overlap != "allow"
        if busy and overlap == "skip":
            runs = ", ".join(each.run_id for each in state.active)
            raise Conflict(f"{schedule.name} has an unfinished run, {runs}, and its overlap policy is skip")
        if busy and overlap == "queue" and len(state.waiting) >= MAX_WAITING:
            raise Conflict(f"{len(state.waiting)} runs of {schedule.name} wait already")
        firing = self._overlap(schedule, now.wall, now, manual=True)
        if firing is not None and firing.outcome == "refused":
            self._changes.effect(Answer(Conflict(firing.reason)))
        else:
            self._changes.effect(Answer("" if firing is None else firing.run_id))

    def delete(self, event: ScheduleDeleted, now: Instant) -> None:
        schedule = self._named(event.name)
        self.book.disarm(schedule)
        del self.book.by_name[schedule.name]
        for firing in schedule.state.active:
            self._by_run.pop(firing.run_id, None)
            self._jobs.awaited.discard(firing.run_id)
        self._changes.schedule(ForgetSchedule(schedule.seq))
        self._events.note("schedule-deleted", schedule.name, "on request", now)
        self._changes.effect(Answer(True))

    def _named(self, name: str) -> Schedule:
        schedule = self.book.by_name.get(name)
        if schedule is None:
            raise NotFound(f"no schedule {name}")
        return schedule

    def _checked(self, spec: ScheduleSpec) -> ScheduleSpec:
        """The spec with shared parts.

        Raises:
            SubmissionRefused: with every problem.
        """
        problems = []
        try:
            check_job_id(spec.name, "schedule's name")
            check_recurrence(spec.when)
        except InvalidName as error:
            problems.append(Problem("", str(error)))
        if not spec.jobs:
            problems.append(Problem("", "no jobs"))
        params = spec.options.params if spec.options is not None else ()
        problems += validate_dag(spec.jobs, params=params)
        if not problems and spec.when.overlap == "allow":  # each run has longer ids
            problems += validate_dag(_marked(spec.jobs, MAX_MOMENT_MS - 1), params=params)
        for job in spec.jobs:
            if job.kind == "worker" or (job.kind == "service" and job.upkeep.lifetime != "run"):
                text = "a scheduled run is to end, and this never does; a service needs lifetime run"
                problems.append(Problem(job.id, text))
        if spec.options is not None and spec.options.open:
            problems.append(Problem("", "a scheduled run cannot be open: nobody would close it"))
        if problems:
            raise SubmissionRefused("refused: " + "; ".join(map(str, problems[:3])), problems)
        return replace(spec, jobs=tuple(map(self._pool.share, spec.jobs)))

    # --- time -----------------------------------------------------------------------------------------------------

    def _next_alarm(self, now: Instant) -> float | None:
        """The monotonic second at which to look again; None when nothing is to fire."""
        fire_at = self.book.next_fire()
        if fire_at is None:
            return None
        if self._alarm is None or self._alarm[0] != fire_at or self._alarm[1] <= now.monotonic:
            wait_s = min(max((fire_at - now.wall) / 1000, 0.0), HORIZON_S)
            self._alarm = fire_at, now.monotonic + wait_s
        return self._alarm[1]

    def time_passed(self, now: Instant, refusal: str = "") -> None:
        """Fire what is due. ``refusal``: why the master takes no new work at this time, if it does not."""
        self._alarm = None  # the wall clock may have been set since
        for count, schedule in enumerate(self.book.pop_due(now.wall), 1):
            self._come_due(schedule, now, refusal)
            self.book.arm(schedule)
            if schedule.due is None:
                self._events.note("schedule-ended", schedule.name, "it was due for the last time", now)
            if count == SCHEDULES_PER_EVENT:
                break

    def _come_due(self, schedule: Schedule, now: Instant, refusal: str) -> None:
        assert schedule.timetable is not None and schedule.due is not None
        when = schedule.spec.when

        def ripe(due: int) -> bool:
            return due + schedule.jitter(due) <= now.wall

        wanted = MAX_WAITING + 1 if when.misfire == "all" else 2
        passed = _passed(schedule.timetable, ripe, schedule.due, now.wall, wanted)
        self._set(schedule, replace(schedule.state, cursor=passed.newest))
        keep: tuple[int, ...] = (passed.newest,)
        if when.misfire == "skip" and now.wall - passed.newest - schedule.jitter(passed.newest) > GRACE_MS:
            keep = ()
        elif when.misfire == "all":
            oldest = now.wall - when.misfire_window_ms
            keep = tuple(due for due in (*passed.before, passed.newest) if due >= oldest)[-MAX_WAITING:]
        missed = passed.total - len(keep)
        if missed:
            self._note_missed(schedule, passed, keep, missed, now)
        for due in keep:
            if refusal:
                refused = _firing(schedule, due, now, "refused", reason=refusal)
                self._decide(schedule, refused, now)
            else:
                self._overlap(schedule, due, now, made_good=len(keep) > 1)

    def _note_missed(
        self, schedule: Schedule, passed: Passed, keep: tuple[int, ...], missed: int, now: Instant
    ) -> None:
        last = next((due for due in reversed((*passed.before, passed.newest)) if due not in keep), passed.newest)
        many = f"{MAX_COUNTED} or more due times" if passed.total >= MAX_COUNTED else counted(missed, "due time")
        reason = f"{many} up to {_iso(schedule, last)} passed while nothing could be fired"
        firing = _firing(schedule, last, now, "missed", reason=reason, count=missed)
        self._decide(schedule, firing, now)

    # --- firing ---------------------------------------------------------------------------------------------------

    def _overlap(
        self, schedule: Schedule, due: int, now: Instant, *, manual: bool = False, made_good: bool = False
    ) -> FiringInfo | None:
        """Fire, or what the overlap policy says when the former run is unfinished; None: it waits.

        Of several due times that are made good after a downtime (``made_good``) each waits for the one before.
        """
        state, policy = schedule.state, schedule.spec.when.overlap
        if policy == "allow" or not state.active:
            return self._fire(schedule, due, now, manual=manual)
        if made_good or policy == "queue":
            waiting = (*state.waiting, Waiting(due_at=due, manual=manual))
            self._set(schedule, replace(state, waiting=waiting[-MAX_WAITING:]))
            for each in waiting[:-MAX_WAITING]:
                self._skip(schedule, each, f"{MAX_WAITING} newer ones wait for its former run", now)
            return None
        if policy == "skip":
            runs = ", ".join(each.run_id for each in state.active)
            self._skip(schedule, Waiting(due_at=due, manual=manual), f"its former run is unfinished: {runs}", now)
            return None
        self._set(schedule, replace(state, waiting=(Waiting(due_at=due, manual=manual),)))
        for each in state.waiting:
            self._skip(schedule, each, "a newer due time came before its former run had ended", now)
        reason = f"cancelled by the schedule {schedule.name}, which is due again"
        for firing in state.active:
            run = self._jobs.runs.get(firing.run_id)
            if run is not None:
                self._lifecycle.cancel(to_end(run.jobs), reason, now)
        self.settle(now)  # what was not running has ended already
        found = schedule.state.last_run
        return found if found is not None and found.due_at == due and found.manual == manual else None

    def _skip(self, schedule: Schedule, waiting: Waiting, reason: str, now: Instant) -> None:
        firing = _firing(schedule, waiting.due_at, now, "skipped", reason=reason, manual=waiting.manual)
        self._decide(schedule, firing, now)

    def _fire(self, schedule: Schedule, due: int, now: Instant, *, manual: bool) -> FiringInfo:
        """Make the run of a due time, or find out why it cannot be made."""
        spec, number = schedule.spec, schedule.state.number + 1
        run_id = schedule.run_id(due, number)
        mark = f"#{number}" if manual else ""
        self._jobs.awaited.add(run_id)  # before it starts: what skips all of its jobs has ended at once
        try:
            event = RunSubmitted(
                run_id,
                spec.name,
                _jobs_of(schedule, due),
                idempotency_key=f"schedule {schedule.seq}.{schedule.state.created_at} {due}{mark}",
                options=spec.options,
            )
            self._start_run(event, now)
        except TitanError as error:
            self._jobs.awaited.discard(run_id)
            firing = _firing(schedule, due, now, "refused", reason=str(error), manual=manual)
        else:
            firing = _firing(schedule, due, now, "fired", run_id=run_id, manual=manual)
            self._by_run[run_id] = schedule
        self._decide(schedule, firing, now)
        return firing

    def _decide(self, schedule: Schedule, firing: FiringInfo, now: Instant) -> None:
        """Record what became of a due time."""
        state = schedule.state
        state = replace(state, number=firing.number, last=firing)
        kind = _KINDS[firing.outcome]
        if firing.outcome == "fired":
            active = (*state.active, firing)
            state = replace(state, fired=state.fired + 1, active=active, last_run=firing)
        elif firing.outcome == "skipped":
            state = replace(state, skipped=state.skipped + 1)
        elif firing.outcome == "missed":
            state = replace(state, missed=state.missed + firing.count)
        else:
            state = replace(state, refused=state.refused + 1)
        self._set(schedule, state)
        self._changes.schedule(SaveFiring(FiringRow(schedule.seq, firing)))
        what = "triggered" if firing.manual else f"due at {_iso(schedule, firing.due_at)}"
        told = firing.reason if firing.outcome == "missed" else f"{what}: {firing.run_id or firing.reason}"
        self._events.note(kind, schedule.name, told, now)

    def _set(self, schedule: Schedule, state: ScheduleState) -> None:
        schedule.state = state
        self._changes.schedule(SaveSchedule(ScheduleRow(schedule.seq, schedule.name, None, state)))

    # --- runs that end --------------------------------------------------------------------------------------------

    def settle(self, now: Instant) -> float | None:
        """Note which runs have ended, and fire what waited for that; when to look at the clock (monotonic seconds)."""
        while self._jobs.over:
            run = self._jobs.over.popleft()
            schedule = self._by_run.pop(run.run_id, None)
            if schedule is not None:
                self._run_over(schedule, run.run_id, _outcome(run), run.ended_at() or now.wall, now)
        return self._next_alarm(now)

    def _run_over(self, schedule: Schedule, run_id: str, state: str, ended_at: int, now: Instant) -> None:
        ended = next(each for each in schedule.state.active if each.run_id == run_id)
        firing = replace(ended, state=state, ended_at=ended_at)
        before = schedule.state
        after = replace(
            before,
            active=tuple(each for each in before.active if each.run_id != run_id),
            last=firing if before.last == ended else before.last,
            last_run=firing if before.last_run == ended else before.last_run,
        )
        self._set(schedule, after)
        self._changes.schedule(SaveFiring(FiringRow(schedule.seq, firing)))
        self._next_waiting(schedule, now)

    def _next_waiting(self, schedule: Schedule, now: Instant) -> None:
        """Fire the first due time that waits, if nothing is in its way any more; the next when that is refused."""
        while schedule.state.waiting and not schedule.state.active:
            first, *rest = schedule.state.waiting
            if schedule.state.paused and not first.manual:
                return
            self._set(schedule, replace(schedule.state, waiting=tuple(rest)))
            self._fire(schedule, first.due_at, now, manual=first.manual)

    # --- restoring and looking ------------------------------------------------------------------------------------

    def restore(self, rows: Iterable[ScheduleRow], seq: int) -> None:
        """Take up what a store holds; once, before the runs are."""
        self.book.seq = seq
        for row in rows:
            assert row.spec is not None
            spec = replace(row.spec, jobs=tuple(map(self._pool.share, row.spec.jobs)))
            schedule = Schedule(row.seq, spec, row.state)
            self.book.by_name[schedule.name] = schedule
            for firing in row.state.active:
                self._by_run[firing.run_id] = schedule
                self._jobs.awaited.add(firing.run_id)

    def resume(self, now: Instant) -> None:
        """The runs are there too: from now on time counts. What was due meanwhile is up to the next TimePassed."""
        self.settle(now)
        for schedule in self.book.by_name.values():
            for firing in schedule.state.active:
                if firing.run_id not in self._jobs.runs:  # it cannot be: its end is recorded with that of its last job
                    self._by_run.pop(firing.run_id, None)
                    self._run_over(schedule, firing.run_id, "", now.wall, now)
            self.book.arm(schedule)

    def infos(self, name: str, first: int, limit: int) -> tuple[list[tuple[ScheduleInfo, Timetable | None, int]], int]:
        """Schedules in the order of their names, each with its timetable and cursor, and how many there are.

        Raises:
            NotFound: ``name`` is given, and there is none.
        """
        if name:
            found = [self._named(name)]
        else:
            found = [self.book.by_name[each] for each in sorted(self.book.by_name)[first : first + limit]]
        rows = [(schedule.info(), schedule.timetable, schedule.state.cursor) for schedule in found]
        return rows, 1 if name else len(self.book.by_name)

    def seq_of(self, name: str) -> int:
        """By which the store knows the firings of a schedule. Raises NotFound."""
        return self._named(name).seq


_KINDS: Final[dict[FiringOutcome, EventKind]] = {
    "fired": "schedule-fired",
    "skipped": "schedule-skipped",
    "missed": "schedule-missed",
    "refused": "schedule-refused",
}


def _firing(
    schedule: Schedule,
    due: int,
    now: Instant,
    outcome: FiringOutcome,
    *,
    run_id: str = "",
    reason: str = "",
    manual: bool = False,
    count: int = 1,
) -> FiringInfo:
    """The next firing of the schedule."""
    return FiringInfo(
        number=schedule.state.number + 1,
        due_at=due,
        at=now.wall,
        outcome=outcome,
        run_id=run_id,
        reason=reason,
        manual=manual,
        count=count,
    )


def _whole_second(moment: int) -> int:
    return moment // 1000 * 1000


def _iso(schedule: Schedule, due: int) -> str:
    return iso_time(due, "" if schedule.problem else schedule.spec.when.timezone)


def _times(schedule: Schedule) -> str:
    return "never due" if schedule.due is None else f"next due at {_iso(schedule, schedule.due)}"


def _jobs_of(schedule: Schedule, due: int) -> tuple[JobSpec, ...]:
    """The jobs of a firing: they know what they are run for, and where runs may overlap each has ids of its own."""
    added = {"TITAN_SCHEDULE": schedule.name, "TITAN_DUE_AT": _iso(schedule, due)}
    jobs = schedule.spec.jobs
    if schedule.spec.when.overlap == "allow":
        jobs = _marked(jobs, due)
    return tuple(replace(job, env={**job.env, **added}) for job in jobs)


def _marked(jobs: tuple[JobSpec, ...], due: int) -> tuple[JobSpec, ...]:
    """The jobs with ids of their own for a due time, by which they also speak of each other."""
    mark = "." + "".join(char for char in iso_time(due, "UTC").partition("+")[0] if char.isalnum())
    marked = []
    for job in jobs:
        names = {parent: parent + mark for parent in job.parents}
        flow, args, env = job.flow, job.args, job.env
        if flow is not None and flow.templates:
            args = tuple(renamed_text(arg, names) for arg in args)
            env = {name: renamed_text(value, names) for name, value in env.items()}
        if flow is not None and (flow.when or flow.each):
            flow = replace(
                flow, when=flow.when and renamed(flow.when, names), each=flow.each and renamed(flow.each, names)
            )
        marked.append(
            replace(
                job, id=job.id + mark, parents=tuple(names[each] for each in job.parents), args=args, env=env, flow=flow
            )
        )
    return tuple(marked)


def _passed(timetable: Timetable, ripe: Callable[[int], bool], first: int, wall: int, wanted: int) -> Passed:
    """Which due times have come, ``first`` among them; ``wanted``: so many are told, the newest.

    However long ago the first was: what is looked for is looked for close to ``wall`` first.
    """
    recent: deque[int] = deque((first,), wanted)
    for back in _LOOK_BACK_MS:
        start = max(first - 1, wall - back)
        recent = deque((due for due in _dues(timetable, start, wall) if ripe(due)), wanted)
        if len(recent) == wanted or start == first - 1:
            break
    count = sum(1 for _ in islice(_dues(timetable, first - 1, recent[-1]), MAX_COUNTED))
    return Passed(recent[-1], tuple(recent)[:-1], count)


def _dues(timetable: Timetable, after: int, until: int) -> Iterator[int]:
    due = timetable.after(after)
    while due is not None and due <= until:
        yield due
        due = timetable.after(due)


def _outcome(run: Run) -> str:
    states = {job.state for job in run.jobs}
    worst = next((state for state in (JobState.DEAD, JobState.CANCELLED) if state in states), JobState.COMPLETED)
    return worst.value
