"""SchedulerCore: events in, commands out.

Pure and deterministic: no clock, threads, randomness, sockets or files. The same events give the same commands, so what
happened can be replayed. It is not thread-safe; one mutex around it is the business of whoever drives it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

from titan_core.model.rows import CordonRow, EventRow
from titan_core.model.run import Run
from titan_core.model.schedule import ScheduleRow
from titan_core.model.states import JobState
from titan_core.scheduling.core import invariants
from titan_core.scheduling.core.acceptance import Acceptance, accepted
from titan_core.scheduling.core.approvals import Approvals
from titan_core.scheduling.core.attempt_reports import AttemptReports
from titan_core.scheduling.core.budgets import Budgets
from titan_core.scheduling.core.changes import Changes
from titan_core.scheduling.core.commands import Answer, Command, SetAlarm
from titan_core.scheduling.core.delay_heap import DelayHeap
from titan_core.scheduling.core.endings import Endings
from titan_core.scheduling.core.event_log import EventLog
from titan_core.scheduling.core.events import (
    AddRequested,
    AttemptEnded,
    AttemptStarted,
    CancelRequested,
    CloseRequested,
    CordonRequested,
    DecisionMade,
    DispatchRefused,
    DrainRequested,
    Event,
    Instant,
    LinkBroken,
    LoadMeasured,
    MachinesAskedFor,
    RestartRequested,
    RunSubmitted,
    ScaleRequested,
    ScheduleDeleted,
    SchedulePaused,
    SchedulePut,
    ScheduleTriggered,
    StopRequested,
    TimePassed,
    WorkerLeft,
    WorkerRegistered,
    WorkerSilent,
)
from titan_core.scheduling.core.explanation import Explanations
from titan_core.scheduling.core.fan_out import FanOut
from titan_core.scheduling.core.fleet import Fleet
from titan_core.scheduling.core.gates import Gates
from titan_core.scheduling.core.growth import Growth
from titan_core.scheduling.core.idempotency import digest_of
from titan_core.scheduling.core.job_book import JobBook
from titan_core.scheduling.core.lifecycle import JobLifecycle
from titan_core.scheduling.core.limits import CoreLimits
from titan_core.scheduling.core.matcher import Matcher
from titan_core.scheduling.core.repairs import Repairs
from titan_core.scheduling.core.restoration import SavedRun, rebuild, restore_workers
from titan_core.scheduling.core.routing import Routing
from titan_core.scheduling.core.run_flow import RunFlow
from titan_core.scheduling.core.scaler import Scaler
from titan_core.scheduling.core.schedules import Schedules
from titan_core.scheduling.core.service_control import ServiceControl
from titan_core.scheduling.core.spec_pool import SpecPool
from titan_core.scheduling.core.stats import stats_json, stats_text
from titan_core.scheduling.core.views import Views, approval_info
from titan_core.scheduling.core.worker_registry import WorkerRegistry
from titan_sdk.errors import NotFound
from titan_sdk.messages import (
    ApprovalList,
    EventInfo,
    EventList,
    Explanation,
    JobInfo,
    JobList,
    Lease,
    RunInfo,
    RunPage,
    RunSummary,
    ScheduleInfo,
    ServiceInfo,
    SpecList,
    WorkerInfo,
)
from titan_sdk.timetable import Timetable

__all__ = ["CoreLimits", "SchedulerCore"]


class SchedulerCore:
    """The engine's decisions. Its parts hold the state; this wires them and hands each event to the one concerned."""

    def __init__(self, limits: CoreLimits) -> None:
        self._limits = limits
        self._pool = SpecPool()
        self._book = JobBook(limits.finished_jobs_in_memory, limits.output_bytes_in_memory)
        self._registry = WorkerRegistry(limits.dead_workers, limits.histories, limits.history_per_worker)
        self._matcher = Matcher(self._book.jobs, self._registry.workers, limits.idle_lanes)
        self._delays = DelayHeap()
        self._changes = Changes()
        self._events = EventLog(self._changes, limits.events)
        self._approvals = Approvals(self._book, self._changes, self._events, self._wake_at)
        self._repairs = Repairs(self._book, self._changes, self._events)
        self._lifecycle = JobLifecycle(
            self._book,
            self._matcher,
            self._delays,
            self._changes,
            self._events,
            self._approvals,
            self._repairs,
            limits,
        )
        self._gates = Gates(self._book, self._approvals, self._lifecycle, self._changes)
        self._run_flow = RunFlow(self._book, self._lifecycle)
        self._kin = self._book.lineage.kin
        self._budgets = Budgets(self._book.lineage, self._changes)
        self._acceptance = Acceptance(self._book, self._pool, limits, self._budgets)
        self._growth = Growth(self._book, self._acceptance, self._lifecycle, self._budgets, self._changes)
        self._fan_out = FanOut(self._book, self._acceptance, self._lifecycle, self._budgets, self._changes)
        self._endings = Endings(self._book, self._lifecycle, self._growth, self._budgets, self._changes)
        self._routing = Routing(self._book, self._registry.workers, limits)
        self._services = ServiceControl(
            self._book, self._registry, self._acceptance, self._lifecycle, self._changes, self._events, limits
        )
        self._fleet = Fleet(
            self._registry, self._matcher, self._lifecycle, self._changes, self._events, limits.refusal_hold_s
        )
        self._reports = AttemptReports(self._registry, self._lifecycle, self._fleet, self._changes)
        self._scaler = Scaler(
            self._book,
            self._registry,
            self._matcher,
            self._lifecycle,
            self._acceptance,
            self._routing,
            self._fleet,
            self._changes,
            self._events,
            limits,
        )
        self._schedules = Schedules(
            self._book, self._lifecycle, self._changes, self._events, self._pool, limits, self._start_run
        )
        self._views = Views(self._book, self._registry, limits)
        self._explanations = Explanations(self._book, self._registry, self._matcher)
        self._alarm: float | None = None
        self._handlers: dict[type[Event], Callable[[Any, Instant], None]] = {
            RunSubmitted: self._submit,
            AddRequested: self._growth.add,
            CloseRequested: self._growth.close_on_request,
            CancelRequested: self._endings.cancel,
            StopRequested: self._endings.stop,
            RestartRequested: self._services.restart,
            ScaleRequested: self._services.scale,
            DecisionMade: self._gates.decided,
            TimePassed: self._pass_time,
            SchedulePut: self._schedules.put,
            SchedulePaused: self._schedules.pause,
            ScheduleTriggered: self._schedules.trigger,
            ScheduleDeleted: self._schedules.delete,
            WorkerRegistered: self._fleet.registered,
            LinkBroken: self._fleet.link_broken,
            WorkerSilent: self._fleet.silent,
            DrainRequested: self._fleet.drain_requested,
            CordonRequested: self._fleet.cordon_requested,
            WorkerLeft: self._fleet.left,
            AttemptStarted: self._reports.started,
            AttemptEnded: self._reports.ended,
            DispatchRefused: self._reports.refused,
            LoadMeasured: self._scaler.load_measured,
            MachinesAskedFor: self._scaler.machines_asked_for,
        }

    # --- the write side ---

    def handle(self, event: Event, now: Instant) -> list[Command]:
        """What is to be done about an event: first the records, then the effects (see commands).

        Raises:
            RemoteError: the event is refused (each event says how); nothing has changed.
        """
        self._handlers[type(event)](event, now)
        return self._finish(now)

    def restore(self, runs: Iterable[SavedRun], sequences: tuple[int, int, int], now: Instant) -> list[Command]:
        """Take up what a store holds; once, before the first event.

        ``sequences``: the highest run seq, job seq and lease epoch ever used. Running jobs keep their leases; their
        workers are ``away`` with an empty boot id until they register or are reported silent.
        """
        book = self._book
        book.run_seq, book.job_seq, self._lifecycle.epoch = sequences
        for saved in sorted(runs, key=lambda saved: saved.run.seq):
            book.add(rebuild(saved, self._pool, now.wall, self._limits.executions_per_job))
            for key, outputs in saved.outputs:
                book.outputs.keep(book.jobs[key], outputs)
            for row in saved.approvals:
                book.approvals.setdefault(row.key, []).append(row)
            for repair in saved.repairs:
                book.repairs.setdefault(repair.key, []).append(repair)
            kin = book.lineage.find(saved.run.run_id)
            if kin is not None:
                self._budgets.resume(kin, now)
        restore_workers(book.jobs.values(), self._registry)
        for job in book.jobs.values():
            self._lifecycle.resume(job, now)
        self._schedules.resume(now)
        return self._finish(now)

    def restore_cordons(self, rows: Iterable[CordonRow]) -> None:
        """Take up which workers get nothing; once, before ``restore``."""
        self._registry.cordons = {row.worker_id: row for row in rows}

    def restore_schedules(self, rows: Iterable[ScheduleRow], seq: int) -> None:
        """Take up the schedules; once, before ``restore``. ``seq``: the highest ever used."""
        self._schedules.restore(rows, seq)

    def restore_events(self, rows: Iterable[EventRow]) -> None:
        """Take up the events that a store holds, in order; once, before the first event."""
        self._events.restore(rows)

    def _finish(self, now: Instant) -> list[Command]:
        """Dispatch what the event made possible, see to the alarm, and collect the commands."""
        self._services.settle(now)
        later = self._settle_runs(now) if self._kin or self._book.unsettled else ()
        if self._schedules.book.by_name:
            later = self._settle_schedules(now)
        self._book.expire(now.wall - self._limits.finished_ms_in_memory)
        self._matcher.match(self._routing.preferred, lambda job, worker: self._lifecycle.lease(job, worker, now))
        next_ones = (self._delays.next_due(), self._registry.next_release(), self._services.next_deadline(), *later)
        moments = [moment for moment in next_ones if moment is not None]
        if moments and (self._alarm is None or min(moments) < self._alarm):
            self._wake_at(min(moments))
        return self._changes.take(now.wall)

    def _wake_at(self, moment: float) -> None:
        """Have TimePassed come by that moment, in monotonic seconds."""
        if self._alarm is None or moment < self._alarm:
            self._alarm = moment
            self._changes.effect(SetAlarm(moment))

    def _settle_runs(self, now: Instant) -> tuple[float | None, ...]:
        """See to budgets and open runs; when to do so again (monotonic seconds)."""
        self._budgets.follow_clock(now)
        self._growth.settle(now)
        while self._book.unsettled:  # of a run that was closed just now, say
            self._fan_out.settle(now)
            self._run_flow.settle(now)
            self._services.settle(now)
            self._growth.settle(now)
        return self._budgets.next_deadline(), self._growth.next_deadline()

    def _settle_schedules(self, now: Instant) -> tuple[float | None, ...]:
        """As _settle_runs, where the end of a run may start another one, and that may end at once."""
        while True:
            alarm = self._schedules.settle(now)
            later = self._settle_runs(now) if self._kin or self._book.unsettled else ()
            if not self._book.over:
                return (*later, alarm)

    def _submit(self, event: RunSubmitted, now: Instant) -> None:
        earlier = self._acceptance.earlier(event)
        if earlier is not None:
            self._changes.effect(Answer(earlier))
            return
        run = self._start_run(event, now)
        self._changes.effect(Answer(accepted(run, self._services.notes(run) if event.replace else [])))

    def _start_run(self, event: RunSubmitted, now: Instant) -> Run:
        """Raises what it is refused with, and then nothing has changed."""
        digest = digest_of(event.jobs, event.options) if event.idempotency_key else ""
        if event.replace:
            event = replace(event, jobs=self._services.with_replicas(event))
        self._acceptance.check(event, now)
        run = self._acceptance.build(event, now.wall, digest=digest)
        self._lifecycle.accept(run, now)
        if run.run_id in self._kin:
            self._budgets.charge(self._kin[run.run_id], len(run.jobs))
            self._budgets.begin(self._kin[run.run_id], now)
        return run

    def _pass_time(self, event: TimePassed, now: Instant) -> None:
        if self._alarm is not None and self._alarm <= now.monotonic:
            self._alarm = None
        self._endings.times_over(now)
        self._lifecycle.delays_over(now)
        self._gates.time_passed(now)
        deadline = self._approvals.next_deadline()
        if deadline is not None:
            self._wake_at(deadline)
        self._fleet.holds_over(now)
        self._schedules.time_passed(now, event.refusal)

    # --- the read side ---

    def job_info(self, name: str) -> JobInfo:
        """A job with its executions, by key or id. Raises NotFound; it may have left memory then."""
        return self._views.job(name)

    def run_info(self, name: str, first: int = 0, limit: int | None = None) -> RunInfo:
        """A run with its jobs or a part of them, by its id or by a job of it.

        Raises:
            NotFound: no such run; it may have left memory.
        """
        return self._views.run(name, first, limit)

    def run_version(self, run_id: str) -> int | None:
        """The version that run_info would show, without the cost of it; None when the run is not in memory."""
        run = self._book.runs.get(run_id)
        return run.version if run else None

    def remembers(self, run_id: str) -> bool:
        """Whether the run is in memory, or may still be changed for the sake of one that is."""
        return run_id in self._book.runs or self._book.lineage.find(run_id) is not None

    def is_settled(self, name: str) -> bool:
        """Whether the job of that key, or every job of the run of that id, is settled; not when it is not in memory."""
        job = self._book.jobs.get(name)
        if job is not None:
            return job.settled
        run = self._book.runs.get(name)
        return run is not None and run.settled

    def list_jobs(self, states: Collection[str] = (), limit: int = 100) -> JobList:
        """The newest jobs in these states, or in any."""
        return self._views.jobs(states, limit)

    def changed(self, keys: Sequence[str]) -> tuple[list[RunSummary], list[JobInfo]]:
        """These jobs as they are now, and their runs."""
        return self._views.changed(keys)

    def list_runs(self, limit: int) -> RunPage:
        """The newest runs."""
        return self._views.runs(limit)

    def specs(self, name: str) -> SpecList:
        """The specs of a run or job. Raises NotFound."""
        return self._views.specs(name)

    def counts(self) -> dict[str, int]:
        """Jobs by state."""
        return self._views.counts()

    def workers(self) -> list[WorkerInfo]:
        workers = self._views.workers()
        for info, worker in zip(workers, self._registry.workers.values(), strict=True):
            info.scaled = self._scaler.is_scaled(worker)
        return workers

    def explain(self, name: str) -> Explanation:
        """Why a job is where it is. Raises NotFound; it may have left memory then."""
        job = self._book.find_job(name)
        if job is None:
            raise NotFound(f"no job {name}")
        return Explanation(
            job=self._views.job(name),
            summary=self._explanations.summary(job),
            workers=self._explanations.reasons(job),
        )

    @property
    def last_event(self) -> int:
        """The number of the last event in the log; 0 when there is none."""
        return self._events.last

    @property
    def events_kept(self) -> int:
        return self._limits.events

    def events_since(self, seq: int, newest: int = 0) -> EventList:
        """The events in memory after that one, in order; with ``newest`` no more than so many, the newest."""
        events = [EventInfo(**row._asdict()) for row in self._events.since(seq, newest)]
        return EventList(events=events, last=self._events.last)

    def services(self, name: str, now_ms: int) -> list[ServiceInfo]:
        """The services that are not final, or those of that id with its replicas. ``now_ms``: epoch ms."""
        return self._views.services(name, now_ms)

    def schedules(
        self, name: str, first: int, limit: int
    ) -> tuple[list[tuple[ScheduleInfo, Timetable | None, int]], int]:
        """Schedules by name, each with its timetable and cursor, and how many there are. Raises NotFound."""
        return self._schedules.infos(name, first, limit)

    def schedule_seq(self, name: str) -> int:
        """By which the store knows the firings of a schedule. Raises NotFound."""
        return self._schedules.seq_of(name)

    def approvals(self, name: str, limit: int) -> ApprovalList:
        """What waits for a person: of that job or run, or all of it. Raises NotFound."""
        rows = list(self._approvals.open_rows())
        if name:
            found = self._book.find_jobs(name)
            if not found:
                raise NotFound(f"no job or run {name}")
            keys = {job.key for job in found}
            rows = [row for row in rows if row.key in keys]
        return ApprovalList(approvals=[approval_info(row) for row in rows[:limit]], total=len(rows))

    def stats_json(self) -> dict[str, Any]:
        return stats_json(self._book, self._registry)

    def stats_text(self) -> str:
        return stats_text(self._book, self._registry)

    def find_key(self, name: str) -> str | None:
        """The key of the job of that name; None when there is none in memory."""
        job = self._book.find_job(name)
        return job.key if job else None

    def current_lease(self, key: str) -> Lease | None:
        """The lease of a RUNNING job; None for any other."""
        job = self._book.jobs.get(key)
        return job.lease() if job is not None and job.state is JobState.RUNNING else None

    def kind_of(self, lease: Lease) -> str:
        """The kind of the job whose current lease this is; empty when it is stale."""
        job = self._book.jobs.get(lease.job)
        return job.spec.kind if job is not None and job.holds(lease) else ""

    def check_invariants(self) -> None:
        """For tests: raise AssertionError unless everything that must hold between events does."""
        invariants.check(self._book, self._registry, self._matcher, self._delays)
        invariants.check_schedules(self._schedules.book, self._book)
