"""TitanJob: a unit of work as its author describes it."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, cast, get_args

from titan_sdk.approving import approve_spec
from titan_sdk.classic_jobs import WORKER_FILES
from titan_sdk.dag import MAX_DELAY_MS, job_problems
from titan_sdk.durations import parse_duration
from titan_sdk.errors import InvalidName
from titan_sdk.expressions import refers
from titan_sdk.messages import (
    DEFAULT_FLOW,
    DEFAULT_PRIORITY,
    DEFAULT_RETRIES,
    DEFAULT_SERVICE,
    GENERAL,
    FlowSpec,
    Handler,
    JobKind,
    JobSpec,
    Lifetime,
    RepairSpec,
    RestartPolicy,
    ServiceSpec,
    TriggerRule,
)
from titan_sdk.sizes import parse_size

Argument = str | int | float | os.PathLike[str]

KINDS: Final = ("run", "service", "worker")
RESTARTS: Final = ("always", "on-failure", "never")
LIFETIMES: Final = ("stopped", "run")
HANDLERS: Final = ("on_failure", "finally")
TRIGGERS: Final[tuple[str, ...]] = get_args(TriggerRule)
HEALTH_KEYS: Final = ("path", "log", "start", "interval", "failures")
REPAIR_KEYS: Final = ("repair", "max", "args", "timeout", "approve")
AUTO: Final = "auto"


class TitanJob:
    """One job: what runs, where, when, and how often it is tried.

    Nothing is read or sent before it is submitted, and an attribute may be changed until then.

    Args:
        job_id: names the job within its run; ``id=`` is the same.
        filename: path of the script, jar or executable, relative to ``base_dir``. A file that is not there is looked
            for by its plain name in the master's perm_files. With ``is_archive``: ``project.zip/path/entry.py``, where
            the zip lies here or in perm_files, or ``folder/path/entry.py``, where the folder is zipped and sent; a zip
            or folder alone runs its ``__main__.py`` or ``main.py``.
        requirement: one capability, several joined by commas, or a list; all must be on one worker.
        priority: higher goes first.
        parents: ids of jobs of the same run (or the TitanJobs themselves) that must complete first.
        trigger: what has to become of the parents instead: ``all_done``, ``one_success``, ``one_failed``,
            ``none_failed`` or ``always`` (messages.FlowSpec says it in full).
        is_archive: ``filename`` names a zip or a folder.
        args: the argument list; a text is split as a shell would.
        port: a service's port, or ``"auto"`` for a free one that its worker picks. It finds it in PORT.
        delay: seconds, counted from when the job's parents have completed.
        affinity: prefer the worker that ran the parent.
        retries: further attempts after a failed one.
        timeout: seconds after which an attempt is ended and has failed; None: never.
        env: added to the job's environment.
        python: the interpreter for a ``.py``, instead of the worker's own.
        fresh: start a new interpreter instead of forking the worker's warm one.
        cpus, memory, gpus: cores, memory (bytes, or a text like ``"2GB"``) and GPUs set apart for it on its worker.
        type: ``run`` ends by itself, ``service`` stays up until stopped, ``worker`` is another Titan worker. By default
            a job with a port is a service. ``kind=`` is the same.
        restart: when a service whose process ended is started again: ``always``, ``on-failure`` or ``never``.
        health: of a service: a path like ``"/health"`` that answers when all is well, or a map with any of ``path``,
            ``log`` (a regular expression; ready when a printed line matches), ``start`` (seconds to get ready in),
            ``interval`` (seconds between two looks) and ``failures`` (so many in a row make a restart).
        when: a condition like ``"parents.count.rows > 0 and params.region == 'eu'"``, judged when the parents let the
            job run; it is SKIPPED when that does not hold. Arguments and ``env`` may refer to the same things, as in
            ``"${parents.count.rows}"``.
        each: an expression whose value is a list, like ``"parents.split.items"``: the job becomes one instance for each
            element, which finds it by ``titan_sdk.item()``, and as ``${item}`` in its arguments.
        handler: ``"on_failure"``: it runs at the end of its run if a job failed; ``"finally"``: in any case, after
            those.
        approve: what a person is asked before it runs, once its parents have completed; it holds no slot meanwhile. A
            text, or a map of ``message``, ``timeout`` (seconds, or a text like ``"8h"``) and ``on_timeout``
            (``"reject"``, ``"approve"``).
        on_failure: what repairs it when it failed for good, retries included: a map of ``repair`` (a script),
            ``max`` (so often; 1 by default), ``args`` and ``timeout`` of the script, and ``approve`` (asked before a
            change is tried; like that of a job).
        lifetime: a service is up until it is ``stopped``, or as long as its ``run`` needs it.
        archive: a zip or folder that ``filename`` is a path inside of; says what ``is_archive`` would have to guess.
        base_dir: the folder that relative paths start from; the current one at the time of submission by default.

    Raises:
        InvalidName: an id, file name, capability, port or number outside its rules.
        TypeError: an argument of the wrong type.
    """

    def __init__(
        self,
        job_id: str | None = None,
        filename: str | os.PathLike[str] | None = None,
        requirement: str | Iterable[str] = GENERAL,
        priority: int = DEFAULT_PRIORITY,
        parents: str | TitanJob | Iterable[str | TitanJob] = (),
        is_archive: bool = False,
        *,
        id: str | None = None,
        args: str | Iterable[Argument] = (),
        port: int | str = 0,
        delay: float = 0.0,
        affinity: bool = False,
        retries: int = DEFAULT_RETRIES,
        timeout: float | None = None,
        env: Mapping[str, Argument] | None = None,
        python: str | os.PathLike[str] = "",
        fresh: bool = False,
        cpus: float = 0.0,
        memory: int | str = 0,
        gpus: int = 0,
        type: str | None = None,
        kind: str | None = None,
        restart: str = DEFAULT_SERVICE.restart,
        health: str | Mapping[str, str | float] | None = None,
        lifetime: str = DEFAULT_SERVICE.lifetime,
        trigger: str = DEFAULT_FLOW.trigger,
        when: str = "",
        each: str = "",
        handler: str = "",
        approve: str | Mapping[str, Any] | None = None,
        on_failure: Mapping[str, Any] | None = None,
        archive: str | os.PathLike[str] | None = None,
        base_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        self.job_id = _one_of("job_id", job_id, "id", id)
        if not filename:
            raise InvalidName(f"{self.job_id}: no filename is given")
        self.filename = os.fspath(filename)
        self.requirement = split_requirement(requirement)
        self.priority = _integer("priority", priority)
        self.parents = [_parent(each) for each in ([parents] if isinstance(parents, (str, TitanJob)) else parents)]
        self.is_archive = bool(is_archive) or archive is not None
        self.args = split_args(args)
        self.auto_port = isinstance(port, str) and port.lower() == AUTO
        self.port = 0 if self.auto_port else _integer("port", cast(int, port))
        self.restart = _choice(self.job_id, "restart", restart, RESTARTS)
        self.health = _health(self.job_id, health)
        self.lifetime = _choice(self.job_id, "lifetime", lifetime, LIFETIMES)
        self.trigger = _choice(self.job_id, "trigger", trigger, TRIGGERS)
        self.when = when
        self.each = each.strip()
        if self.each.startswith("${") and self.each.endswith("}"):
            self.each = self.each[2:-1].strip()
        self.handler = _choice(self.job_id, "handler", handler, ("", *HANDLERS))
        self.approve = None if approve is None else approve_spec(self.job_id, approve)
        self.repair_file = ""
        """The script that repairs it; empty: there is none."""
        self.on_failure = None if on_failure is None else self._repair(on_failure)
        self.delay = _seconds("delay", delay)
        self.affinity = bool(affinity)
        self.retries = _integer("retries", retries)
        self.timeout = None if timeout is None else _seconds("timeout", timeout)
        self.env = {str(name): _text(value) for name, value in (env or {}).items()}
        self.python = os.fspath(python)
        self.fresh = bool(fresh)
        self.cpus = _number("cpus", cpus)
        self.memory = parse_size(memory)
        self.gpus = _integer("gpus", gpus)
        self.archive = None if archive is None else Path(archive)
        self.base_dir = None if base_dir is None else Path(base_dir)
        self.line = 0
        """Where in a pipeline file it was read from; 0 elsewhere."""
        self.kind = self._kind(None if type is None and kind is None else _one_of("type", type, "kind", kind))
        for problem in job_problems(self.spec(self.plain_name())):
            raise InvalidName(f"{self.job_id}: {problem}")

    @property
    def id(self) -> str:
        return self.job_id

    def __repr__(self) -> str:
        parents = f", parents={self.parents!r}" if self.parents else ""
        return f"TitanJob({self.job_id!r}, {self.filename!r}{parents})"

    def path(self, given: str | os.PathLike[str] | None = None) -> Path:
        """Where ``filename`` (or another path) is on this machine."""
        return (self.base_dir or Path()) / (self.filename if given is None else given)

    def plain_name(self) -> str:
        """The file's name without its folders: what it is called on the master and the worker."""
        return os.path.basename(self.filename.rstrip("/")) or self.filename

    def spec(self, file: str, *, archive: str = "", sha256: str = "", size: int = 0) -> JobSpec:
        """The job as the master is told of it, once it is known what ``file`` holds."""
        return JobSpec(
            id=self.job_id,
            file=file,
            sha256=sha256,
            size=size,
            archive=archive,
            kind=self.kind,
            args=tuple(self.args),
            env=dict(self.env),
            requirement=tuple(self.requirement),
            priority=self.priority,
            # Beyond the limit any number will do, infinity has none: the check of the spec tells.
            delay_ms=round(min(self.delay * 1000, MAX_DELAY_MS + 1.0)),
            parents=tuple(self.parents),
            affinity=self.affinity,
            retries=self.retries,
            timeout_s=self.timeout,
            port=self.port,
            python=self.python,
            fresh=self.fresh,
            cpus=self.cpus,
            memory=self.memory,
            gpus=self.gpus,
            service=self._service(),
            flow=self._flow(),
        )

    def _repair(self, given: Mapping[str, Any]) -> RepairSpec:
        for name in given:
            if name not in REPAIR_KEYS:
                raise InvalidName(f"{self.job_id}: on_failure has no {name!r}; it has {', '.join(REPAIR_KEYS)}")
        if not given.get("repair"):
            raise InvalidName(f"{self.job_id}: on_failure has no repair: the script that does")
        self.repair_file = os.fspath(given["repair"])
        approve, timeout = given.get("approve"), given.get("timeout")
        return RepairSpec(
            file=os.path.basename(self.repair_file) or self.repair_file,
            args=tuple(split_args(given.get("args", ()))),
            max=_integer("on_failure max", given.get("max", 1)),
            timeout_s=None if timeout is None else parse_duration(timeout),
            approve=None if approve is None else approve_spec(self.job_id, approve),
        )

    def _flow(self) -> FlowSpec | None:
        found = FlowSpec(
            trigger=cast(TriggerRule, self.trigger),
            when=self.when,
            each=self.each,
            templates=any(map(refers, [*self.args, *self.env.values()])),
            approve=self.approve,
            handler=cast(Handler, self.handler),
            repair=self.on_failure,
        )
        return None if found == DEFAULT_FLOW else found

    def _service(self) -> ServiceSpec | None:
        health = self.health
        found = ServiceSpec(
            restart=cast(RestartPolicy, self.restart),
            auto_port=self.auto_port,
            health_path=str(health.get("path", "")),
            ready_line=str(health.get("log", "")),
            start_s=float(health.get("start", DEFAULT_SERVICE.start_s)),
            interval_s=float(health.get("interval", DEFAULT_SERVICE.interval_s)),
            failures=int(health.get("failures", DEFAULT_SERVICE.failures)),
            lifetime=cast(Lifetime, self.lifetime),
        )
        return None if found == DEFAULT_SERVICE else found

    def _kind(self, given: str | None) -> JobKind:
        kind = given.lower() if given is not None else ("service" if self.port or self.auto_port else "run")
        if kind not in KINDS:
            raise InvalidName(f"{self.job_id}: {given!r} is not a type of job; {', '.join(KINDS)} are")
        if kind == "run" and (self.port or self.auto_port):
            raise InvalidName(f"{self.job_id}: a job of type run has no port; say type='service'")
        if kind == "service" and self.filename in WORKER_FILES and not self.is_archive:
            kind = "worker"
        return cast(JobKind, kind)


