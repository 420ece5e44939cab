"""The worker's own port: serves classic masters, which connect to their workers (PROTOCOL.md section 5)."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from titan_core.filesys.atomic import replacing
from titan_core.filesys.content_store import ContentStore
from titan_core.protocol.classic_jobs import ClassicJobs
from titan_core.protocol.scheduler_server import SchedulerServer, ServerLimits
from titan_core.protocol.trust import Endpoint, Owner, PeerTrust
from titan_sdk import classic_replies as replies
from titan_sdk.classic import parse_to_worker
from titan_sdk.classic_jobs import WORKER_FILES
from titan_sdk.classic_request import ClassicRequest
from titan_sdk.classic_to_worker import (
    CancelOnWorker,
    EndWorker,
    Ping,
    RunArchiveOnWorker,
    RunOnWorker,
    Stage,
    StartArchiveOnWorker,
    StartOnWorker,
    StopOnWorker,
)
from titan_sdk.connection import read_frame
from titan_sdk.errors import NotFound, ProtocolError, TitanError, TransportError
from titan_sdk.messages import JobSpec
from titan_sdk.protocol import Frame, FrameDecoder, encode_frame

log = logging.getLogger(__name__)

MAX_CONNECTIONS: Final = 64
"""A worker has one master, which opens a few connections at a time."""
FRAME_S: Final = 60.0
"""For a frame to arrive in whole, and for the master to take a reply."""
IDLE_S: Final = 3600.0
"""Silence between two frames after which a connection is given up; the original may keep one open."""
ARCHIVE_NAME: Final = "project.zip"


class RpcWorkerServer(SchedulerServer):
    """Listens for classic masters; each connection is served, frame after frame, until its end.

    The constructor binds (and raises OSError when it cannot); nobody is served before ``start``.

    Args:
        staged: folder of the files that a master sent for a RUN to come.
        on_kill: called when a master tells the worker to end; must not block.
    """

    def __init__(self, address: tuple[str, int], *, trust: PeerTrust) -> None:
        super().__init__(address, self._converse, ServerLimits(connections=MAX_CONNECTIONS))
        self._trust = trust
        self._commands: ClassicCommands | None = None

    def serve_with(self, commands: ClassicCommands) -> None:
        """Start serving."""
        self._commands = commands
        self.start()

    def _converse(self, sock: socket.socket, address: tuple[Any, ...]) -> None:
        assert self._commands is not None, "started without serve_with"
        peer = Endpoint.of(address)
        trusted = self._trust.owner(Endpoint.of(sock.getsockname()), peer) is Owner.TRUSTED
        decoder = FrameDecoder()
        while _more_comes(sock, decoder):
            try:
                frame = read_frame(sock, decoder, FRAME_S)
            except (ProtocolError, TransportError) as error:
                log.warning("%s:%d: %s", peer.address, peer.port, error)
                _send(sock, replies.error_frame(error))
                return
            if frame is None:
                return
            if not trusted:
                log.warning("refused classic 0x%02x of %s", frame.opcode, peer.address)
                _send(sock, replies.error_frame("ERROR UNAUTHORIZED: a worker serves this user's masters alone"))
                return
            self.spoke(sock)
            _send(sock, self._commands.answer(frame))


class ClassicCommands:
    """Carries out what a classic master asks for.

    Args:
        staged: folder of the files that a master sent for a RUN to come.
        on_kill: called when a master tells the worker to end; must not block.
    """

    def __init__(self, jobs: ClassicJobs, contents: ContentStore, staged: Path, on_kill: Callable[[str], None]) -> None:
        self._jobs = jobs
        self._contents = contents
        self._staged = staged
        self._on_kill = on_kill

    def answer(self, frame: Frame) -> Frame:
        """The reply to a request; what goes wrong is a reply too."""
        if frame.structured:
            return replies.error_frame("ERROR a worker's port serves classic masters only")
        try:
            return replies.ok_frame(self._carry_out(parse_to_worker(frame.opcode, frame.payload)))
        except TitanError as error:
            return replies.error_frame(error)
        except OSError as error:
            log.exception("classic 0x%02x failed", frame.opcode)
            return replies.error_frame(f"ERROR the worker cannot do this now: {error.strerror or error}")
        except Exception as error:
            log.exception("classic 0x%02x failed", frame.opcode)
            return replies.error_frame(error)

    def _carry_out(self, request: ClassicRequest) -> str:
        jobs = self._jobs
        if isinstance(request, Ping):
            return replies.Pong(jobs.runner.busy, jobs.runner.slots).format()
        if isinstance(request, Stage):
            return self._stage(request)
        if isinstance(request, RunOnWorker):
            jobs.start(self._staged_job(request.id, request.file, args=request.args))
            return replies.JOB_ACCEPTED
        if isinstance(request, RunArchiveOnWorker):
            jobs.start(self._project_job(request.id, request.entry, request.content))
            return replies.JOB_ACCEPTED
        if isinstance(request, StartOnWorker):
            return self._start_service(self._service(request))
        if isinstance(request, StartArchiveOnWorker):
            project = self._project_job(request.id, request.entry, request.content, kind="service", port=request.port)
            return self._start_service(project)
        if isinstance(request, StopOnWorker):
            stopped = jobs.end(request.id, "stopped on request", wait=True)
            return replies.format_stopped(request.id) if stopped else replies.format_unknown_service(request.id)
        if isinstance(request, CancelOnWorker):
            return replies.KILLED if jobs.end(request.id, "cancelled on request", wait=False) else replies.NOT_FOUND
        assert isinstance(request, EndWorker), request
        self._on_kill("a classic master told this worker to end")
        return replies.format_success("the worker ends")

    def _stage(self, request: Stage) -> str:
        self._staged.mkdir(parents=True, exist_ok=True)
        target = self._staged / request.name
        with replacing(target) as file:
            file.write(request.content)
        return replies.format_file_saved(str(target))

    def _start_service(self, spec: JobSpec) -> str:
        return replies.ServiceStarted(spec.id, self._jobs.start_service(spec)).format()

    def _service(self, request: StartOnWorker) -> JobSpec:
        if request.file in WORKER_FILES:
            return JobSpec(id=request.id, file=request.file, kind="worker", port=request.port)
        return self._staged_job(request.id, request.file, kind="service", port=request.port)

    def _staged_job(self, job_id: str, file: str, **fields: Any) -> JobSpec:
        path = self._staged / file
        try:
            sha256 = self._contents.put_file(path)
        except FileNotFoundError:
            raise NotFound(f"no file {file} was staged here") from None
        return JobSpec(id=job_id, file=file, sha256=sha256, size=self._contents.size(sha256), **fields)

    def _project_job(self, job_id: str, entry: str, content: bytes, **fields: Any) -> JobSpec:
        sha256 = self._contents.put_bytes(content)
        return JobSpec(id=job_id, file=entry, sha256=sha256, size=len(content), archive=ARCHIVE_NAME, **fields)


def _more_comes(sock: socket.socket, decoder: FrameDecoder) -> bool:
    """Wait for the next frame's first byte; False at the end of the connection, or after IDLE_S of silence."""
    if decoder.pending:
        return True
    sock.settimeout(IDLE_S)
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except OSError:
        return False


def _send(sock: socket.socket, frame: Frame) -> None:
    """A master that did not wait for its reply has done nothing wrong."""
    sock.settimeout(FRAME_S)
    with suppress(OSError):
        sock.sendall(encode_frame(frame))
