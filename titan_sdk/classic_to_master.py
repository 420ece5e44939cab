"""What a classic client or worker asks of the master (PROTOCOL.md section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from titan_sdk.classic_jobs import (
    WORKER_FILES,
    ClassicJob,
    format_dag,
    format_submission,
    parse_dag,
    parse_submission,
)
from titan_sdk.classic_request import ById, ClassicRequest, Empty, NamedContent, by_opcode, split_fields
from titan_sdk.classic_text import (
    check_field,
    check_key,
    check_lookup,
    format_requirement,
    parse_boolean,
    parse_port,
    parse_requirement,
)
from titan_sdk.errors import BadMessage
from titan_sdk.messages import GENERAL
from titan_sdk.names import check_file_name, check_port
from titan_sdk.protocol import Opcode


@dataclass(frozen=True)
class Register(ClassicRequest):
    """``port||capability||isPermanent``, the last fields optional. The worker's host is the address it calls from."""

    OPCODE = Opcode.REGISTER
    port: int
    capabilities: tuple[str, ...] = (GENERAL,)
    permanent: bool = False

    @classmethod
    def parse(cls, text: str) -> Register:
        port, capability, permanent = split_fields(text, 1, 3, "port||capability||isPermanent", separator="||")
        flag = parse_boolean(permanent, "isPermanent") if permanent.strip() else False
        return cls(parse_port(port, zero=False), parse_requirement(capability), flag)

    def format(self) -> str:
        return f"{check_port(self.port)}||{format_requirement(self.capabilities)}||{str(self.permanent).lower()}"


@dataclass(frozen=True)
class SubmitJob(ClassicRequest):
    """``[ID|]BODY[|priority[|delay_ms]]``"""

    OPCODE = Opcode.SUBMIT_JOB
    job: ClassicJob

    @classmethod
    def parse(cls, text: str) -> SubmitJob:
        return cls(parse_submission(text))

    def format(self) -> str:
        return format_submission(self.job)


@dataclass(frozen=True)
class SubmitDag(ClassicRequest):
    """Job lines joined by ``;``"""

    OPCODE = Opcode.SUBMIT_DAG
    jobs: tuple[ClassicJob, ...]

    @classmethod
    def parse(cls, text: str) -> SubmitDag:
        return cls(tuple(parse_dag(text)))

    def format(self) -> str:
        return format_dag(self.jobs)


@dataclass(frozen=True)
class RunFile(ClassicRequest):
    """``filename[|requirement]``, a file in perm_files or below."""

    OPCODE = Opcode.RUN
    file: str
    requirement: tuple[str, ...] = (GENERAL,)

    @classmethod
    def parse(cls, text: str) -> RunFile:
        file, requirement = split_fields(text, 1, 2, "filename|requirement")
        return cls(check_file_name(file.strip()), parse_requirement(requirement))

    def format(self) -> str:
        return f"{check_file_name(self.file)}|{format_requirement(self.requirement)}"


@dataclass(frozen=True)
class Deploy(ClassicRequest):
    """``filename[|port[|requirement]]``; 0 or none: no port, and for another worker the first free one from 8085 on."""

    OPCODE = Opcode.DEPLOY
    file: str
    port: int = 0
    requirement: tuple[str, ...] = (GENERAL,)

    @property
    def is_worker(self) -> bool:
        return self.file in WORKER_FILES

    @classmethod
    def parse(cls, text: str) -> Deploy:
        file, port_text, requirement = split_fields(text, 1, 3, "filename|port|requirement")
        name = check_file_name(file.strip())
        port = parse_port(port_text) if port_text.strip() else 0
        return cls(name, port, parse_requirement(requirement))

    def format(self) -> str:
        port = check_port(self.port, zero=True)
        return f"{check_file_name(self.file)}|{port}|{format_requirement(self.requirement)}"


@dataclass(frozen=True)
class Stop(ById):
    """A service's id, or a job's."""

    OPCODE = Opcode.STOP


@dataclass(frozen=True)
class KillWorker(ClassicRequest):
    """``host|port``"""

    OPCODE = Opcode.KILL_WORKER
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> KillWorker:
        host, port = split_fields(text, 2, 2, "host|port")
        return cls(check_lookup(host, "host"), parse_port(port, zero=False))

    def format(self) -> str:
        return f"{check_field(check_lookup(self.host, 'host'), 'host')}|{check_port(self.port)}"


@dataclass(frozen=True)
class GetStats(Empty):
    OPCODE = Opcode.STATS


@dataclass(frozen=True)
class GetStatsJson(Empty):
    OPCODE = Opcode.STATS_JSON


@dataclass(frozen=True)
class CleanStats(Empty):
    OPCODE = Opcode.CLEAN_STATS


@dataclass(frozen=True)
class UnregisterService(ById):
    OPCODE = Opcode.UNREGISTER_SERVICE


