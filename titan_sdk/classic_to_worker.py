"""What a classic master asks of a worker (PROTOCOL.md section 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from titan_sdk.classic_request import ById, ClassicRequest, Empty, NamedContent, by_opcode, split_fields
from titan_sdk.classic_text import format_args, format_base64, parse_args, parse_base64, parse_job_id, parse_port
from titan_sdk.names import check_file_name, check_job_id, check_port, check_relative_path
from titan_sdk.protocol import Opcode


@dataclass(frozen=True)
class Ping(Empty):
    OPCODE = Opcode.HEARTBEAT


@dataclass(frozen=True)
class Stage(NamedContent):
    """``filename|base64``: keep this file for a RUN or START_SERVICE to come."""

    OPCODE = Opcode.STAGE


@dataclass(frozen=True)
class RunOnWorker(ClassicRequest):
    """``jobId|filename|args``: run a staged file."""

    OPCODE = Opcode.RUN
    id: str
    file: str
    args: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> RunOnWorker:
        job_id, file, args = split_fields(text, 2, 3, "jobId|filename|args")
        return cls(parse_job_id(job_id), check_file_name(file.strip()), parse_args(args))

    def format(self) -> str:
        return f"{check_job_id(self.id)}|{check_file_name(self.file)}|{format_args(self.args)}"


@dataclass(frozen=True)
class RunArchiveOnWorker(ClassicRequest):
    """``jobId|entry|base64 zip``: unpack a project and run a file of it."""

    OPCODE = Opcode.RUN_ARCHIVE
    id: str
    entry: str
    content: bytes

    @classmethod
    def parse(cls, text: str) -> RunArchiveOnWorker:
        job_id, entry, content = split_fields(text, 3, 3, "jobId|entry|base64 zip")
        path = check_relative_path(entry.strip(), "entry")
        return cls(parse_job_id(job_id), path, parse_base64(content, "the archive"))

    def format(self) -> str:
        return f"{check_job_id(self.id)}|{check_relative_path(self.entry)}|{format_base64(self.content)}"


@dataclass(frozen=True)
class StartOnWorker(ClassicRequest):
    """``filename|serviceId|port``: run a staged file as a service."""

    OPCODE = Opcode.START_SERVICE
    file: str
    id: str
    port: int

    @classmethod
    def parse(cls, text: str) -> StartOnWorker:
        file, service_id, port = split_fields(text, 3, 3, "filename|serviceId|port")
        return cls(check_file_name(file.strip()), parse_job_id(service_id), parse_port(port))

    def format(self) -> str:
        return f"{check_file_name(self.file)}|{check_job_id(self.id)}|{check_port(self.port, zero=True)}"


@dataclass(frozen=True)
class StartArchiveOnWorker(ClassicRequest):
    """``serviceId|entry|port|base64 zip``: unpack a project and run a file of it as a service."""

    OPCODE = Opcode.START_SERVICE_ARCHIVE
    id: str
    entry: str
    port: int
    content: bytes

    @classmethod
    def parse(cls, text: str) -> StartArchiveOnWorker:
        service_id, entry, port, content = split_fields(text, 4, 4, "serviceId|entry|port|base64 zip")
        path = check_relative_path(entry.strip(), "entry")
        return cls(parse_job_id(service_id), path, parse_port(port), parse_base64(content, "the archive"))

    def format(self) -> str:
        port = check_port(self.port, zero=True)
        return f"{check_job_id(self.id)}|{check_relative_path(self.entry)}|{port}|{format_base64(self.content)}"


@dataclass(frozen=True)
class StopOnWorker(ById):
    """A service's id."""

    OPCODE = Opcode.STOP


@dataclass(frozen=True)
class CancelOnWorker(ById):
    OPCODE = Opcode.CANCEL_JOB


@dataclass(frozen=True)
class EndWorker(Empty):
    """Any text: the worker ends."""

    OPCODE = Opcode.KILL_WORKER


TO_WORKER: Final = by_opcode(
    Ping, Stage, RunOnWorker, RunArchiveOnWorker, StartOnWorker, StartArchiveOnWorker, StopOnWorker, CancelOnWorker,
    EndWorker,
)  # fmt: skip
"""What a classic master may ask of a worker, by opcode."""
