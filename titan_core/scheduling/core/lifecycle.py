"""JobLifecycle: what becomes of jobs, from acceptance to their final state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from titan_core.model.job import Job
from titan_core.model.rows import ApprovalRow
from titan_core.model.run import Run
from titan_core.model.states import Cause, JobState
from titan_core.model.task_execution import TaskExecution
from titan_core.model.worker import Worker
from titan_core.scheduling.core.admission import admit
from titan_core.scheduling.core.approvals import Approvals, gate_of
from titan_core.scheduling.core.changes import Changes
from titan_core.scheduling.core.commands import DispatchJob, EndAttempt
from titan_core.scheduling.core.crash_loops import in_crash_loop, quick_ends
from titan_core.scheduling.core.delay_heap import DelayHeap
from titan_core.scheduling.core.event_log import EventLog
from titan_core.scheduling.core.events import Instant
from titan_core.scheduling.core.handover import Handover
from titan_core.scheduling.core.job_book import JobBook
from titan_core.scheduling.core.limits import CoreLimits
from titan_core.scheduling.core.matcher import Matcher
from titan_core.scheduling.core.output_book import gathered
from titan_core.scheduling.core.repairs import Repairs, repair_of
from titan_core.scheduling.core.triggers import Verdict, instances_of, judge, why_not
from titan_sdk.errors import BadMessage
from titan_sdk.messages import RepairState

CANNOT_BEGIN = 2
"""Exit code of a worker that was started wrongly, and of one that the master refuses."""
SCALER = "@scaler"
"""Stands as the submitting job of a run with which scaling starts workers; no job has such a key."""
_FOLLOWS = {JobState.SKIPPED: Verdict.SKIP, JobState.DEAD: Verdict.DOOM, JobState.CANCELLED: Verdict.DOOM}
"""What the end of a parent passes on to its children, unless their rule says otherwise."""
LOST: Final = "lost"
"""The outcome of an attempt whose worker died; the others are messages.Outcome."""


class AttemptEnd(NamedTuple):
    """How an attempt ended. Times are epoch ms, 0 when the reporter does not know."""

    outcome: str
    reason: str = ""
    exit_code: int | None = None
    started_at: int = 0
    ended_at: int = 0
    log_size: int = 0
    outputs: bytes = b""

    @property
    def why(self) -> str:
        """The reason, or what the outcome and the exit code say."""
        if self.reason:
            return self.reason
        if self.outcome == "failed" and self.exit_code is not None:
            return f"signal {-self.exit_code}" if self.exit_code < 0 else f"exit code {self.exit_code}"
        return self.outcome.replace("_", " ")


class JobLifecycle:
    """Makes every move of every job, with all that follows: places in the queues, children, records, effects."""

    def __init__(
        self,
        book: JobBook,
        matcher: Matcher,
        delays: DelayHeap,
        changes: Changes,
        events: EventLog,
        approvals: Approvals,
        repairs: Repairs,
        limits: CoreLimits,
    ) -> None:
        self._book = book
        self._matcher = matcher
        self._delays = delays
        self._changes = changes
        self._events = events
        self._approvals = approvals
        self._repairs = repairs
        self._limits = limits
        self._handover = Handover(book)
        self.epoch = 0

    # --- the way in ---

    def accept(self, run: Run, now: Instant) -> None:
        """A new run; its jobs are in their initial states."""
        self._book.add(run)
        self._changes.accepted(run)
        self._begin(run.jobs, now)

    def accept_more(self, jobs: Sequence[Job], now: Instant) -> None:
        """Jobs added to a run; they are in their initial states, and their parents may have ended long ago."""
        self._begin(jobs, now)
        for job in jobs:
            if job.blockers:  # the others have their places
                self._place(job, now)

    def _begin(self, jobs: Sequence[Job], now: Instant) -> None:
        free: list[Job] = []
        freed: list[Job] = []
        for job in jobs:
            if job.state is JobState.PENDING:
                self._matcher.enqueue(job)
            elif job.state is JobState.DELAYED:
                self._delay(job, job.spec.delay_ms / 1000, now)
            elif job.state is JobState.HELD:
                self._ask(job, now)
            elif _kept_is_enough(job):
                freed.append(job)
            elif not job.blockers:
                free.append(job)
        for job in (*freed, *free):  # only now, as what becomes of one may move others
            self._place(job, now)

    def _place(self, job: Job, now: Instant) -> None:
        """When a new job waits, those of its parents that were settled before may say at once what becomes of it."""
        if job.state is not JobState.WAITING:
            return
        flow, enough = job.spec.flow, _kept_is_enough(job)
        verdict, how = (Verdict.START if enough or not job.blockers else Verdict.WAIT), ""
        for parent in () if enough else self._book.parents(job):
            if parent.settled:
                verdict = judge(job, parent, self._book.parents)
                how = _how_it_ended(parent) if verdict is _FOLLOWS.get(parent.state) else why_not(job)
                if verdict is not Verdict.WAIT:
                    break
        if verdict is Verdict.START and flow is not None:
            verdict, how = admit(job, self._book)
        if verdict is Verdict.START:
            self._unblock(job, now)
        elif verdict is not Verdict.WAIT:
            self._leave_out(job, verdict, how, now)
            self._settle_children(job, now)

    def begin_handler(self, job: Job, wanted: bool, now: Instant) -> None:
        """The run of a waiting handler has come to its end; ``wanted``: in the way that it is for."""
        verdict, how = admit(job, self._book) if wanted else (Verdict.SKIP, "nothing has failed")
        if verdict is Verdict.START:
            self._unblock(job, now)
        else:
            self._leave_out(job, verdict, how, now)

    def resume(self, job: Job, now: Instant) -> None:
        """A restored job takes its place. A wall clock that was moved meanwhile makes no delay longer than it was."""
        if job.state is JobState.PENDING:
            self._matcher.enqueue(job)
        elif job.state is JobState.DELAYED:
            delay_s = self._pause(job) if job.attempt else job.spec.delay_ms / 1000
            remaining_s = min(max((job.due_at - now.wall) / 1000, 0.0), delay_s)
            self._delays.put(job, now.monotonic + remaining_s)
        elif job.state is JobState.HELD and self._approvals.is_asked(job):
            self._approvals.resume(job, now)

    def delays_over(self, now: Instant) -> None:
        """Queue what is due."""
        for job in self._delays.pop_due(now.monotonic):
            self._due(job)

    def _due(self, job: Job) -> None:
        self._move(job, Cause.DUE)
        job.due_at = 0
        job.ending = ""  # it had stepped aside
        self._matcher.enqueue(job)

    def _pause(self, job: Job) -> float:
        """Seconds between the latest end of the job and its next attempt."""
        if job.ending == "aside":  # what it waits for ends sooner, one way or the other
            return self._limits.rollout_allowed(job.spec.upkeep.start_s)
        if job.is_service:
            return self._limits.restart_backoff(quick_ends(job, self._limits))
        return self._limits.backoff(job.failures)

    # --- attempts ---

    def lease(self, job: Job, worker: Worker, now: Instant) -> None:
        """Begin an attempt of a PENDING job on a worker with room."""
        self.epoch += 1
        job.attempt += 1
        job.epoch = self.epoch
        job.worker_id = worker.worker_id
        job.started_at = now.wall  # until the worker tells the process's own time
        job.exit_code = None
        job.port = 0
        if not (job.is_service and in_crash_loop(job, self._limits)):
            job.reason = ""  # a crash loop stays to be seen until the service is ready
        self._move(job, Cause.DISPATCHED)
        execution = TaskExecution(job.key, job.attempt, job.epoch, worker.worker_id, worker.name, now.wall)
        self._remember(job, execution, now)
        worker.hold(job)
        (self._matcher.ports_changed if job.need.port else self._matcher.load_changed)(worker)
        spec = self._handover.spec(job) if job.spec.parents or job.spec.flow is not None else job.spec
        self._changes.effect(DispatchJob(worker.worker_id, job.lease(), spec))

    def attempt_started(self, job: Job, started_at: int, port: int, trouble: str) -> None:
        """The process of the current attempt runs, since ``started_at``.

        This alone is not recorded: the journal has the time of the dispatch, and gets this one with the attempt's end.
        A port is, for it may have been picked, and ``trouble``, which is shown unless there is something worse to show.
        """
        if started_at:
            job.started_at = job.execution.started_at = started_at
        if job.is_service and port != job.port:
            job.port = port
            self._changes.touch(job)
        starting = job.is_service and not job.ready and not job.ending
        if trouble and trouble != job.reason and starting and not in_crash_loop(job, self._limits):
            job.reason = trouble
            self._changes.touch(job)
        self._changes.show(job)

    def service_ready(self, job: Job, now: Instant) -> None:
        """The service's dependents may start. Once is enough; repeating it does no harm."""
        if job.ready:
            return
        job.ready = True
        if not job.ending:
            job.reason = ""
        self._changes.touch(job)
        self._settle_children(job, now)
        self._book.became_ready(job)

    def attempt_over(self, job: Job, worker: Worker, end: AttemptEnd, now: Instant) -> None:
        """The current attempt has ended and its slot is free; decide what becomes of the job.

        A success counts as one even when the end had been asked for: the work is done, and saying otherwise would have
        it done again. In all other cases a job whose cancellation was requested is CANCELLED, however its attempt
        ended.
        """
        worker.give_up(job, now.monotonic)
        (self._matcher.ports_changed if job.need.port else self._matcher.load_changed)(worker)
        if end.outputs and (why_not_kept := self._book.outputs.why_not(job, end.outputs)):
            end = end._replace(outcome="failed", reason=why_not_kept, outputs=b"")
        self._close(job, job.execution, end, now)
        was_ready, job.ready = job.ready, False
        cause = self._verdict(job, end, now)
        if cause is Cause.EXHAUSTED and job.spec.flow is not None and self._repairs.wanted(job):
            cause = Cause.BROKEN
        self._move(job, cause)
        if cause in (Cause.RESTARTED, Cause.RESTARTED_AT_ONCE):
            looping = in_crash_loop(job, self._limits)
            self._events.note("service-crash-loop" if looping else "service-restarting", job.key, job.reason, now)
        if job.state is JobState.PENDING:
            self._matcher.enqueue(job)
            if cause is Cause.LOST and job.spec.kind == "service":
                self._events.note("service-lost", job.key, f"{job.reason}; it starts again where there is room", now)
        elif job.state is JobState.DELAYED:
            self._delay(job, self._pause(job), now)
        elif job.state is JobState.HELD:
            self._matcher.enqueue(self._repairs.begin(job, self._handover.spec(job), now))
        else:
            job.ended_at = job.execution.ended_at
            if end.outcome == LOST and job.state is JobState.DEAD:
                self._events.note("job-quarantined", job.key, job.reason, now)
        if job.state is JobState.COMPLETED:
            if end.outputs:
                self._book.outputs.keep(job, end.outputs)
                self._changes.outputs(job, end.outputs)
            if not was_ready:
                self._settle_children(job, now)
            job.children = ()
        elif job.state.final:
            self._settle_children(job, now, news=not was_ready)
        elif was_ready:
            self._block_children(job)
        if job.spec.flow is not None and job.state.final:
            self._repair_over(job, end.outputs, now)

    def _repair_over(self, job: Job, outputs: bytes, now: Instant) -> None:
        """A job has ended; when it was to repair another, see what that comes to."""
        target = self._repairs.target_of(job)
        if target is None:
            return
        if job.state is not JobState.COMPLETED:
            why = f"{job.spec.id} ended {job.state.value}" + (f" ({job.reason})" if job.reason else "")
        else:
            why = self._repairs.propose(target, outputs)
        asked = repair_of(target)
        if why:
            self._give_up(target, "failed", why, now)
        elif asked is not None and asked.approve is not None:
            self._repairs.asked(target)
            self._approvals.ask(target, asked.approve, now)
            self._changes.show(target)
        else:
            self._repaired(target, now)

    def _repaired(self, job: Job, now: Instant) -> None:
        self._repairs.apply(job, now)
        self._move(job, Cause.REPAIRED)
        self._matcher.enqueue(job)

    def _give_up(self, job: Job, state: RepairState, why: str, now: Instant) -> None:
        """The job was HELD for a repair, of which nothing came."""
        number = len(self._book.repairs[job.key])
        self._repairs.fail(job, state, why, now)
        self._drop(job, Cause.UNREPAIRED, f"{job.reason}; repair {number}: {why}", now)
        self._settle_children(job, now)

    def worker_job(self, key: str) -> Job | None:
        """The running job of that key if it is a worker; None when there is none."""
        job = self._book.jobs.get(key)
        return job if job is not None and job.spec.kind == "worker" and job.state is JobState.RUNNING else None

    def _verdict(self, job: Job, end: AttemptEnd, now: Instant) -> Cause:
        """What an attempt's end means, and the charge for it."""
        asked, job.ending = job.ending, "" if job.ending == "restart" else job.ending
        goes_on = job.restart == "always" and not asked
        if end.outcome == "completed" and not goes_on and asked not in ("restart", "aside"):
            job.reason = "completed before it could be cancelled" if asked == "cancel" else ""
            return Cause.SUCCEEDED
        if asked == "cancel":
            return Cause.CANCELLED
        if asked == "stop":
            return Cause.STOPPED
        if asked == "aside":
            return Cause.STEPPED_ASIDE
        job.reason = end.why
        if job.run.row.parent == SCALER:  # whether another one is needed is decided anew
            return Cause.CANCELLED if end.outcome in ("handed_back", LOST, "cancelled") else Cause.EXHAUSTED
        if end.outcome == "handed_back":
            return Cause.HANDED_BACK
        if end.outcome == LOST:
            return self._lost(job, end, now)
        if asked == "restart":
            job.restarts += 1
            return Cause.RESTARTED_AT_ONCE
        if end.outcome == "cancelled":
            return Cause.CANCELLED
        return self._ended_by_itself(job, end)

    def _lost(self, job: Job, end: AttemptEnd, now: Instant) -> Cause:
        """The worker died. What it had run for long without harm is not what killed it."""
        if job.is_service and now.wall - job.execution.started_at >= self._limits.service_calm_s * 1000:
            job.losses = 0
        job.losses += 1
        if job.losses < self._limits.losses_to_quarantine:
            return Cause.LOST
        job.reason = f"{job.losses} workers died or lost it while running it; the last: {end.why}"
        return Cause.QUARANTINED

    def _ended_by_itself(self, job: Job, end: AttemptEnd) -> Cause:
        if job.spec.kind == "worker" and end.exit_code == CANNOT_BEGIN:
            return Cause.EXHAUSTED  # its port is taken, say: the same again would end the same way
        if job.restart != "never":
            job.restarts += 1
            why = "it ended" if end.outcome == "completed" else end.why
            job.reason = f"restarting: {why}"
            ends = quick_ends(job, self._limits)
            if ends >= self._limits.crash_loop_after:
                pause_s = self._limits.restart_backoff(ends)
                job.reason = f"crash loop: {why}; ended {ends} times in a row, {pause_s:g} s between tries"
            return Cause.RESTARTED
        if job.is_service:
            return Cause.EXHAUSTED
        job.failures += 1
        if job.failures <= job.spec.retries:
            return Cause.RETRIED
        if job.failures > 1:
            job.reason = f"{end.why}; failed {job.failures} times"
        return Cause.EXHAUSTED

    def _close(self, job: Job, execution: TaskExecution, end: AttemptEnd, now: Instant) -> None:
        execution.outcome = end.outcome
        execution.exit_code = end.exit_code
        execution.reason = end.reason
        execution.started_at = end.started_at or execution.started_at
        # Of what never started, the beginning is by our clock, and so must be the end: a life is measured by one clock.
        execution.ended_at = end.ended_at if end.ended_at and end.started_at else now.wall
        job.started_at = execution.started_at
        job.exit_code = end.exit_code
        job.log_size = end.log_size
        self._changes.touch_execution(execution)

    def _note_move(self, job: Job, execution: TaskExecution, now: Instant) -> None:
        """A service that goes on elsewhere than where it was is news."""
        last = job.execution
        if last.worker_id != execution.worker_id:
            text = f"from {last.worker_name} to {execution.worker_name}: {last.reason or job.reason or last.outcome}"
            self._events.note("service-moved", job.key, text, now)

    def _remember(self, job: Job, execution: TaskExecution, now: Instant) -> None:
        if job.executions is None:
            job.executions = []
        elif job.spec.kind == "service":
            self._note_move(job, execution, now)
        job.executions.append(execution)
        if len(job.executions) > self._limits.executions_per_job:
            del job.executions[0]
        self._changes.touch_execution(execution)

    # --- ends asked for ---

    def cancel(self, jobs: Sequence[Job], reason: str, now: Instant, *, stop: bool = False) -> None:
        """End the jobs that are not final: at once, or when running as soon as their worker says they are gone.

        With ``stop``, a running service is to end COMPLETED. Of jobs that are cancelled together none counts as a child
        of a cancelled parent.
        """
        dropped = []
        for job in jobs:
            if job.state is JobState.RUNNING:
                self._ask_for_end(job, "stop" if stop and job.is_service else "cancel", reason)
            elif stop and job.is_service and job.attempt and job.state in (JobState.DELAYED, JobState.PENDING):
                self._drop(job, Cause.STOPPED, reason, now)  # between two attempts it is as good as running
                self._settle_children(job, now)
            elif not job.state.final:
                self._drop(job, Cause.CANCELLED, reason, now)
                dropped.append(job)
        for job in dropped:
            self._settle_children(job, now)

    def restart(self, job: Job, reason: str, now: Instant) -> bool:
        """Have a new attempt of a service follow the current one at once; False when it is about to end or to begin."""
        if job.state is JobState.RUNNING and job.ending in ("", "restart"):
            self._ask_for_end(job, "restart", reason)
            return True
        if job.state is JobState.DELAYED and job.attempt and not job.ending:
            self._delays.take(job)
            self._due(job)
            return True
        return False

    def step_aside(self, job: Job, reason: str) -> None:
        """End the attempt of a running service for the time of a rollout: until ``come_back``, or it is stopped."""
        self._ask_for_end(job, "aside", reason)

    def come_back(self, job: Job, reason: str) -> None:
        """A service that was asked to step aside is wanted again."""
        if job.state is JobState.DELAYED:
            self._delays.take(job)
            self._due(job)
            job.reason = reason
        else:
            self._ask_for_end(job, "restart", reason)  # it is on its way out already

    def lease_at_once(self, job: Job, worker: Worker, now: Instant) -> None:
        """Begin an attempt of a PENDING job before others have their turn, on a worker with room."""
        self._matcher.take(job)
        self.lease(job, worker, now)

    def ask_for_end_again(self, job: Job) -> None:
        """The worker of a job whose end was asked for may not have heard it.

        A job that is a worker is ended by its host with time to drain: the host sends its SIGTERM to it alone.
        """
        self._changes.effect(EndAttempt(job.worker_id, job.lease(), job.reason))

    def _ask_for_end(self, job: Job, ending: str, reason: str) -> None:
        if job.ending not in ("cancel", ending):  # a cancellation is not taken back by a stop
            job.ending = ending
            job.reason = reason
            self._changes.touch(job)
        self.ask_for_end_again(job)

    def _drop(self, job: Job, cause: Cause, reason: str, now: Instant) -> None:
        """A job ends that is not running."""
        origin = job.state
        job.reason = reason
        job.ending = ""
        job.due_at = 0
        job.ended_at = now.wall
        self._move(job, cause)
        if origin is JobState.PENDING:
            self._matcher.withdraw(job)
        elif origin is JobState.DELAYED:
            self._delays.withdraw()
        elif origin is JobState.HELD and cause is Cause.CANCELLED:
            if self._approvals.is_asked(job):
                self._approvals.decide(job, "withdrawn", "", reason, now)
            row = self._repairs.open_of(job)
            if row is not None:
                self._repairs.fail(job, "withdrawn", reason, now)
                self.cancel([self._book.jobs[row.job]], f"{job.spec.id} needs no repair: {reason}", now)
        if job.spec.flow is not None:
            self._repair_over(job, b"", now)

    # --- children ---

    def _settle_children(self, job: Job, now: Instant, *, news: bool = True) -> None:
        """The job is settled: it satisfies its dependents from now on, or ended otherwise, and so do others with it.

        ``news`` is False for a service that had been ready: those that wait have counted it as settled then.
        """
        if not job.children:
            job.children = ()
            return
        settled = [(job, news, _how_it_ended(job))]
        while settled:
            parent, news, how = settled.pop()
            for child in parent.children:
                if child.state is not JobState.WAITING:
                    continue  # it was released when this service was ready for the first time, or by another parent
                child.blockers -= news
                verdict, why = judge(child, parent, self._book.parents), ""
                if verdict is Verdict.START and child.spec.flow is not None:
                    verdict, why = admit(child, self._book)
                if verdict is Verdict.START:
                    self._unblock(child, now)
                elif verdict is Verdict.GATHER:
                    self._gather(child, now)
                    settled.append((child, True, _how_it_ended(child)))
                elif verdict is not Verdict.WAIT:
                    follows = not why and verdict is _FOLLOWS.get(parent.state)
                    self._leave_out(child, verdict, how if follows else why or why_not(child), now)
                    # Whatever only follows from one end is told of that end, however far up it was.
                    settled.append((child, True, how if follows else _how_it_ended(child)))
            if parent.state.final:
                parent.children = ()

    def _unblock(self, job: Job, now: Instant) -> None:
        """Its parents let a WAITING job run."""
        job.blockers = 0
        if job.spec.flow is not None and job.spec.flow.each:
            self._book.unfolding.append(job)
        elif gate_of(job) is not None:
            self._move(job, Cause.ASKED)
            self._ask(job, now)
        elif job.spec.delay_ms:
            self._move(job, Cause.UNBLOCKED_LATER)
            self._delay(job, job.spec.delay_ms / 1000, now)
        else:
            self._move(job, Cause.UNBLOCKED)
            self._matcher.enqueue(job)

    def _ask(self, job: Job, now: Instant) -> None:
        gate = gate_of(job)
        assert gate is not None, job.story()
        self._approvals.ask(job, gate, now)

    def decided(self, job: Job, row: ApprovalRow, now: Instant) -> None:
        """A HELD job was approved, or rejected: then it is dead, and no retry is of any use."""
        if self._repairs.open_of(job) is not None:
            if row.decision == "approved":
                self._repaired(job, now)
            else:
                self._give_up(job, "rejected", _rejected(row), now)
            return
        if row.decision != "approved":
            self._drop(job, Cause.REJECTED, _rejected(row), now)
            self._settle_children(job, now)
        elif job.spec.delay_ms:
            self._move(job, Cause.APPROVED_LATER)
            self._delay(job, job.spec.delay_ms / 1000, now)
        else:
            self._move(job, Cause.APPROVED)
            self._matcher.enqueue(job)

    def _leave_out(self, job: Job, verdict: Verdict, reason: str, now: Instant) -> None:
        """Its parents do not let a WAITING job run, because of ``reason``."""
        if verdict is Verdict.SKIP:
            self._drop(job, Cause.SKIPPED, reason, now)
        else:
            cause = Cause.UNDECIDED if verdict is Verdict.BREAK else Cause.PARENT_ENDED
            self._drop(job, cause, f"not started: {reason}", now)

    def leave_out(self, job: Job, verdict: Verdict, reason: str, now: Instant) -> None:
        """A WAITING job does not run after all."""
        self._leave_out(job, verdict, reason, now)
        self._settle_children(job, now)

    def _gather(self, job: Job, now: Instant) -> None:
        """All instances of an ``each`` job have ended: it ends as they did, with their outputs as lists."""
        instances = instances_of(job)
        failed = [each for each in instances if each.state is not JobState.COMPLETED]
        if failed:
            first = failed[0]
            why = f"{len(failed)} of {len(instances)} instances did not complete; {_how_it_ended(first)}"
            self._drop(job, Cause.INSTANCE_ENDED, why, now)
            return
        try:
            outputs = gathered([self._book.outputs.of(each) for each in instances])
            why = self._book.outputs.why_not(job, outputs) if outputs else ""
        except BadMessage as error:
            why = str(error)
        if why:
            self._drop(job, Cause.INSTANCE_ENDED, why, now)
            return
        self._drop(job, Cause.GATHERED, "", now)
        if outputs:
            self._book.outputs.keep(job, outputs)
            self._changes.outputs(job, outputs)

    def _block_children(self, job: Job) -> None:
        """A service that was ready no longer is: what still waits for others waits for it again."""
        for child in job.children:
            if child.state is JobState.WAITING:
                child.blockers += 1

    # --- moves ---

    def _move(self, job: Job, cause: Cause) -> None:
        origin = job.state
        job.move(cause)
        self._book.moved(job, origin)
        self._changes.touch(job)

    def _delay(self, job: Job, delay_s: float, now: Instant) -> None:
        job.due_at = now.wall + round(delay_s * 1000)
        self._delays.put(job, now.monotonic + delay_s)


def _rejected(row: ApprovalRow) -> str:
    by = f" by {row.by}" if row.by else ""
    return f"rejected{by}" + (f": {row.comment}" if row.comment else "")


def _how_it_ended(job: Job) -> str:
    return f"{job.spec.id} ended {job.state.value}" + (f" ({job.reason})" if job.reason else "")


def _kept_is_enough(job: Job) -> bool:
    """Whether a parent that an earlier run has completed lets the job run, whatever becomes of the others."""
    kept, flow = job.run.kept_jobs, job.spec.flow
    return (
        bool(kept)
        and flow is not None
        and flow.trigger == "one_success"
        and not kept.keys().isdisjoint(job.spec.parents)
    )
