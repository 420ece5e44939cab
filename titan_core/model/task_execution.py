"""TaskExecution: one attempt at a job, on one worker, under one lease."""

from __future__ import annotations

from titan_core.model.rows import ExecutionRow


class TaskExecution:
    """Mutable state of an attempt; see ExecutionRow for the fields. Times are epoch ms."""

    __slots__ = (
        "attempt",
        "ended_at",
        "epoch",
        "exit_code",
        "key",
        "outcome",
        "reason",
        "started_at",
        "worker_id",
        "worker_name",
    )

    def __init__(self, key: str, attempt: int, epoch: int, worker_id: str, worker_name: str, started_at: int) -> None:
        self.key = key
        self.attempt = attempt
        self.epoch = epoch
        self.worker_id = worker_id
        self.worker_name = worker_name
        self.started_at = started_at
        self.ended_at = 0
        self.outcome = ""
        self.exit_code: int | None = None
        self.reason = ""

    @classmethod
    def from_row(cls, row: ExecutionRow) -> TaskExecution:
        execution = cls(row.key, row.attempt, row.epoch, row.worker_id, row.worker_name, row.started_at)
        execution.ended_at = row.ended_at
        execution.outcome = row.outcome
        execution.exit_code = row.exit_code
        execution.reason = row.reason
        return execution

    def row(self) -> ExecutionRow:
        """As it is now, for the journal."""
        return ExecutionRow(
            self.key,
            self.attempt,
            self.epoch,
            self.worker_id,
            self.worker_name,
            self.started_at,
            self.ended_at,
            self.outcome,
            self.exit_code,
            self.reason,
        )

    def __str__(self) -> str:
        end = f"{self.outcome} {self.reason}".strip() if self.outcome else "running"
        return f"attempt {self.attempt} (epoch {self.epoch}) on {self.worker_name}: {end}"
