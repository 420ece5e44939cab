"""Every exception Titan raises, on one page.

    TitanError
    ├── ProtocolError             a peer broke the frame format or a message's shape
    │   ├── BadVersion            the first header byte is not 1
    │   ├── UnknownFlags          a flag bit that nobody defined
    │   ├── FrameTooLarge         a length above MAX_PAYLOAD was announced
    │   └── BadMessage            a payload that is not the message its opcode promises
    ├── ConfigError               a setting that cannot be used; the text names it and where it was given
    ├── InvalidName               a job id, file name, capability or port outside its rules
    │   └── ExpressionError       a condition or reference that says nothing, or leads to nothing
    ├── PipelineError             a pipeline file with problems, all of them listed
    ├── LaunchFailed              a job's file cannot be run on this worker
    ├── TransportError            the bytes did not get through
    │   ├── ConnectFailed         nobody answered at that address
    │   ├── ConnectionLost        the connection broke while something was in flight
    │   └── DeadlineExceeded      no answer in time
    ├── RemoteError               the peer understood, and said no
    │   ├── BadRequest            the request makes no sense to it
    │   ├── Unauthorized          token missing or wrong
    │   ├── NotFound              no such job, run, file or worker
    │   ├── Conflict              the id is still active, or the key was used for something else
    │   ├── SubmissionRefused     a run was refused whole; ``problems`` says why, job by job
    │   │   └── BudgetExceeded    it was refused because of what a run that it belongs to may use
    │   ├── Saturated             every slot is busy
    │   └── Unavailable           draining, shutting down, or the disk does not take more
    ├── JobFailed                 a job waited for ended DEAD or CANCELLED
    └── WaitTimeout               a job waited for is not finished yet

Handlers tell errors apart by type and fields, never by their text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with what was handed in.

    Attributes:
        where: the job id, key, or file the problem is about; empty when it is the whole.
        text: what is wrong and, where we can tell, what would be right.
        line: 1-based line in the file it was read from, or 0 when there is no file.
    """

    where: str
    text: str
    line: int = 0

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line else ""
        name = f"{self.where}: " if self.where else ""
        return f"{place}{name}{self.text}"


class TitanError(Exception):
    """The root of everything Titan raises on purpose."""


class ProtocolError(TitanError):
    """A peer broke the frame format or a message's shape."""


class BadVersion(ProtocolError):
    """The version byte is not 1."""

    def __init__(self, version: int) -> None:
        super().__init__(f"protocol version {version} is not spoken here; this is version 1")
        self.version = version


class UnknownFlags(ProtocolError):
    """A frame carries a flag bit that nobody defined."""

    def __init__(self, flags: int) -> None:
        super().__init__(f"unknown flag bits 0x{flags:02x}")
        self.flags = flags


class FrameTooLarge(ProtocolError):
    """A frame announces, or would need, more than MAX_PAYLOAD bytes."""

    def __init__(self, length: int, limit: int) -> None:
        super().__init__(f"a payload of {length} bytes is over the limit of {limit}")
        self.length = length
        self.limit = limit


class BadMessage(ProtocolError):
    """A payload is not the message its opcode promises."""


class ConfigError(TitanError):
    """A setting that cannot be used. The text is one line: where it was given, its name, what is wrong."""


class InvalidName(TitanError):
    """A name or number from outside breaks its rule."""


class ExpressionError(InvalidName):
    """A condition or a reference of a job that cannot be read, or whose value cannot be told."""


class PipelineError(TitanError):
    """A pipeline or DAG definition with problems, all of them listed."""

    def __init__(self, problems: Sequence[Problem], source: str = "") -> None:
        self.problems = tuple(problems)
        self.source = source
        head = f"{source}: " if source and any(each.where != source for each in self.problems) else ""
        super().__init__(head + "; ".join(str(p) for p in self.problems))


class LaunchFailed(TitanError):
    """A job's file cannot be run on this worker; the text says why, for whoever submitted it."""


class TransportError(TitanError):
    """The bytes did not get through."""


class ConnectFailed(TransportError):
    """Nobody answered at that address."""


class ConnectionLost(TransportError):
    """The connection broke while something was in flight."""


class DeadlineExceeded(TransportError):
    """No answer in time."""


class RemoteError(TitanError):
    """The peer understood, and said no. ``code`` travels on the wire."""

    code = "error"

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.problems = tuple(problems)


class BadRequest(RemoteError):
    """The request makes no sense to the peer."""

    code = "bad_request"


class Unauthorized(RemoteError):
    """Token missing or wrong."""

    code = "unauthorized"


class NotFound(RemoteError):
    """No such job, run, file or worker."""

    code = "not_found"


class Conflict(RemoteError):
    """The id is still active, or the key was used for something else."""

    code = "conflict"


class SubmissionRefused(RemoteError):
    """A run was refused whole; ``problems`` says why, job by job."""

    code = "refused"


class BudgetExceeded(SubmissionRefused):
    """Jobs were refused because of a budget; the text names it, and how much of it is used."""

    code = "budget_exceeded"


class Saturated(RemoteError):
    """Every slot is busy; the job goes back to the queue without a charge."""

    code = "saturated"


class Unavailable(RemoteError):
    """Draining, shutting down, or the disk does not take more."""

    code = "unavailable"


class JobFailed(TitanError):
    """A job waited for ended DEAD or CANCELLED."""

    def __init__(self, job_id: str, state: str, reason: str, exit_code: int | None = None) -> None:
        super().__init__(f"{job_id} ended {state}: {reason}")
        self.job_id = job_id
        self.state = state
        self.reason = reason
        self.exit_code = exit_code


class WaitTimeout(TitanError):
    """A job waited for is not finished yet."""


_BY_CODE: dict[str, type[RemoteError]] = {
    cls.code: cls
    for cls in (
        RemoteError,
        BadRequest,
        Unauthorized,
        NotFound,
        Conflict,
        SubmissionRefused,
        BudgetExceeded,
        Saturated,
        Unavailable,
    )
}


def remote_error(code: str, message: str, problems: Sequence[Problem] = ()) -> RemoteError:
    """The exception for an error code read from the wire; an unknown code gives RemoteError."""
    return _BY_CODE.get(code, RemoteError)(message, problems)
