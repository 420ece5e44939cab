"""What a job is: the part of it that is asked for, and the lease under which it runs."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import field

from titan_sdk.messages.base import Message

GENERAL: Final = "GENERAL"
DEFAULT_PRIORITY: Final = 1
DEFAULT_RETRIES: Final = 3
JobKind = Literal["run", "service", "worker"]
RestartPolicy = Literal["always", "on-failure", "never"]
Lifetime = Literal["stopped", "run"]
OnTimeout = Literal["approve", "reject"]
Handler = Literal["", "on_failure", "finally"]
TriggerRule = Literal["all_success", "all_done", "one_success", "one_failed", "none_failed", "always"]
"""What has to become of a job's parents for it to start, as Airflow names it."""


class ServiceSpec(Message, frozen=True):
    """How a service is kept alive; the defaults are those of a service that says nothing of it.

    Attributes:
        restart: after which ends of its process it is started again: all, those that are failures, or none.
        auto_port: its worker picks a free port, hands it over as PORT and publishes it.
        health_path: healthy is a service that answers GET there with a status below 400; empty: one whose port accepts.
        ready_line: a regular expression; it is ready when it has printed a line that matches, whatever its port does.
        start_s: seconds from the start of its process in which it has to be ready; later counts as a failure.
        interval_s: between two looks at its health. failures: so many in a row end it, and that counts as a failure.
        lifetime: ``stopped``: until it is stopped; ``run``: until no unfinished job of its run waits for it or for
            those that do.
        replaces: key of the service that is stopped once this one is ready; set by the master.
        replica_of: id of the service that this is a further replica of; set by the master.
    """

    restart: RestartPolicy = "always"
    auto_port: bool = False
    health_path: str = ""
    ready_line: str = ""
    start_s: float = 30.0
    interval_s: float = 10.0
    failures: int = 3
    lifetime: Lifetime = "stopped"
    replaces: str = ""
    replica_of: str = ""


DEFAULT_SERVICE: Final = ServiceSpec()


class Given(Message, frozen=True):
    """What an attempt is told of the jobs before it. Set by the master at each dispatch, never by who submits.

    Attributes:
        inputs: JSON object of the parents' outputs, each an object, by the parent's id; empty: there are none.
        item, index: JSON of the element that an instance of an ``each`` job is for, and its place; empty: it is none.
        failed: ids of the jobs whose failure it is to know of. failure: why they failed.
    """

    inputs: bytes = b""
    item: bytes = b""
    index: int = 0
    failed: tuple[str, ...] = ()
    failure: str = ""


class ApproveSpec(Message, frozen=True):
    """A person is asked, and the job waits for the answer.

    Attributes:
        message: the question.
        timeout_s: seconds after which ``on_timeout`` is the answer; None: it waits as long as it takes.
    """

    message: str
    timeout_s: float | None = None
    on_timeout: OnTimeout = "reject"


class RepairSpec(Message, frozen=True):
    """What repairs a job that failed for good.

    Attributes:
        file, sha256, size: the script that does, and its content. args: of the script. max: so often.
        timeout_s: of the script. approve: what a person is asked before a change is tried; None: nothing.
    """

    file: str
    sha256: str = ""
    size: int = 0
    args: tuple[str, ...] = ()
    max: int = 1
    timeout_s: float | None = None
    approve: ApproveSpec | None = None


class Mends(Message, frozen=True):
    """The failure that a repair job is about, as the job was when it failed."""

    key: str
    number: int
    attempt: int
    exit_code: int | None
    reason: str
    file: str
    sha256: str
    size: int
    archive: str = ""
    args: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)


