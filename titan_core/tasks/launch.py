"""What the launcher is asked for, and what it tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from titan_sdk.messages import Lease

DEFAULT_GRACE_S: Final = 5.0
"""Between the request to end (SIGTERM) and the end (SIGKILL)."""
DEFAULT_LOG_BYTES: Final = 2 << 30
TAIL_BYTES: Final = 32 * 1024
"""At most this much of the end of a log comes with Exited: the whole log of most jobs, and little beside a frame."""

EndCause = Literal["exit", "ended", "timeout", "launch_error", "supervisor_lost"]
"""Why an attempt is over: it ended by itself, was asked to, ran too long, never ran, or lost its supervisor."""


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """One attempt, ready to run. script_executor_handler.launch_request makes it from a job.

    Attributes:
        argv: what is exec'd; the first item is an absolute path.
        warm: ``argv`` is the worker's own interpreter with ``-u`` and a script: a warm interpreter may run it instead.
        cwd: absolute. env: the whole environment, nothing is added but the launcher's mark.
        log_path: receives stdout and stderr, in the order they were written, byte for byte. log_bytes: of more than
            this, the first and the last part. log_files: if not 0, that many files of ``log_bytes`` each, the latest
            of an output without end.
        timeout_s: ends an attempt that runs longer. grace_s: from SIGTERM to SIGKILL, whenever the launcher ends it.
        memory: bytes that each of its processes may use, and all together where there are groups; 0: no limit.
        millicpus: thousandths of a core that all may use, where there are groups; 0: no limit.
        leads: the main process ends all others itself when it is asked to end: SIGTERM goes to it alone.
    """

    lease: Lease
    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]
    log_path: str
    warm: bool = False
    log_bytes: int = DEFAULT_LOG_BYTES
    log_files: int = 0
    timeout_s: float | None = None
    grace_s: float = DEFAULT_GRACE_S
    leads: bool = False
    memory: int = 0
    millicpus: int = 0


@dataclass(frozen=True, slots=True)
class Started:
    """The attempt's main process runs. Comes a moment late, and not at all for a job that has Exited by then."""

    slot: int
    lease: Lease
    pid: int
    started_at: int


@dataclass(frozen=True, slots=True)
class Output:
    """The log has grown to ``size`` bytes. Said at the first output, later not for every piece."""

    slot: int
    lease: Lease
    size: int


@dataclass(frozen=True, slots=True)
class Exited:
    """The attempt is over: its main process and every descendant are gone, the log is complete, the slot is free.

    Attributes:
        exit_code: of the main process, minus the signal number when a signal ended it; None when there is none
            (it never started, or nobody was left to see it).
        reason: why, for people; empty when the exit code says it all.
        log_tail: the last bytes of the log, from ``log_tail_offset`` to ``log_size``.
        started_at, ended_at: epoch ms; ``started_at`` 0 when it never started.
    """

    slot: int
    lease: Lease
    exit_code: int | None
    cause: EndCause
    reason: str
    log_size: int
    log_tail: bytes
    log_tail_offset: int
    started_at: int
    ended_at: int


LaunchEvent = Started | Output | Exited
