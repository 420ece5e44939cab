"""Classic job lines (PROTOCOL.md section 4): what SUBMIT_DAG and SUBMIT_JOB carry, read from the outside in.

A line is ``ID|BODY|PRIORITY|DELAY_MS|[PARENT,PARENT...]``, and ``|AFFINITY`` or ``|STICKY`` may follow. The id comes
from the left; flag, parents, delay and priority from the right; what remains is the body, a verb and its fields.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final

from titan_sdk.classic_text import (
    check_field,
    format_args,
    format_base64,
    format_requirement,
    is_base64,
    is_integer,
    parse_args,
    parse_base64,
    parse_port,
    parse_requirement,
)
from titan_sdk.dag import validate_dag
from titan_sdk.errors import BadMessage, InvalidName, PipelineError, Problem, ProtocolError
from titan_sdk.messages import DEFAULT_PRIORITY, GENERAL, JobKind, JobSpec
from titan_sdk.names import check_file_name, check_job_id, check_relative_path

DAG_PREFIX: Final = "DAG-"
WORKER_FILES: Final = frozenset({"Worker.jar", "TitanWorker.py"})
"""Deploying one of these means: start another worker. The first is the original's name for it."""
DEFAULT_WORKER_PORT: Final = 8085
WELL_KNOWN_SKILLS: Final = frozenset({GENERAL, "GPU", "HIGH_MEM"})
_FLAGS: Final = frozenset({"AFFINITY", "STICKY"})


@dataclass(frozen=True)
class RunPayload:
    """``RUN_PAYLOAD|file|args|base64|requirement``: one script."""

    VERB: ClassVar[str] = "RUN_PAYLOAD"
    FIELDS: ClassVar[tuple[int, int]] = (2, 4)
    file: str
    content: bytes
    args: tuple[str, ...] = ()
    requirement: tuple[str, ...] = (GENERAL,)

    @classmethod
    def parse(cls, fields: Sequence[str], default: tuple[str, ...]) -> RunPayload:
        file, *rest = fields
        args, requirement = "", ""
        if len(rest) == 1:
            (content,) = rest
        elif len(rest) == 2 and not is_base64(rest[1]) and is_base64(rest[0]):
            content, requirement = rest
        else:
            args, content, *more = rest
            requirement = more[0] if more else ""
        name = check_file_name(file.strip())
        return cls(name, parse_base64(content, name), parse_args(args), _requirement(requirement, default))

    def fields(self) -> list[str]:
        content = format_base64(self.content)
        return [check_file_name(self.file), format_args(self.args), content, format_requirement(self.requirement)]


@dataclass(frozen=True)
class DeployPayload:
    """``DEPLOY_PAYLOAD|file|base64|port|requirement``: one file as a service, or another worker."""

    VERB: ClassVar[str] = "DEPLOY_PAYLOAD"
    FIELDS: ClassVar[tuple[int, int]] = (3, 4)
    file: str
    content: bytes
    port: int = 0
    requirement: tuple[str, ...] = (GENERAL,)

    @property
    def is_worker(self) -> bool:
        return self.file in WORKER_FILES

    @classmethod
    def parse(cls, fields: Sequence[str], default: tuple[str, ...]) -> DeployPayload:
        file, content, port, *more = fields
        name = check_file_name(file.strip())
        # Every worker already has what a worker is made of: such content is not looked at.
        data = b"" if name in WORKER_FILES else parse_base64(content, name)
        return cls(name, data, parse_port(port), _requirement(more[0] if more else "", default))

    def fields(self) -> list[str]:
        requirement = format_requirement(self.requirement)
        return [check_file_name(self.file), format_base64(self.content), str(self.port), requirement]


@dataclass(frozen=True)
class RunArchive:
    """``RUN_ARCHIVE|project.zip/path/entry.py|args|requirement``: an entry point inside an uploaded zip."""

    VERB: ClassVar[str] = "RUN_ARCHIVE"
    FIELDS: ClassVar[tuple[int, int]] = (1, 3)
    archive: str
    entry: str
    args: tuple[str, ...] = ()
    requirement: tuple[str, ...] = (GENERAL,)

    @classmethod
    def parse(cls, fields: Sequence[str], default: tuple[str, ...]) -> RunArchive:
        path, args, requirement = (*fields, "", "")[:3]
        archive, entry = split_archive_path(path.strip())
        return cls(archive, entry, parse_args(args), _requirement(requirement, default))

    def fields(self) -> list[str]:
        path = f"{check_file_name(self.archive)}/{check_relative_path(self.entry)}"
        return [path, format_args(self.args), format_requirement(self.requirement)]