class FlowSpec(Message, frozen=True):
    """Under which circumstances a job runs; the defaults are those of a job that says nothing of it.

    Attributes:
        trigger: ``all_success``: every parent completed; a failed one makes it DEAD, a skipped one SKIPPED.
            ``none_failed``: as that, but skipped parents are as good as completed ones.
            ``all_done``: all parents have ended, however.
            ``one_success``, ``one_failed``: as soon as one parent has; SKIPPED when none did (of ``one_success``: DEAD,
            unless all were skipped).
            ``always``: as ``all_done``, and neither a cancelled run nor fail_fast keeps it from running.
        when: a condition (titan_sdk.expressions), judged when the trigger rule lets the job run; it is SKIPPED when
            that does not hold, and DEAD when it cannot be told. Empty: none.
        each: an expression whose value is a list: the job becomes as many instances, ``ID.0``, ``ID.1`` and so on,
            which find their element as ``TITAN_ITEM`` and ``${item}``. It ends as they did; an empty list: SKIPPED.
        instance_of, item, index: of an instance the job's id, its element as JSON, and its place; set by the master.
        templates: arguments and environment hold references (``${parents.ID.NAME}``) that are replaced.
        approve: what a person is asked once its parents let it run; None: nothing.
        handler: it waits for no parents, but for the end of its run, and runs when a job of that is DEAD
            (``on_failure``) or in any case (``finally``, after those). A cancelled run leaves ``finally`` jobs alone.
        repair: what repairs it when it failed for good. mends: the failure it is to repair; set by the master.
        given: what the attempt finds of the jobs before it; set by the master when it dispatches.
    """

    trigger: TriggerRule = "all_success"
    when: str = ""
    each: str = ""
    instance_of: str = ""
    item: bytes = b""
    index: int = 0
    templates: bool = False
    approve: ApproveSpec | None = None
    handler: Handler = ""
    repair: RepairSpec | None = None
    mends: Mends | None = None
    given: Given | None = None


DEFAULT_FLOW: Final = FlowSpec()


class JobSpec(Message, frozen=True):
    """A job as it was asked for; never changed after acceptance.

    Attributes:
        id: names the job within its run (names.check_job_id).
        file: what runs, as its author named it: a plain file name, or a path inside ``archive``.
        sha256: hex digest of the file's content, or of the archive's; empty for kind ``worker``.
        size: bytes of that content.
        archive: name of the zip that ``file`` lies in; empty for a single file.
        kind: ``run`` ends by itself; ``service`` stays up until stopped; ``worker``: a service that is another worker.
        args: argument list, handed over as it is.
        env: added to the job's environment.
        requirement: capabilities that must all be on one worker.
        priority: higher first. delay_ms: counted from when the job is unblocked.
        parents: ids of jobs of the same run that must complete first, unless ``flow`` says otherwise.
        affinity: prefer the worker that ran the (last finished) parent.
        retries: further attempts after a failed one.
        timeout_s: an attempt running longer is ended and has failed; None: no limit.
        port: a service's port (0: none); for kind ``worker`` the new worker's (0: the first free one from 8085 on).
        python: interpreter to exec a ``.py`` with instead of the worker's own.
        fresh: exec a new interpreter instead of forking the warm one.
        cpus, memory, gpus: set apart on its worker while it runs: cores, bytes, devices; 0: nothing but a slot.
        service: how a service is kept alive; None: as DEFAULT_SERVICE says.
        flow: under which circumstances it runs; None: as DEFAULT_FLOW says.
    """

    id: str
    file: str
    sha256: str = ""
    size: int = 0
    archive: str = ""
    kind: JobKind = "run"
    args: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    requirement: tuple[str, ...] = (GENERAL,)
    priority: int = DEFAULT_PRIORITY
    delay_ms: int = 0
    parents: tuple[str, ...] = ()
    affinity: bool = False
    retries: int = DEFAULT_RETRIES
    timeout_s: float | None = None
    port: int = 0
    python: str = ""
    fresh: bool = False
    cpus: float = 0.0
    memory: int = 0
    gpus: int = 0
    service: ServiceSpec | None = None
    flow: FlowSpec | None = None

    @property
    def upkeep(self) -> ServiceSpec:
        """How it is kept alive, when it is a service."""
        return self.service or DEFAULT_SERVICE


class Lease(Message, frozen=True):
    """Who may run which attempt of which job: the fencing token of every dispatch and every report.

    ``job`` is the key ``run/job``; ``attempt`` counts the job's dispatches from 1; ``epoch`` grows with every dispatch
    of the whole cluster and is never used twice, restarts included.
    """

    job: str
    attempt: int
    epoch: int