def split_requirement(requirement: str | Iterable[str]) -> list[str]:
    """``"GPU, HIGH_MEM"`` or ``["GPU", "HIGH_MEM"]`` as a list without repetitions; nothing at all means GENERAL."""
    words = requirement.split(",") if isinstance(requirement, str) else requirement
    return list(dict.fromkeys(word.strip() for word in words if word.strip())) or [GENERAL]


def split_args(args: str | Iterable[Argument]) -> list[str]:
    """An argument list; a text is split as a shell would split it, quotes honoured.

    Raises:
        InvalidName: a quote in a text is not closed.
    """
    if not isinstance(args, str):
        return [_text(each) for each in args]
    try:
        return shlex.split(args)
    except ValueError as error:
        raise InvalidName(f"the arguments {args!r} cannot be split: {str(error).lower()}") from None


def _one_of(name: str, value: str | None, other: str, synonym: str | None) -> str:
    if (value is None) == (synonym is None):
        raise TypeError(f"one of {name} and {other} is wanted")
    found = synonym if value is None else value
    if not isinstance(found, str):
        raise TypeError(f"{name} must be a str, not {type(found).__name__}")
    return found


def _parent(parent: str | TitanJob) -> str:
    if isinstance(parent, TitanJob):
        return parent.job_id
    if not isinstance(parent, str):
        raise TypeError(f"a parent is a job id or a TitanJob, not {type(parent).__name__}")
    return parent


def _choice(job_id: str, name: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise InvalidName(f"{job_id}: {name} {value!r} is none of {', '.join(known)}")
    return value


def _health(job_id: str, given: str | Mapping[str, str | float] | None) -> dict[str, str | float]:
    """Checked as far as types go; what the values may be is a matter of the spec."""
    health: dict[str, str | float] = {"path": given} if isinstance(given, str) else dict(given or {})
    for name, value in health.items():
        if name not in HEALTH_KEYS:
            raise InvalidName(f"{job_id}: health has no {name!r}; it has {', '.join(HEALTH_KEYS)}")
        if name in ("path", "log"):
            if not isinstance(value, str):
                raise TypeError(f"health {name} must be a str, not {type(value).__name__}")
        elif name == "failures":
            _integer("health failures", cast(int, value))
        else:
            _seconds(f"health {name}", cast(float, value))
    return health


def _text(value: Argument) -> str:
    if isinstance(value, (str, int, float)):
        return str(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"an argument or variable is a str, a number or a path, not {type(value).__name__}")


def _integer(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    return value


def _number(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    return float(value)


def _seconds(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    if not math.isfinite(value):
        raise InvalidName(f"{name} {value} is not a number of seconds")
    return float(value)
