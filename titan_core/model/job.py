"""Job: one unit of work, from acceptance to its final state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from titan_core.model.requirement import need_of
from titan_core.model.rows import ExecutionRow, JobRow, RunRow
from titan_core.model.states import TRANSITIONS, Cause, IllegalMove, JobState
from titan_core.model.task_execution import TaskExecution
from titan_sdk.messages import JobSpec, Lease

if TYPE_CHECKING:
    from titan_core.model.run import Run

__all__ = ["ExecutionRow", "Job", "JobRow", "RunRow"]


class Job:
    """Mutable state of a job. The fields of JobRow mean what they mean there; beyond them:

    Attributes:
        spec: what was asked for. run: the submission it belongs to. need: what a worker must offer to run it.
        blockers: parents that are not satisfied yet, while WAITING.
        children: jobs of the run that name it as a parent. A tuple until the first is added, as most have none;
            empty again when the job is final.
        executions: the latest attempts, oldest first; None before the first. The last one is current while RUNNING.
    """

    __slots__ = (
        "attempt",
        "blockers",
        "children",
        "due_at",
        "ended_at",
        "ending",
        "epoch",
        "executions",
        "exit_code",
        "failures",
        "key",
        "log_size",
        "losses",
        "need",
        "port",
        "ready",
        "reason",
        "restarts",
        "run",
        "seq",
        "spec",
        "started_at",
        "state",
        "worker_id",
    )

    def __init__(self, spec: JobSpec, run: Run, seq: int, state: JobState) -> None:
        self.spec = spec
        self.run = run
        self.key = f"{run.row.run_id}/{spec.id}"
        self.seq = seq
        self.state = state
        self.need = need_of(spec)
        self.blockers = 0
        self.children: list[Job] | tuple[()] = ()
        self.attempt = 0
        self.epoch = 0
        self.failures = 0
        self.losses = 0
        self.worker_id = ""
        self.ready = False
        self.ending = ""
        self.reason = ""
        self.exit_code: int | None = None
        self.due_at = 0
        self.started_at = 0
        self.ended_at = 0
        self.log_size = 0
        self.restarts = 0
        self.port = 0
        self.executions: list[TaskExecution] | None = None

    @classmethod
    def from_row(cls, spec: JobSpec, run: Run, row: JobRow) -> Job:
        """The job as it was last made durable, without its links to other jobs and its executions."""
        job = cls(spec, run, row.seq, row.state)
        job.attempt = row.attempt
        job.epoch = row.epoch
        job.failures = row.failures
        job.losses = row.losses
        job.worker_id = row.worker_id
        job.ready = row.ready
        job.ending = row.ending
        job.reason = row.reason
        job.exit_code = row.exit_code
        job.due_at = row.due_at
        job.started_at = row.started_at
        job.ended_at = row.ended_at
        job.log_size = row.log_size
        job.restarts = row.restarts
        job.port = row.port
        return job

    def row(self) -> JobRow:
        """As it is now, for the journal."""
        return JobRow(
            self.key,
            self.run.row.run_id,
            self.spec.id,
            self.seq,
            self.state,
            self.attempt,
            self.epoch,
            self.failures,
            self.losses,
            self.worker_id,
            self.ready,
            self.ending,
            self.reason,
            self.exit_code,
            self.run.row.submitted_at,
            self.due_at,
            self.started_at,
            self.ended_at,
            self.log_size,
            self.restarts,
            self.port,
        )

    @property
    def is_service(self) -> bool:
        """It stays up until stopped, and satisfies its dependents once it is ready."""
        return self.spec.kind != "run"

    @property
    def restart(self) -> str:
        """After which ends it is started again: messages.RestartPolicy; ``never`` for what is no service.

        A worker that ends in order was told to.
        """
        if self.spec.kind == "service":
            return self.spec.upkeep.restart
        return "on-failure" if self.spec.kind == "worker" else "never"

    @property
    def satisfies_dependents(self) -> bool:
        return self.ready or self.state is JobState.COMPLETED

    @property
    def settled(self) -> bool:
        """Whether there is nothing to wait for: it is final, or a service that is ready."""
        return self.ready or self.state.final

    @property
    def execution(self) -> TaskExecution:
        """The current attempt, or the last one. Only for jobs that have been dispatched."""
        assert self.executions, self.story()
        return self.executions[-1]

    def lease(self) -> Lease:
        """The current lease while RUNNING."""
        return Lease(job=self.key, attempt=self.attempt, epoch=self.epoch)

    def holds(self, lease: Lease) -> bool:
        """Whether this lease is the job's current one."""
        return self.state is JobState.RUNNING and self.epoch == lease.epoch and self.attempt == lease.attempt

    def move(self, cause: Cause) -> None:
        """Go where the table says.

        Raises:
            IllegalMove: the table does not say.
        """
        state = TRANSITIONS.get((self.state, cause))
        if state is None:
            raise IllegalMove(f"{cause.value!r} does not move a job that is {self.state.value}. {self.story()}")
        self.state = state

    def story(self) -> str:
        """All that is known of the job's past, for whoever looks into a fault."""
        text = (
            f"{self.key} (seq {self.seq}) is {self.state.value} after {self.attempt} attempts, {self.failures} "
            f"failures, {self.losses} losses; blockers {self.blockers}, ending {self.ending!r}, reason {self.reason!r}"
        )
        return "; ".join([text, *map(str, self.executions or ())])
