"""Messages that start work, and that end it."""

from __future__ import annotations

from msgspec import field

from titan_sdk.messages.base import Message, Ok, Request
from titan_sdk.messages.job_spec import DEFAULT_PRIORITY, GENERAL, JobSpec, ServiceSpec
from titan_sdk.messages.run_options import RunOptions
from titan_sdk.protocol import Opcode


class Accepted(Message):
    """A run was accepted, durably. ``repeated``: the idempotency key was known and this is the run made then.

    ``notes``: what whoever submits should know, for people.
    """

    run_id: str
    jobs: list[str]
    repeated: bool = False
    notes: list[str] = field(default_factory=list)


class SubmitRun(Request[Accepted]):
    """A run: one job or a DAG, accepted whole or refused whole.

    ``parent`` is the key of the job that submits from inside; its worker is preferred. Content of every ``sha256`` must
    have been uploaded before (MissingContent, UploadChunk).
    """

    OPCODE = Opcode.SUBMIT_DAG
    ANSWER = Accepted
    name: str
    jobs: list[JobSpec]
    idempotency_key: str = ""
    parent: str = ""
    replace: bool = False
    options: RunOptions | None = None


class RunFile(Request[Accepted]):
    """Run a file that lies in the master's perm_files, sub-folders included."""

    OPCODE = Opcode.RUN
    ANSWER = Accepted
    file: str
    args: tuple[str, ...] = ()
    requirement: tuple[str, ...] = (GENERAL,)
    priority: int = DEFAULT_PRIORITY
    job_id: str = ""


class Deploy(Request[Accepted]):
    """Start a file of perm_files as a service; ``Worker.jar`` and ``TitanWorker.py`` start another worker.

    ``name`` becomes its id, made up when there is none; a service of that name is replaced once the new one is ready.
    """

    OPCODE = Opcode.DEPLOY
    ANSWER = Accepted
    file: str
    port: int = 0
    requirement: tuple[str, ...] = (GENERAL,)
    args: tuple[str, ...] = ()
    name: str = ""
    service: ServiceSpec | None = None


class Stop(Request[Ok]):
    """Stop a service or job, its whole process tree."""

    OPCODE = Opcode.STOP
    ANSWER = Ok
    id: str


class CancelJob(Request[Ok]):
    """Cancel a job, or with a run id every job of the run. To a worker: end this attempt's process tree.

    With ``children``, also the runs that were submitted from inside, however far down.
    """

    OPCODE = Opcode.CANCEL_JOB
    ANSWER = Ok
    id: str
    children: bool = False