@dataclass(frozen=True)
class StartArchiveService:
    """``START_ARCHIVE_SERVICE|project.zip/path/entry.py|args|port|requirement``: the same as a service."""

    VERB: ClassVar[str] = "START_ARCHIVE_SERVICE"
    FIELDS: ClassVar[tuple[int, int]] = (3, 4)
    archive: str
    entry: str
    args: tuple[str, ...] = ()
    port: int = 0
    requirement: tuple[str, ...] = (GENERAL,)

    @classmethod
    def parse(cls, fields: Sequence[str], default: tuple[str, ...]) -> StartArchiveService:
        path, args, port, *more = fields
        archive, entry = split_archive_path(path.strip())
        requirement = _requirement(more[0] if more else "", default)
        return cls(archive, entry, parse_args(args), parse_port(port), requirement)

    def fields(self) -> list[str]:
        path = f"{check_file_name(self.archive)}/{check_relative_path(self.entry)}"
        return [path, format_args(self.args), str(self.port), format_requirement(self.requirement)]


Body = RunPayload | DeployPayload | RunArchive | StartArchiveService
_BODIES: Final[dict[str, type[Body]]] = {
    kind.VERB: kind for kind in (RunPayload, DeployPayload, RunArchive, StartArchiveService)
}


@dataclass(frozen=True)
class ClassicJob:
    """One job line. ``id`` is empty when SUBMIT_JOB left it out; ids and parents of a DAG begin with ``DAG-``."""

    id: str
    body: Body
    priority: int = DEFAULT_PRIORITY
    delay_ms: int = 0
    parents: tuple[str, ...] = ()
    affinity: bool = False

    def to_spec(self, sha256: str = "", size: int = 0) -> JobSpec:
        """The job as both dialects know it.

        Args:
            sha256, size: of the archive that the body names; for a body that brings its content they are its own.
        """
        body = self.body
        kind: JobKind = "run"
        if isinstance(body, DeployPayload):
            kind = "worker" if body.is_worker else "service"
        elif isinstance(body, StartArchiveService):
            kind = "service"
        if isinstance(body, (RunPayload, DeployPayload)):
            file, archive, size = body.file, "", len(body.content)
            sha256 = "" if kind == "worker" else hashlib.sha256(body.content).hexdigest()
        else:
            file, archive = body.entry, body.archive
        port = 0 if isinstance(body, (RunPayload, RunArchive)) else body.port
        return JobSpec(
            id=self.id,
            file=file,
            sha256=sha256,
            size=size,
            archive=archive,
            kind=kind,
            args=() if isinstance(body, DeployPayload) else body.args,
            requirement=body.requirement,
            priority=self.priority,
            delay_ms=self.delay_ms,
            parents=self.parents,
            affinity=self.affinity,
            port=port,
        )


def dag_id(name: str) -> str:
    """The id of a DAG's job: with the prefix ``DAG-``, which it may have already."""
    return name if name.startswith(DAG_PREFIX) else DAG_PREFIX + name


def split_archive_path(path: str) -> tuple[str, str]:
    """``project.zip/path/entry.py`` as (``project.zip``, ``path/entry.py``).

    Raises:
        InvalidName: no zip name at its front, no entry behind it, or a part that may not name a file.
    """
    archive, _, entry = path.partition("/")
    if not archive.lower().endswith(".zip") or not entry:
        raise InvalidName(f"{path[:80]!r} is not of the form project.zip/path/entry.py")
    return check_file_name(archive, "archive name"), check_relative_path(entry, "entry")


def parse_dag(text: str) -> list[ClassicJob]:
    """The jobs of a SUBMIT_DAG payload, whole and consistent.

    Raises:
        PipelineError: with every problem of every line (lines count from 1, split by ``;``), unknown parents,
            duplicate ids and cycles included.
    """
    jobs: list[ClassicJob] = []
    lines: list[int] = []
    problems: list[Problem] = []
    unread: set[str] = set()
    for number, line in enumerate(text.split(";"), 1):
        if not line.strip():
            continue
        name = dag_id(line.partition("|")[0].strip())
        try:
            jobs.append(_parse_dag_line(line))
            lines.append(number)
        except (ProtocolError, InvalidName) as error:
            problems.append(Problem(_shown(name), str(error), number))
            unread.add(name)
    if jobs or not problems:
        problems += validate_dag([job.to_spec() for job in jobs], lines=lines, known=unread)
    if problems:
        raise PipelineError(sorted(problems, key=lambda problem: problem.line))
    return jobs


def parse_submission(text: str, skills: Collection[str] = WELL_KNOWN_SKILLS) -> ClassicJob:
    """The one job of a SUBMIT_JOB payload, ``[ID|]BODY[|priority[|delay_ms]]``.

    Args:
        skills: capability names; a first field among them is the ``SKILL|`` prefix, any other is the id.

    Raises:
        PipelineError: with its problems.
    """
    job_id = ""
    try:
        fields = text.strip().rstrip(";").split("|")
        at = _verb_at(fields, 2)
        if at == 2 or (at == 1 and fields[0].strip() not in skills):
            job_id = check_job_id(fields.pop(0).strip())
        job = _parse_rest(job_id, fields)
        if job.parents:
            raise BadMessage("a job submitted alone has no parents; SUBMIT_DAG takes jobs with parents")
    except (ProtocolError, InvalidName) as error:
        raise PipelineError([Problem(_shown(job_id), str(error), 1)]) from None
    # The id may be missing: the master names the job then.
    problems = validate_dag([replace(job, id=job_id or "unnamed").to_spec()], lines=[1])
    if problems:
        raise PipelineError(problems)
    return job


