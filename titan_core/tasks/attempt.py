"""One attempt of a job on this worker, and who hears of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from titan_core.filesys.workspace_manager import Sandbox
from titan_sdk.messages import JobReport, JobSpec, Lease, Outcome


class Phase(Enum):
    """How far an attempt has come. It holds its slot until it is OVER."""

    PREPARING = "its content is fetched, its sandbox made"
    HANDED_OVER = "it is being given to the launcher"
    RUNNING = "the launcher has it"
    OVER = "it has ended"


@dataclass(frozen=True, slots=True)
class EndRequest:
    """Somebody wants the attempt ended. ``outcome`` is what its report shall say then."""

    outcome: Outcome
    reason: str
    grace_s: float


@dataclass(slots=True, eq=False)
class Attempt:
    """What the worker knows of an attempt. Changed by JobRunner alone, under its lock."""

    lease: Lease
    spec: JobSpec
    slot: int
    owner: AttemptOwner
    phase: Phase = Phase.PREPARING
    sandbox: Sandbox | None = None
    log_segment: int = 0
    """Bytes of each file that its log consists of; 0: it is one file."""
    end_request: EndRequest | None = None
    devices: tuple[str, ...] = ()
    """GPUs that are its own while it runs."""


class AttemptOwner(Protocol):
    """Whoever asked for an attempt. Called from the threads of the runner and the launcher; must not block.

    Calls for one attempt come in order: ``started``, ``not_ready``, ``ready`` and ``grew`` perhaps, ``ended`` at last
    and once.
    """

    def started(self, attempt: Attempt, pid: int, started_at: int) -> None:
        """Its process runs. Not called for one that ended before it could be said."""

    def ready(self, attempt: Attempt) -> None:
        """It is a service, and its dependents may start."""

    def not_ready(self, attempt: Attempt, why: str) -> None:
        """It is a service, and ``why`` it is not ready after a moment; said again when the reason is another one."""

    def grew(self, attempt: Attempt, size: int) -> None:
        """Its log has ``size`` bytes now."""

    def ended(self, attempt: Attempt, report: JobReport) -> None:
        """It is over, its processes are gone and its slot is free.

        ``report`` carries the last piece of its log. The owner calls ``JobRunner.release`` when it needs the attempt's
        folder no more.
        """
