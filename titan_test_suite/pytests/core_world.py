"""A world around a SchedulerCore for its tests: a clock, a journal, and a checker of all that was ever emitted.

The checker knows only events, commands and what is promised; it shares no state with the core, so that it sees what the
core's own invariants cannot: what must never have happened.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from titan_core.model.requirement import Need, need_of, offer_of
from titan_core.model.rows import ApprovalRow, CordonRow, EventRow, ExecutionRow, JobRow, RunRow
from titan_core.model.schedule import ScheduleRow
from titan_core.model.states import INITIAL, TRANSITIONS, JobState
from titan_core.scheduling.core.commands import (
    Answer,
    Command,
    DispatchJob,
    EndAttempt,
    ForgetCordon,
    ForgetSchedule,
    InsertAddition,
    InsertEvent,
    InsertJob,
    InsertRun,
    ReplaceSpec,
    RunChanged,
    SaveApproval,
    SaveCordon,
    SaveExecution,
    SaveFiring,
    SaveOutputs,
    SaveRepair,
    SaveSchedule,
    SetAlarm,
    UpdateJob,
    UpdateRun,
)
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
    RestartRequested,
    RunSubmitted,
    ScaleRequested,
    StopRequested,
    TimePassed,
    WorkerLeft,
    WorkerRegistered,
    WorkerSilent,
)
from titan_core.scheduling.core.scheduler_core import CoreLimits, SchedulerCore
from titan_sdk.errors import TitanError
from titan_sdk.messages import (
    CHILD_WORKERS,
    DEFAULT_FLOW,
    Accepted,
    FiringInfo,
    JobSpec,
    Lease,
    Outcome,
    RepairInfo,
    RunOptions,
)

WALL_START = 1_800_000_000_000
RECORDS = (
    InsertRun,
    UpdateRun,
    InsertAddition,
    InsertJob,
    UpdateJob,
    SaveExecution,
    SaveOutputs,
    SaveApproval,
    SaveRepair,
    ReplaceSpec,
    InsertEvent,
    SaveCordon,
    ForgetCordon,
    SaveSchedule,
    ForgetSchedule,
    SaveFiring,
)
_NEXT_STATES = {(origin, state) for (origin, _), state in TRANSITIONS.items()}


@dataclass
class SavedRun:
    run: RunRow
    jobs: list[tuple[JobSpec, JobRow]]
    executions: list[ExecutionRow]
    additions: dict[str, str] = field(default_factory=dict)
    outputs: list[tuple[str, bytes]] = field(default_factory=list)
    approvals: list[ApprovalRow] = field(default_factory=list)
    repairs: list[RepairInfo] = field(default_factory=list)


@dataclass
class Journal:
    """What a store would hold."""

    runs: dict[str, RunRow] = field(default_factory=dict)
    specs: dict[str, JobSpec] = field(default_factory=dict)
    jobs: dict[str, JobRow] = field(default_factory=dict)
    executions: dict[tuple[str, int], ExecutionRow] = field(default_factory=dict)
    outputs: dict[str, bytes] = field(default_factory=dict)
    approvals: dict[tuple[str, int], ApprovalRow] = field(default_factory=dict)
    repairs: dict[tuple[str, int], RepairInfo] = field(default_factory=dict)
    events: list[EventRow] = field(default_factory=list)
    schedules: dict[int, ScheduleRow] = field(default_factory=dict)
    firings: dict[tuple[int, int], FiringInfo] = field(default_factory=dict)
    schedule_seq: int = 0
    additions: dict[int, dict[str, str]] = field(default_factory=dict)
    cordons: dict[str, CordonRow] = field(default_factory=dict)

    def apply(self, command: Command) -> None:
        if isinstance(command, InsertRun):
            assert command.run.run_id not in self.runs
            self.runs[command.run.run_id] = command.run
        elif isinstance(command, UpdateRun):
            before = self.runs[command.run.run_id]
            assert command.run != before, f"nothing changed: {before}"
            assert command.run._replace(growth=None) == before._replace(growth=None), "only its growth changes"
            was_open = before.growth is not None and before.growth.open
            assert was_open or not (command.run.growth and command.run.growth.open), f"opened again: {before}"
            self.runs[command.run.run_id] = command.run
        elif isinstance(command, InsertAddition):
            known = self.additions.setdefault(command.run_seq, {})
            assert command.idempotency_key not in known
            known[command.idempotency_key] = command.digest
        elif isinstance(command, InsertJob):
            assert command.row.key not in self.jobs
            self.specs[command.row.key] = command.spec
            self.jobs[command.row.key] = command.row
        elif isinstance(command, UpdateJob):
            assert command.row != self.jobs[command.row.key], f"nothing changed: {command.row}"
            self.jobs[command.row.key] = command.row
        elif isinstance(command, SaveExecution):
            self.executions[command.row.key, command.row.attempt] = command.row
        elif isinstance(command, SaveOutputs):
            assert command.key not in self.outputs, f"outputs counted twice: {command}"
            assert self.jobs[command.key].state is JobState.COMPLETED and self.jobs[command.key].seq == command.seq
            self.outputs[command.key] = command.outputs
        elif isinstance(command, SaveRepair):
            open_before = self.repairs.get((command.row.key, command.row.number))
            assert open_before is None or open_before.state in ("running", "asked"), f"repaired twice: {command}"
            self.repairs[command.row.key, command.row.number] = command.row
        elif isinstance(command, ReplaceSpec):
            assert self.jobs[command.key].seq == command.seq
            self.specs[command.key] = command.spec
        elif isinstance(command, SaveApproval):
            asked = self.approvals.get((command.row.key, command.row.number))
            assert asked is None or not asked.decision, f"decided twice: {asked}, {command.row}"
            self.approvals[command.row.key, command.row.number] = command.row
        elif isinstance(command, SaveCordon):
            self.cordons[command.row.worker_id] = command.row
        elif isinstance(command, ForgetCordon):
            del self.cordons[command.worker_id]
        elif isinstance(command, (SaveSchedule, ForgetSchedule, SaveFiring)):
            self._apply_schedule(command)
        elif isinstance(command, InsertEvent):
            assert command.row.seq == (self.events[-1].seq + 1 if self.events else 1)
            self.events.append(command.row)

    def _apply_schedule(self, command: SaveSchedule | ForgetSchedule | SaveFiring) -> None:
        if isinstance(command, SaveSchedule):
            row, before = command.row, self.schedules.get(command.row.seq)
            if before is None:
                assert row.spec is not None and row.seq > self.schedule_seq, f"a seq is used again: {row}"
                self.schedule_seq = row.seq
            else:
                assert row.state.cursor >= before.state.cursor, f"it went back: {row}"
            self.schedules[row.seq] = row if row.spec else row._replace(spec=before.spec if before else None)
        elif isinstance(command, ForgetSchedule):
            del self.schedules[command.seq]
            self.firings = {key: firing for key, firing in self.firings.items() if key[0] != command.seq}
        else:
            seq, firing = command.row
            before_it = self.firings.get((seq, firing.number))
            if before_it is None:
                twice = [f for (s, _), f in self.firings.items() if s == seq and f.due_at == firing.due_at]
                assert firing.manual or not any(not f.manual for f in twice), f"decided twice: {twice}, {firing}"
            else:
                assert before_it.run_id == firing.run_id and before_it.outcome == "fired" and firing.state
            self.firings[seq, firing.number] = firing

    def saved_runs(self) -> list[SavedRun]:
        return [
            SavedRun(
                run,
                [(self.specs[key], row) for key, row in self.jobs.items() if row.run_id == run_id],
                [row for row in self.executions.values() if self.jobs[row.key].run_id == run_id],
                dict(self.additions.get(run.seq, {})),
                [(key, body) for key, body in self.outputs.items() if self.jobs[key].run_id == run_id],
                [row for row in self.approvals.values() if self.jobs[row.key].run_id == run_id],
                [row for row in self.repairs.values() if self.jobs[row.key].run_id == run_id],
            )
            for run_id, run in self.runs.items()
        ]

    def sequences(self) -> tuple[int, int, int]:
        return (
            max((run.seq for run in self.runs.values()), default=0),
            max((row.seq for row in self.jobs.values()), default=0),
            max((row.epoch for row in self.executions.values()), default=0),
        )

    def in_state(self, *states: JobState) -> list[JobRow]:
        return [row for row in self.jobs.values() if row.state in states]


@dataclass
class KnownWorker:
    """What the events told of a worker."""

    boot_id: str
    link: int
    offer: frozenset[str]
    slots: int
    millicpus: int = 0
    memory: int = 0
    gpus: int = 0
    reachable: bool = True
    draining: bool = False
    cordoned: bool = False
    held_until: float = 0.0
    machine: str = ""


class History:
    """Watches the stream of events and commands and fails when something happens that never may."""

    def __init__(self, journal: Journal, limits: CoreLimits) -> None:
        self._journal = journal
        self._limits = limits
        self._workers: dict[str, KnownWorker] = {}
        self._highest_epoch = 0
        self._ready_once: set[str] = set()
        self._begun: list[JobRow] = []
        """Handlers that wait no longer, by this event."""
        self._restarts_asked: set[str] = set()
        self._stepped_aside: set[str] = set()
        self._cordoned: set[str] = set()

    def event(self, event: Event, answer: Any, now: float) -> None:
        """An event that was not refused, and its answer. The journal is as it was before."""
        if isinstance(event, WorkerRegistered):
            before = self._workers.get(event.worker_id)
            offer = offer_of(event.capabilities, event.classic)
            same_process = before is not None and before.boot_id == event.boot_id
            if before is not None and same_process and event.classic:
                offer |= before.offer
            draining = before is not None and same_process and before.draining
            cordoned = event.worker_id in self._cordoned
            own = self._journal.jobs.get(event.job)
            if own is not None and own.state is JobState.RUNNING and self._journal.specs[own.key].kind == "worker":
                draining = draining or bool(own.ending)  # it is a job whose end was asked for before it came
            self._workers[event.worker_id] = KnownWorker(
                event.boot_id,
                event.link,
                offer,
                event.slots,
                round(event.cpus * 1000),
                event.memory,
                event.gpus,
                draining=draining,
                cordoned=cordoned,
                machine=event.machine or event.host,
            )
        elif isinstance(event, LinkBroken):
            worker = self._workers.get(event.worker_id)
            if worker is not None and worker.link == event.link:
                worker.reachable = False
        elif isinstance(event, (WorkerSilent, WorkerLeft)):
            worker = self._workers.get(event.worker_id)
            if worker is not None and worker.boot_id == event.boot_id:
                del self._workers[event.worker_id]
        elif isinstance(event, DrainRequested):
            self._workers[answer].draining = True
        elif isinstance(event, CordonRequested):
            (self._cordoned.discard if event.undo else self._cordoned.add)(answer)
            if answer in self._workers:
                self._workers[answer].cordoned = not event.undo
        elif isinstance(event, RestartRequested):
            self._restarts_asked |= set(answer)
        elif isinstance(event, (AttemptEnded, DispatchRefused)):
            self._attempt_over(event, now)
        elif isinstance(event, TimePassed):
            for worker in self._workers.values():
                if worker.held_until <= now:
                    worker.held_until = 0.0

    def _attempt_over(self, event: AttemptEnded | DispatchRefused, now: float) -> None:
        row = self._journal.jobs.get(event.lease.job)
        current = row and (row.state, row.worker_id, row.attempt, row.epoch)
        if current != (JobState.RUNNING, event.worker_id, event.lease.attempt, event.lease.epoch):
            return  # stale
        given_back = isinstance(event, DispatchRefused) or event.outcome == "handed_back"
        self._workers[event.worker_id].held_until = now + self._limits.refusal_hold_s if given_back else 0.0

    def restarted(self) -> None:
        """A new master knows nobody."""
        self._workers.clear()

    def row(self, row: JobRow, before: JobRow | None, parents: tuple[str, ...] = ()) -> None:
        """A job's row is about to be written."""
        if before is None:
            doomed = row.state is JobState.SKIPPED or (row.state.final and self._ended_parent(row, parents))
            doomed = doomed or (row.state is JobState.CANCELLED and row.reason.startswith("fail_fast: "))
            assert row.state in INITIAL or row.attempt == 1 or doomed, f"accepted into {row}"
            return
        assert not before.state.final, f"revived, or ended twice: {before} -> {row}"
        assert row.attempt in (before.attempt, before.attempt + 1), f"{before} -> {row}"
        service = self._journal.specs[row.key].kind != "run"
        assert row.epoch >= before.epoch and row.restarts >= before.restarts
        anew = before.state is JobState.HELD and row.failures == 0  # a repaired job has all its retries again
        assert row.failures >= before.failures or anew
        assert row.losses >= before.losses or (service and row.losses == 1), "forgotten only by what ran for long"
        assert row.failures + row.losses + row.restarts <= before.failures + before.losses + before.restarts + 1
        assert service or not (row.restarts or row.port or row.ready), f"only services have these: {row}"
        assert row.ending == before.ending or before.ending != "cancel", f"a cancellation was taken back: {row}"
        assert before.ending != "stop" or row.ending in ("stop", "cancel"), f"a stop was taken back: {row}"
        if row.attempt == before.attempt and row.state is not before.state:
            steps = {state for origin, state in _NEXT_STATES if origin is before.state}
            # Within one event a failed delay may also be over: two moves, one row.
            steps |= {state for origin, state in _NEXT_STATES if origin in steps and origin is not JobState.RUNNING}
            assert row.state in steps, f"{before} -> {row}"
        flow = self._journal.specs[row.key].flow or DEFAULT_FLOW
        if (
            flow.handler
            and before.state is JobState.WAITING
            and row.state not in (JobState.WAITING, JobState.CANCELLED)
        ):
            self._begun.append(row)
        if row.ready:
            self._ready_once.add(row.key)
        if row.ending == "aside":
            self._stepped_aside.add(row.key)

    def _ended_parent(self, row: JobRow, parents: tuple[str, ...]) -> bool:
        """Whether a job that was added ends at once, as parents in its run have."""
        keys = (f"{row.run_id}/{each}" for each in parents)
        known = [self._journal.jobs[key] for key in keys if key in self._journal.jobs]
        return any(each.state.final for each in known)

    def dispatch(self, command: DispatchJob) -> None:
        """A dispatch; the records of its event are in the journal already."""
        lease, journal = command.lease, self._journal
        row = journal.jobs[lease.job]
        assert lease.epoch > self._highest_epoch, f"epoch used again: {lease}"
        self._highest_epoch = lease.epoch
        assert (row.state, row.attempt, row.epoch) == (JobState.RUNNING, lease.attempt, lease.epoch)
        assert row.worker_id == command.worker_id
        assert _as_submitted(command.spec) == _as_submitted(journal.specs[lease.job])
        self._check_given(command)
        assert not journal.executions[lease.job, lease.attempt].outcome
        if lease.attempt > 1:
            assert journal.executions[lease.job, lease.attempt - 1].outcome, f"two attempts at once: {lease}"
        self._check_parents(command)
        if command.spec.flow is not None and command.spec.flow.approve is not None:
            decisions = [row.decision for row in journal.approvals.values() if row.key == lease.job]
            assert decisions and set(decisions) == {"approved"}, f"{lease} was not approved: {decisions}"
        if lease.attempt > 1:
            row_before = journal.executions[lease.job, lease.attempt - 1]
            policy = command.spec.upkeep.restart if command.spec.kind == "service" else "on-failure"
            ended_well = row_before.outcome == "completed"
            goes_on = policy == "always" or lease.job in self._restarts_asked or lease.job in self._stepped_aside
            assert goes_on or not ended_well, f"{lease} after an end that was to be the last"
        self._check_worker(command)

    def _check_given(self, command: DispatchJob) -> None:
        """It is told of what its parents left, and of nothing else."""
        given = command.spec.flow.given if command.spec.flow else None
        run_id = command.lease.job.partition("/")[0]
        left = {parent: self._journal.outputs.get(f"{run_id}/{parent}") for parent in command.spec.parents}
        expected = {parent: json.loads(body) for parent, body in left.items() if body}
        told = json.loads(given.inputs) if given is not None and given.inputs else {}
        assert told == expected, f"{command.lease} was told {told}"

    def _check_parents(self, command: DispatchJob) -> None:
        """The rule of the job was met, as far as the ends of its parents show."""
        run_id = command.lease.job.partition("/")[0]
        flow = command.spec.flow or DEFAULT_FLOW
        if flow.when.startswith("'n' in parents."):
            assert f"{run_id}/{command.spec.parents[0]}" in self._journal.outputs, f"{command.lease}: {flow.when}"
        options = self._journal.runs[run_id].options
        kept = options.kept if options is not None else {}
        keys = [f"{run_id}/{parent}" for parent in command.spec.parents if parent not in kept]
        states = [self._journal.jobs[key].state for key in keys]
        good = [state is JobState.COMPLETED or key in self._ready_once for key, state in zip(keys, states, strict=True)]
        bad = [state in (JobState.DEAD, JobState.CANCELLED) for state in states]
        ended = [done or state.final for done, state in zip(good, states, strict=True)]
        fine = [done or state is JobState.SKIPPED for done, state in zip(good, states, strict=True)]
        rule = command.spec.flow.trigger if command.spec.flow else "all_success"
        met = {
            "all_success": all(good),
            "all_done": all(ended),
            "always": all(ended),
            "none_failed": all(fine),
            "one_success": any(good) or any(parent in kept for parent in command.spec.parents),
            "one_failed": any(bad),
        }[rule]
        assert met, f"{command.lease} before its parents let it, by {rule}: {states}"

    def _check_end(self, handler: JobRow) -> None:
        """The run of a handler that was just let go has come to its end."""
        kind = (self._journal.specs[handler.key].flow or DEFAULT_FLOW).handler
        for key, row in self._journal.jobs.items():
            other = self._journal.specs[key].flow or DEFAULT_FLOW
            if row.run_id == handler.run_id and (
                not other.handler or (kind, other.handler) == ("finally", "on_failure")
            ):
                assert row.state.final or key in self._ready_once, f"{handler.key} began before the end of {key}"

    def _check_worker(self, command: DispatchJob) -> None:
        worker = self._workers[command.worker_id]
        assert worker.reachable and not worker.draining and not worker.held_until, f"{command.lease} on {worker}"
        assert not worker.cordoned, f"{command.lease} on {worker}"
        assert need_of(command.spec).capabilities <= worker.offer, f"{command.lease} on {worker}"
        if command.spec.kind != "worker":
            assert set(command.spec.requirement) <= worker.offer
        assert self.room_left(command.worker_id, need_of(command.spec)) >= 0, f"{command.lease}: no room there"

    def held(self, worker_id: str) -> list[Need]:
        """What runs there needs."""
        running = self._journal.in_state(JobState.RUNNING)
        return [need_of(self._journal.specs[row.key]) for row in running if row.worker_id == worker_id]

    def room_left(self, worker_id: str, need: Need) -> int:
        """How many more jobs of that need the worker takes; negative when it has too many."""
        worker = self._workers[worker_id]
        held = self.held(worker_id)
        if need.spawn:
            return CHILD_WORKERS - sum(each.spawn for each in held)
        rooms = [worker.slots - sum(not each.spawn for each in held)]
        if need.millicpus and worker.millicpus:
            rooms.append((worker.millicpus - sum(each.millicpus for each in held)) // need.millicpus)
        if need.memory and worker.memory:
            rooms.append((worker.memory - sum(each.memory for each in held)) // need.memory)
        if need.gpus:
            rooms.append((worker.gpus - sum(each.gpus for each in held)) // need.gpus)
        if need.port:
            rooms.append(1 - self._holders(need.port, worker.machine))
        return min(rooms)

    def _holders(self, port: int, machine: str) -> int:
        """How many services with that port run on that machine."""
        count = 0
        for row in self._journal.in_state(JobState.RUNNING):
            known = self._workers.get(row.worker_id)
            name = self._journal.executions[row.key, row.attempt].worker_name
            where = known.machine if known else name.rpartition(":")[0]
            count += where == machine and need_of(self._journal.specs[row.key]).port == port
        return count

    def after(self, dispatched: list[DispatchJob]) -> None:
        """An event has been handled. No job was overtaken by one that ranks behind it; none waits in vain."""
        for row in self._begun:
            self._check_end(row)
        self._begun.clear()
        pending = self._journal.in_state(JobState.PENDING)
        for worker_id, worker in self._workers.items():
            if worker.reachable and not worker.draining and not worker.cordoned and not worker.held_until:
                for row in pending:
                    need = need_of(self._journal.specs[row.key])
                    if need.capabilities <= worker.offer:
                        assert self.room_left(worker_id, need) <= 0, f"{worker_id} has room for {row.key}"
        for command in dispatched:
            taken = need_of(command.spec)._replace(capabilities=self._workers[command.worker_id].offer)
            mine = self._rank(command.lease.job)
            replaced = self._journal.jobs.get(command.spec.upkeep.replaces)
            if replaced is not None and replaced.ending == "aside":
                continue  # it takes the place that was left for it
            for row in pending:
                if need_of(self._journal.specs[row.key]).within(taken):
                    assert mine < self._rank(row.key), f"{command.lease} overtook {row.key}"
        ranks: dict[Need, tuple[int, int]] = {}
        for command in dispatched:
            need, rank = need_of(command.spec), self._rank(command.lease.job)
            assert ranks.get(need, rank) <= rank, f"{command.lease} was dispatched out of turn"
            ranks[need] = rank
        open_executions = sorted(row.key for row in self._journal.executions.values() if not row.outcome)
        running = sorted(row.key for row in self._journal.in_state(JobState.RUNNING))
        assert open_executions == running, "an open execution for each running job, and no other"

    def _rank(self, key: str) -> tuple[int, int]:
        return (-self._journal.specs[key].priority, self._journal.jobs[key].seq)


def _as_submitted(spec: JobSpec) -> JobSpec:
    """A spec without what is told to one attempt, and without texts whose references are replaced for it."""
    flow = spec.flow
    if flow is None:
        return spec
    if flow.templates:
        spec = replace(spec, args=(), env={})
    flow = replace(flow, given=None)
    return replace(spec, flow=None if flow == DEFAULT_FLOW else flow)


class World:
    """A core with its clock and journal. Every event goes through ``do``, which checks everything."""

    def __init__(self, limits: CoreLimits | None = None) -> None:
        self.limits = limits or CoreLimits()
        self.core = SchedulerCore(self.limits)
        self.journal = Journal()
        self.history = History(self.journal, self.limits)
        self.now = Instant(100.0, WALL_START)
        self.alarm: float | None = None
        self.commands: list[Command] = []
        """Of the last event."""
        self._runs = 0
        self._links = 0

    # --- driving ---

    def do(self, event: Event) -> Any:
        """Hand in an event; the answer's value, None when there is none. Raises what the core refuses it with."""
        before = self.core.stats_json()
        try:
            commands = self.core.handle(event, self.now)
        except TitanError:
            self.core.check_invariants()
            assert self.core.stats_json() == before, "refused, and yet something changed"
            raise
        answers = [command.value for command in commands if isinstance(command, Answer)]
        assert len(answers) <= 1
        answer = answers[0] if answers else None
        self.history.event(event, answer, self.now.monotonic)
        self._take(commands)
        return answer

    def _take(self, commands: list[Command]) -> None:
        self.commands = commands
        kinds = [isinstance(command, RECORDS) for command in commands]
        assert kinds == sorted(kinds, reverse=True), "records come before effects"
        updated = [command.row.key for command in commands if isinstance(command, (InsertJob, UpdateJob))]
        assert len(updated) == len(set(updated)), f"one row for each job: {sorted(updated)}"
        for command in commands:
            if isinstance(command, (InsertJob, UpdateJob)):
                parents = command.spec.parents if isinstance(command, InsertJob) else ()
                self.history.row(command.row, self.journal.jobs.get(command.row.key), parents)
            self.journal.apply(command)
            if isinstance(command, SetAlarm):
                self.alarm = command.at
        for dispatch in self.dispatched():
            self.history.dispatch(dispatch)
        self.history.after(self.dispatched())
        changed = [command.run_id for command in commands if isinstance(command, RunChanged)]
        assert len(changed) == len(set(changed))
        assert {key.partition("/")[0] for key in updated} <= set(changed)
        calm = {command.run_id for command in commands if isinstance(command, RunChanged) and not command.settled}
        assert not any(self.core.is_settled(key) for key in updated if key.partition("/")[0] in calm)
        self.core.check_invariants()
        self._check_alarm()

    def _check_alarm(self) -> None:
        for row in self.journal.in_state(JobState.DELAYED):
            assert self.alarm is not None, f"nobody will wake {row.key}"
        for asked in self.journal.approvals.values():
            if asked.expires_at and not asked.decision:
                assert self.alarm is not None, f"nobody will answer for {asked.key}"

    def pass_time(self, seconds: float) -> None:
        """Let time go by, with TimePassed at the moments the core asked for, as the ClockWatcher posts it."""
        end = self.now.monotonic + seconds
        while self.alarm is not None and self.alarm <= end:
            self._advance_to(max(self.alarm, self.now.monotonic))
            self.alarm = None
            self.do(TimePassed())
        self._advance_to(end)

    def _advance_to(self, monotonic: float) -> None:
        passed_ms = round((monotonic - self.now.monotonic) * 1000)
        self.now = Instant(monotonic, self.now.wall + passed_ms)

    def restart(self, wall_jump_ms: int = 0) -> None:
        """The master was killed and is started again: a new core from the journal alone, on a new monotonic clock."""
        self.core = SchedulerCore(self.limits)
        self.now = Instant(7.0, self.now.wall + wall_jump_ms)
        self.alarm = None
        self.history.restarted()
        self.core.restore_cordons(self.journal.cordons.values())
        self.core.restore_schedules(list(self.journal.schedules.values()), self.journal.schedule_seq)
        self.core.restore_events(self.journal.events[-self.limits.events :])
        self._take(self.core.restore(self.journal.saved_runs(), self.journal.sequences(), self.now))

    # --- shorthands ---

    def submit(
        self,
        *jobs: JobSpec,
        parent: str = "",
        key: str = "",
        run_id: str = "",
        replace: bool = False,
        options: RunOptions | None = None,
    ) -> str:
        """The run id of a new run."""
        self._runs += 1
        event = RunSubmitted(run_id or f"run{self._runs}", "test", jobs, key, parent, replace, options)
        answer = self.do(event)
        assert isinstance(answer, Accepted)
        return answer.run_id

    def register(
        self,
        worker_id: str,
        *capabilities: str,
        slots: int = 4,
        boot: str = "boot1",
        holding: tuple[Lease, ...] | None = (),
        classic: bool = False,
        permanent: bool = False,
        port: int = 8080,
        host: str = "10.0.0.1",
        **fields: Any,
    ) -> tuple[Lease, ...]:
        """Register over a new link; the stale leases."""
        self._links += 1
        event = WorkerRegistered(
            worker_id,
            boot,
            self._links,
            host,
            port,
            frozenset(capabilities or ("GENERAL",)),
            slots,
            permanent,
            classic,
            None if classic else holding,
            **fields,
        )
        stale = self.do(event)
        assert isinstance(stale, tuple)
        return stale

    @property
    def link(self) -> int:
        """The link made last."""
        return self._links

    def dispatched(self) -> list[DispatchJob]:
        """By the last event."""
        return [command for command in self.commands if isinstance(command, DispatchJob)]

    def dispatched_ids(self) -> list[str]:
        return [command.spec.id for command in self.dispatched()]

    def ends_asked(self) -> list[EndAttempt]:
        """By the last event."""
        return [command for command in self.commands if isinstance(command, EndAttempt)]

    def lease(self, name: str) -> Lease:
        """The current lease of a running job."""
        key = self.core.find_key(name)
        assert key is not None
        lease = self.core.current_lease(key)
        assert lease is not None, f"{name} is not running"
        return lease

    def worker_of(self, name: str) -> str:
        return self.journal.jobs[self.lease(name).job].worker_id

    def end(
        self,
        name: str,
        outcome: Outcome = "completed",
        exit_code: int | None = None,
        reason: str = "",
        outputs: dict[str, Any] | None = None,
    ) -> bool:
        """Its worker reports the end of a running job; whether that was stale."""
        lease = self.lease(name)
        code = {"completed": 0, "failed": 1}.get(outcome) if exit_code is None else exit_code
        stale = self.do(AttemptEnded(self.worker_of(name), lease, outcome, code, reason, outputs=_encoded(outputs)))
        assert isinstance(stale, bool)
        return stale

    def ready(self, name: str, port: int = 0) -> None:
        """A running service's worker reports that its dependents may start."""
        started = AttemptStarted(self.worker_of(name), self.lease(name), self.now.wall, ready=True, port=port)
        assert self.do(started) is False

    def refuse(self, name: str) -> None:
        self.do(DispatchRefused(self.worker_of(name), self.lease(name), "saturated"))

    def add(self, name: str, *jobs: JobSpec, parent: str = "", key: str = "") -> list[str]:
        """The keys of the jobs added to that run."""
        answer = self.do(AddRequested(name, jobs, key, parent))
        assert isinstance(answer, Accepted)
        return answer.jobs

    def close(self, name: str) -> bool:
        answer = self.do(CloseRequested(name))
        assert isinstance(answer, bool)
        return answer

    def cancel(self, name: str, *, children: bool = False) -> list[str]:
        answer = self.do(CancelRequested(name, children=children))
        assert isinstance(answer, list)
        return answer

    def stop(self, name: str) -> list[str]:
        answer = self.do(StopRequested(name))
        assert isinstance(answer, list)
        return answer

    def decide(self, name: str, approve: bool, comment: str = "", **fields: Any) -> ApprovalRow:
        """Somebody answers what is asked about a job."""
        answer = self.do(DecisionMade(name, approve, fields.pop("by", "me"), comment, **fields))
        assert isinstance(answer, ApprovalRow)
        return answer

    def not_ready(self, name: str, why: str) -> None:
        """A running service's worker says what keeps it from being ready."""
        self.do(AttemptStarted(self.worker_of(name), self.lease(name), self.now.wall, trouble=why))

    def restart_service(self, name: str) -> list[str]:
        self._runs += 1
        answer = self.do(RestartRequested(name, f"run{self._runs}"))
        assert isinstance(answer, list)
        return answer

    def scale(self, name: str, count: int) -> tuple[list[str], list[str]]:
        """The keys started, and those stopped."""
        self._runs += 1
        answer = self.do(ScaleRequested(name, count, f"run{self._runs}"))
        assert isinstance(answer, tuple)
        return answer

    def silence(self, worker_id: str, boot: str = "boot1") -> None:
        self.do(WorkerSilent(worker_id, boot, "no sign of life for 30 s"))

    def drain(self, port: int = 8080) -> str:
        answer = self.do(DrainRequested("10.0.0.1", port))
        assert isinstance(answer, str)
        return answer

    def state(self, name: str) -> str:
        return self.core.job_info(name).state

    def states(self, *names: str) -> list[str]:
        return [self.state(name) for name in names]


def _encoded(outputs: dict[str, Any] | None) -> bytes:
    return b"" if outputs is None else json.dumps(outputs).encode()


def job(job_id: str, *parents: str, **fields: Any) -> JobSpec:
    """A job of that id and parents."""
    return JobSpec(id=job_id, file=fields.pop("file", "script.py"), parents=parents, **fields)


def service(job_id: str, *parents: str, **fields: Any) -> JobSpec:
    return job(job_id, *parents, kind="service", **fields)