def format_line(job: ClassicJob) -> str:
    """The line of a job within SUBMIT_DAG.

    Raises:
        BadMessage, InvalidName: something in it cannot be said in this dialect.
    """
    parents = ",".join(check_job_id(parent) for parent in job.parents)
    line = f"{check_job_id(job.id)}|{_format_body(job.body)}|{job.priority}|{job.delay_ms}|[{parents}]"
    return line + "|AFFINITY" if job.affinity else line


def format_dag(jobs: Iterable[ClassicJob]) -> str:
    """The payload of SUBMIT_DAG; raises what ``format_line`` does."""
    return ";".join(format_line(job) for job in jobs)


def format_submission(job: ClassicJob) -> str:
    """The payload of SUBMIT_JOB; parents and affinity have no place in it.

    Raises:
        BadMessage, InvalidName: something in it cannot be said in this dialect.
    """
    if job.parents or job.affinity:
        raise BadMessage("a job submitted alone has neither parents nor affinity")
    head = f"{check_job_id(job.id)}|" if job.id else ""
    if job.id in WELL_KNOWN_SKILLS:  # alone it would be read as the skill
        head += f"{GENERAL}|"
    return f"{head}{_format_body(job.body)}|{job.priority}|{job.delay_ms}"


def _format_body(body: Body) -> str:
    fields: list[str] = body.fields()
    for field in fields:
        check_field(field, "field")
        if ";" in field:
            raise BadMessage(f"{field[:80]!r} holds ';', which separates jobs")
    return "|".join([body.VERB, *fields])


def _parse_dag_line(line: str) -> ClassicJob:
    head, *rest = line.strip().split("|")
    name = head.strip()
    if not name:
        raise BadMessage("the line begins without an id")
    return _parse_rest(dag_id(check_job_id(name)), rest, _parse_dag_parent)


def _parse_dag_parent(text: str) -> str:
    return dag_id(check_job_id(text, "parent"))


def _parse_rest(job_id: str, fields: Sequence[str], parse_parent: Callable[[str], str] = check_job_id) -> ClassicJob:
    """What follows the id, from the right: flag, parents, delay, priority, and what remains."""
    rest = list(fields)
    affinity = len(rest) > 1 and rest[-1].strip().upper() in _FLAGS
    if affinity:
        rest.pop()
    parents: tuple[str, ...] = ()
    if rest and rest[-1].strip().startswith("["):
        parents = _parse_parents(rest.pop().strip(), parse_parent)
    kind, at = _verb(rest)
    default = parse_requirement(rest[0]) if at else (GENERAL,)
    body = rest[at + 1 :]
    least, most = kind.FIELDS
    # At most two numbers at the end are priority and delay, unless the body would lack a field of its own (a port).
    numbers: list[int] = []
    while len(numbers) < 2 and len(body) > least and is_integer(body[-1]):
        numbers.insert(0, int(body.pop()))
    if not least <= len(body) <= most:
        raise BadMessage(_wrong_count(kind, body))
    priority = numbers[0] if numbers else DEFAULT_PRIORITY
    delay_ms = numbers[1] if len(numbers) > 1 else 0
    return ClassicJob(job_id, kind.parse(body, default), priority, delay_ms, parents, affinity)


def _wrong_count(kind: type[Body], body: Sequence[str]) -> str:
    form = (kind.__doc__ or "").split("``")[1]
    found = "|".join(field if len(field) <= 24 else field[:20] + "..." for field in body)
    return f"{kind.VERB} has {len(body)} fields ({found[:120]!r}) where {form}|priority|delay_ms|[parents] is wanted"


def _verb_at(fields: Sequence[str], last: int) -> int:
    """Where among the first fields the verb stands.

    Raises:
        BadMessage: nowhere; the text names what stands there instead.
    """
    for at, field in enumerate(fields[: last + 1]):
        if field.strip() in _BODIES:
            return at
    found = "|".join(fields[: last + 1])[:80]
    raise BadMessage(f"no handler for {found!r}; a body begins with one of {', '.join(_BODIES)}")


def _verb(fields: Sequence[str]) -> tuple[type[Body], int]:
    at = _verb_at(fields, 1)
    return _BODIES[fields[at].strip()], at


def _parse_parents(text: str, parse: Callable[[str], str]) -> tuple[str, ...]:
    if not text.endswith("]"):
        raise BadMessage(f"the parents {text[:80]!r} have no closing bracket")
    names = [name.strip() for name in text[1:-1].split(",")]
    return tuple(dict.fromkeys(parse(name) for name in names if name))


def _requirement(text: str, default: tuple[str, ...]) -> tuple[str, ...]:
    return parse_requirement(text) if text.strip() else default


def _shown(name: str) -> str:
    return name if len(name) <= 60 else name[:57] + "..."
