"""The worker's half of a structured connection: registration, signs of life, reports, logs."""

from __future__ import annotations

import logging

from titan_core.protocol.handlers.table import HandlerTable
from titan_core.protocol.services import Done
from titan_core.protocol.services.cluster import ClusterService
from titan_core.protocol.services.log_watches import LogWatches
from titan_core.protocol.services.logs import LogService
from titan_core.protocol.trust import Endpoint
from titan_core.protocol.worker_link import StructuredWorkerLink
from titan_core.scheduling.core.events import AttemptEnded, AttemptStarted, LinkBroken, WorkerLeft, WorkerRegistered
from titan_core.scheduling.core.lifecycle import LOST
from titan_core.scheduling.scheduler import Scheduler
from titan_sdk import job_outputs
from titan_sdk.channel import Channel
from titan_sdk.errors import BadRequest, Conflict, Unavailable
from titan_sdk.messages import (
    Deregister,
    Heartbeat,
    JobReport,
    JobStarted,
    Lease,
    LogPiece,
    LogState,
    Ok,
    Register,
    Registered,
    Verdict,
)
from titan_sdk.names import check_capability, check_job_id, check_port

log = logging.getLogger(__name__)
_MAX_SLOTS = 1024


class WorkerSession:
    """One worker on one connection. Its handlers run on the connection's reading thread.

    Args:
        lease_s, heartbeat_s: told to the worker when it registers.
    """

    def __init__(
        self,
        channel: Channel,
        peer: Endpoint,
        *,
        scheduler: Scheduler,
        cluster: ClusterService,
        logs: LogService,
        log_watches: LogWatches,
        lease_s: float,
        heartbeat_s: float,
    ) -> None:
        self._channel = channel
        self._peer = peer
        self._scheduler = scheduler
        self._cluster = cluster
        self._logs = logs
        self._log_watches = log_watches
        self._lease_s = lease_s
        self._heartbeat_s = heartbeat_s
        self._link: StructuredWorkerLink | None = None
        self._boot_id = ""
        self.handlers = HandlerTable()
        self.handlers.answer_later(Register, self._register)
        self.handlers.answer(Heartbeat, self._heartbeat)
        self.handlers.answer_later(JobStarted, self._started)
        self.handlers.answer_later(JobReport, self._report)
        self.handlers.answer(LogPiece, self._log)
        self.handlers.answer_later(Deregister, self._deregister)

    def sign_of_life(self) -> None:
        """A frame came in, whatever it is."""
        if self._link is not None:
            self._scheduler.sign_of_life(self._link.worker_id)

    def ended(self, reason: str) -> None:
        """The connection is gone."""
        if self._link is not None:
            self._scheduler.detach(self._link.worker_id, self._link.link_id)
            self._scheduler.post(LinkBroken(self._link.worker_id, self._link.link_id, reason))
            self._cluster.forget(self._link.worker_id, self._link.link_id)
            self._log_watches.left(self._channel)

    # --- requests -------------------------------------------------------------------------------------------------

    def _register(self, request: Register, done: Done[Registered]) -> None:
        if self._link is not None:
            raise Conflict("this connection has registered a worker already")
        _check(request)
        link = StructuredWorkerLink(request.worker_id, self._channel, self._scheduler)
        self._link = link
        self._boot_id = request.boot_id

        def registered(stale: tuple[Lease, ...] | Exception) -> None:
            if isinstance(stale, Exception):
                done(stale)
                return
            log.info("worker %s at %s:%d is registered", request.worker_id, host, request.port)
            done(
                Registered(
                    worker_id=request.worker_id,
                    lease_s=self._lease_s,
                    heartbeat_s=self._heartbeat_s,
                    stale=list(stale),
                )
            )
            self._log_watches.joined(self._channel)

        host = request.host or self._peer.address
        self._cluster.heartbeat(request.worker_id, link.link_id, Heartbeat(memory_free=request.memory_free))
        self._scheduler.attach(request.worker_id, link)
        self._scheduler.post(
            WorkerRegistered(
                worker_id=request.worker_id,
                boot_id=request.boot_id,
                link=link.link_id,
                host=host,
                port=request.port,
                capabilities=frozenset(request.capabilities),
                slots=request.slots,
                permanent=request.permanent,
                holding=tuple(request.holding),
                cpus=request.cpus,
                memory=request.memory,
                gpus=request.gpus,
                machine=request.machine,
                cores=request.cores,
                limits=request.limits,
                job=request.job,
            ),
            registered,
        )

    def _heartbeat(self, request: Heartbeat) -> Ok:
        link = self._registered_link()
        self._cluster.heartbeat(link.worker_id, link.link_id, request)
        if self._channel.unanswered_s > self._lease_s:
            # It registers again, and says then whether it has what it was sent.
            self._channel.close(f"the worker has left a request unanswered for {self._channel.unanswered_s:.0f} s")
        return Ok()

    def _started(self, request: JobStarted, done: Done[Verdict]) -> None:
        check_port(request.port, zero=True)
        told = (request.started_at, request.ready, request.port, request.trouble)
        event = AttemptStarted(self._worker_id(), request.lease, *told)
        self._scheduler.post(event, _verdict(done))

    def _report(self, request: JobReport, done: Done[Verdict]) -> None:
        """The end of the log first: who sees the job ended finds its log complete."""
        worker_id = self._worker_id()
        lease = request.lease
        job_outputs.check(request.outputs)
        kind = self._kind(lease) if request.log_tail else ""
        if kind:
            received = self._keep(lease, kind, request.log_offset, request.log_tail)
            if received < request.log_offset + len(request.log_tail):
                log.warning("the log of %s attempt %d lacks what follows byte %d", lease.job, lease.attempt, received)
        event = AttemptEnded(
            worker_id=worker_id,
            lease=lease,
            outcome=LOST if request.lost else request.outcome,
            exit_code=request.exit_code,
            reason=request.reason,
            started_at=request.started_at,
            ended_at=request.ended_at,
            log_size=request.log_size,
            outputs=request.outputs,
        )
        self._scheduler.post(event, _verdict(done))

    def _log(self, request: LogPiece) -> LogState:
        self._worker_id()
        kind = self._kind(request.lease)
        if not kind:
            return LogState(received=0, stale=True)
        return LogState(received=self._keep(request.lease, kind, request.offset, request.data, gap=request.gap))

    def _deregister(self, request: Deregister, done: Done[Ok]) -> None:
        def left(answer: object) -> None:
            done(answer if isinstance(answer, Exception) else Ok())

        reason = request.reason or "the worker left"
        self._scheduler.post(WorkerLeft(self._worker_id(), self._boot_id, reason), left)

    # --- parts ----------------------------------------------------------------------------------------------------

    def _registered_link(self) -> StructuredWorkerLink:
        if self._link is None:
            raise BadRequest("register first")
        return self._link

    def _worker_id(self) -> str:
        return self._registered_link().worker_id

    def _kind(self, lease: Lease) -> str:
        """The job's kind when the lease is its current one; only then its key, from the network, may become a path."""
        return self._scheduler.read(lambda core: core.kind_of(lease))

    def _keep(self, lease: Lease, kind: str, offset: int, data: bytes, *, gap: bool = False) -> int:
        if offset < 0:
            raise BadRequest(f"log offset {offset} is negative")
        try:
            rotates = kind == "service"
            return self._logs.append(lease.job, lease.attempt, offset, data, rotates=rotates, gap=gap)
        except OSError as error:
            raise Unavailable(f"the master cannot keep logs now: {error.strerror or error}") from None


def _verdict(done: Done[Verdict]) -> Done[bool]:
    def answered(stale: bool | Exception) -> None:
        done(stale if isinstance(stale, Exception) else Verdict(stale=stale))

    return answered


def _check(request: Register) -> None:
    check_job_id(request.worker_id, "worker id")
    check_job_id(request.boot_id, "boot id")
    check_port(request.port)
    for capability in request.capabilities:
        check_capability(capability)
    if not 1 <= request.slots <= _MAX_SLOTS:
        raise BadRequest(f"{request.slots} slots are not from 1 to {_MAX_SLOTS}")
    for name in (request.host, request.machine):
        if len(name) > 255 or not (name.isprintable() or not name):
            raise BadRequest("the host is no name or address")
    if not (0 <= request.cpus < 1e6 and request.memory >= 0 and request.gpus >= 0 and request.cores >= 0):
        raise BadRequest("a worker cannot have less than nothing")
    if len(request.limits) > 16 or not all(len(text) < 256 and text.isprintable() for text in request.limits):
        raise BadRequest("the limits are not a few short texts")