@dataclass(frozen=True)
class JobComplete(ClassicRequest):
    """``jobId|STATUS|result``. A worker's result is ``STATUS|<exit code>|<output>``, or some other text.

    ``exit_code`` is None when the result does not say it; ``output`` is what is left of the result.
    """

    OPCODE = Opcode.JOB_COMPLETE
    id: str
    completed: bool
    result: str = ""

    @classmethod
    def parse(cls, text: str) -> JobComplete:
        job_id, status, result = split_fields(text, 2, 3, "jobId|STATUS|result")
        if status.strip() not in ("COMPLETED", "FAILED"):
            raise BadMessage(f"the status {status.strip()[:40]!r} is neither COMPLETED nor FAILED")
        return cls(check_lookup(job_id), status.strip() == "COMPLETED", result)

    @property
    def exit_code(self) -> int | None:
        return self._parts()[0]

    @property
    def output(self) -> str:
        return self._parts()[1]

    def _parts(self) -> tuple[int | None, str]:
        status, _, rest = self.result.partition("|")
        code, _, output = rest.partition("|")
        digits = code[1:] if code.startswith("-") else code
        if status in ("COMPLETED", "FAILED") and digits.isascii() and digits.isdigit() and len(digits) <= 10:
            return int(code), output
        return None, self.result

    def format(self) -> str:
        job_id = check_field(check_lookup(self.id), "job id")
        return f"{job_id}|{'COMPLETED' if self.completed else 'FAILED'}|{self.result}"


@dataclass(frozen=True)
class _Lines(ClassicRequest):
    """``jobId|text``"""

    id: str
    text: str

    @classmethod
    def parse(cls, text: str) -> _Lines:
        job_id, lines = split_fields(text, 2, 2, "jobId|text")
        return cls(check_lookup(job_id), lines)

    def format(self) -> str:
        return f"{check_field(check_lookup(self.id), 'job id')}|{self.text}"


@dataclass(frozen=True)
class LogStream(_Lines):
    """``jobId|line``: one line of a job's log, without its line break."""

    OPCODE = Opcode.LOG_STREAM


@dataclass(frozen=True)
class LogBatch(_Lines):
    """``jobId|line1\\nline2...``: lines of a job's log, the last without its line break."""

    OPCODE = Opcode.LOG_BATCH


@dataclass(frozen=True)
class GetLogs(ById):
    OPCODE = Opcode.GET_LOGS


@dataclass(frozen=True)
class UploadAsset(NamedContent):
    OPCODE = Opcode.UPLOAD_ASSET


@dataclass(frozen=True)
class DeployScript(NamedContent):
    OPCODE = Opcode.DEPLOY_SCRIPT


@dataclass(frozen=True)
class FetchAsset(ClassicRequest):
    OPCODE = Opcode.FETCH_ASSET
    name: str

    @classmethod
    def parse(cls, text: str) -> FetchAsset:
        return cls(check_file_name(text.strip()))

    def format(self) -> str:
        return check_file_name(self.name)


@dataclass(frozen=True)
class GetJobStatus(ById):
    OPCODE = Opcode.GET_JOB_STATUS


@dataclass(frozen=True)
class CancelJob(ById):
    OPCODE = Opcode.CANCEL_JOB


@dataclass(frozen=True)
class KvSet(ClassicRequest):
    """``key|value``; the value may hold anything."""

    OPCODE = Opcode.KV_SET
    key: str
    value: str

    @classmethod
    def parse(cls, text: str) -> KvSet:
        key, value = split_fields(text, 2, 2, "key|value")
        return cls(check_key(key), value)

    def format(self) -> str:
        return f"{check_key(self.key)}|{self.value}"


@dataclass(frozen=True)
class _ByKey(ClassicRequest):
    key: str

    @classmethod
    def parse(cls, text: str) -> _ByKey:
        return cls(check_key(text))

    def format(self) -> str:
        return check_key(self.key)


@dataclass(frozen=True)
class KvGet(_ByKey):
    OPCODE = Opcode.KV_GET


@dataclass(frozen=True)
class KvAdd(ClassicRequest):
    """``key|member``; a member holds no ``,``, which separates members in replies."""

    OPCODE = Opcode.KV_SADD
    key: str
    member: str

    @classmethod
    def parse(cls, text: str) -> KvAdd:
        key, member = split_fields(text, 2, 2, "key|member")
        return cls(check_key(key), member)

    def format(self) -> str:
        return f"{check_key(self.key)}|{self.member}"


@dataclass(frozen=True)
class KvMembers(_ByKey):
    OPCODE = Opcode.KV_SMEMBERS


TO_MASTER: Final = by_opcode(
    Register, SubmitJob, SubmitDag, RunFile, Deploy, Stop, KillWorker, GetStats, GetStatsJson, CleanStats,
    UnregisterService, JobComplete, LogStream, LogBatch, GetLogs, UploadAsset, FetchAsset, DeployScript, GetJobStatus,
    CancelJob, KvSet, KvGet, KvAdd, KvMembers,
)  # fmt: skip
"""What a classic client or worker may ask of the master, by opcode."""
