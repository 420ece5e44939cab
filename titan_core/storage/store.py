"""The Store interface: what the engine needs of a durable home for its records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from titan_core.model.rows import ApprovalRow, CordonRow, EventRow, ExecutionRow, JobRow, RunRow
from titan_core.model.schedule import ScheduleRow
from titan_core.scheduling.core.commands import Record
from titan_core.storage.history import OldRun
from titan_sdk.errors import TitanError
from titan_sdk.messages import AgentRun, FiringInfo, JobSpec, KvEntry, KvMemberPage, KvPart, RepairInfo, RunSummary

WAY_OUT: Final = "What to do is in docs/operations.md."
"""At the end of what people are told of a database that cannot be used."""


class StoreError(TitanError):
    """The store cannot be opened or used; the text says why and what can be done."""


class StoreDamaged(StoreError):
    """The database is truncated, damaged, or not Titan's. It is left untouched."""


class StoreFull(StoreError):
    """The disk took no more; nothing of the transaction was kept, and the store is still usable."""


@dataclass(frozen=True)
class StoredRun:
    """An unfinished run (or a recent finished one) as it was last made durable."""

    run: RunRow
    jobs: list[tuple[JobSpec, JobRow]]
    executions: list[ExecutionRow]
    additions: dict[str, str] = field(default_factory=dict)
    """Digests of what was added to it, by idempotency key."""
    outputs: list[tuple[str, bytes]] = field(default_factory=list)
    """By job key, of the jobs that left any."""
    approvals: list[ApprovalRow] = field(default_factory=list)
    repairs: list[RepairInfo] = field(default_factory=list)


class Store(Protocol):
    """Durable records. ``apply`` is called by one thread only; the readers may be called by any.

    A constructor opens nothing; ``open`` does, and raises StoreError.
    """

    def open(self) -> None: ...

    def close(self) -> None: ...

    @property
    def master_id(self) -> str:
        """Made anew with each database."""
        ...

    @property
    def term(self) -> int:
        """How often this database has been opened by a master; grows at each ``open``."""
        ...

    def apply(self, records: Sequence[Record]) -> list[Any]:
        """Write all records in one transaction; return when they are on the disk (fsync).

        Of the attempts of one job the store need not keep all: it keeps the latest 100 at least.

        Returns:
            One result for each record: None, or what the record's docstring says.

        Raises:
            StoreFull: nothing of it was written.
            StoreError: it is not known what was written; the caller must end the process.
        """
        ...

    def maintain(self) -> None:
        """Housekeeping that must not run beside ``apply``: its thread calls this after each, when nobody waits for it.

        Raises:
            StoreError: as ``apply`` does.
        """
        ...

    def free_bytes(self) -> int:
        """Bytes that the place where the store lies still takes. Any thread. Raises StoreError."""
        ...

    def load(self, finished: int) -> Iterator[StoredRun]:
        """Every unfinished run with those it was submitted from, and of the finished ones the latest accepted, about
        ``finished`` jobs of them.

        In order of acceptance. Raises StoreDamaged.
        """
        ...

    def last_sequence(self) -> tuple[int, int, int]:
        """The highest run seq, job seq and lease epoch ever written; 0 when none."""
        ...

    def find_submission(self, idempotency_key: str) -> RunRow | None:
        """The run that was accepted with that key; None when there is none, or it is kept no longer."""
        ...

    def find_addition(self, run_id: str, idempotency_key: str) -> str | None:
        """The digest of what was added to that run with that key; None when nothing was."""
        ...

    def find_run(self, name: str) -> StoredRun | None:
        """The run with that run id, or the latest one with a job of that key or bare id; None when there is none."""
        ...

    def run_tree(self, run_id: str, depth: int, limit: int) -> tuple[list[RunSummary], int]:
        """The run and those submitted from inside it, ``depth`` generations down (-1: all), each behind its parent.

        No more than ``limit`` of them, and how many there are; none when there is no such run.
        """
        ...

    def runs_of_agent(self, agent_run_id: str, limit: int) -> list[RunSummary]:
        """The newest runs of that agent run."""
        ...

    def agent_runs(self, limit: int) -> list[AgentRun]:
        """The agent runs that were begun last."""
        ...

    def count_jobs(self) -> int:
        """Jobs in the journal. Raises StoreError."""
        ...

    def oldest_runs(self, after: int, limit: int) -> list[OldRun]:
        """Up to ``limit`` runs, those that were accepted first after the one of that seq, in order. Raises
        StoreError."""
        ...

    def rerun_sources(self, pause: Callable[[], bool]) -> set[str]:
        """Ids of the runs that others repeat, or whose completed jobs count as jobs of others. Takes long, and calls
        ``pause`` now and then. Raises StoreError."""
        ...

    def publishing_since(self) -> int | None:
        """When (epoch ms) the oldest job was submitted that is running and may leave artifacts. Raises StoreError."""
        ...

    def unmentioned_contents(self, digests: set[str], pause: Callable[[], bool]) -> set[str]:
        """Those of these contents that nothing in the journal refers to; none when ``pause``, which is called now and
        then and may wait a moment, says to stop. Takes long. Raises StoreError."""
        ...

    def load_events(self, newest: int) -> list[EventRow]:
        """The newest events, in order. Raises StoreError."""
        ...

    def load_schedules(self) -> tuple[list[ScheduleRow], int]:
        """Every schedule, with its spec, and the highest seq ever used. Raises StoreError."""
        ...

    def load_firings(self, seq: int, newest: int, before: int = 0) -> list[FiringInfo]:
        """Firings of a schedule, the newest first; with ``before`` those of lower numbers. The latest 1000 are kept."""
        ...

    def decided_approvals(self, prefix: str, limit: int) -> list[ApprovalRow]:
        """The latest that are decided, of the jobs whose key begins so. Raises StoreError."""
        ...

    def load_cordons(self) -> list[CordonRow]:
        """The workers that get nothing, in order. Raises StoreError."""
        ...

    # The key-value store as it is at ``now``, epoch ms: what has expired by then is not shown. All raise StoreError.

    def kv_get(self, key: str, now: int = 0) -> bytes | None: ...

    def kv_members(self, key: str, now: int = 0, after: int = 0, limit: int = -1) -> KvMemberPage:
        """Members of a set in order of addition, from where an earlier page said; ``limit`` -1: all of them."""
        ...

    def kv_items(self, key: str, now: int, start: int, count: int) -> KvPart: ...

    def kv_keys(self, prefix: str, after: str, limit: int, now: int) -> list[KvEntry]:
        """What the keys with the prefix beyond ``after`` hold, in order, ``limit`` entries at most."""
        ...

    def kv_next_end(self) -> int | None:
        """When (epoch ms) a KvSweep will have something to do; None: never, as it is now."""
        ...
