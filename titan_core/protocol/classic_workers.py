"""Original workers: their registrations, and what they call back with, matched to the attempts it is about."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from titan_core.filesys.content_store import ContentStore
from titan_core.protocol.classic_worker_link import CLASSIC_BOOT_ID, ClassicWorkerLink
from titan_core.protocol.handlers.table import ANSWER_TIMEOUT_S, ClassicPeer, HandlerTable
from titan_core.protocol.services.logs import LogService
from titan_core.protocol.trust import Endpoint
from titan_core.scheduling.core.events import AttemptEnded, LinkBroken, WorkerRegistered
from titan_core.scheduling.core.scheduler_core import SchedulerCore
from titan_core.scheduling.scheduler import Scheduler
from titan_sdk import classic_replies as replies
from titan_sdk import classic_to_master as classic
from titan_sdk.classic_replies import Pong
from titan_sdk.errors import Unavailable
from titan_sdk.messages import Lease

log = logging.getLogger(__name__)

MAX_WORKERS: Final = 500
"""Original workers at once; each has a thread here."""
_ID_PREFIX: Final = "classic-"
_LOG_LOCKS: Final = 64
"""Shared by hash of the job's id."""
_RECENT: Final = 256
"""Attempts that ended lately and may still get lines: the original's log batches do not wait for one another."""


@dataclass
class _Registration:
    """What the core is to be told of a worker, gathered from its registrations."""

    link: ClassicWorkerLink
    capabilities: frozenset[str]
    permanent: bool


@dataclass
class _Matched:
    """A job that an original worker reports on. ``sealed``: its log is complete, further lines are repetitions."""

    worker_id: str
    host: str
    lease: Lease
    kind: str
    sealed: bool = False


class ClassicWorkers:
    """Serves what original workers send, and keeps their links.

    They carry no attempts: a report counts for the current attempt of the job of that id, if that runs on an original
    worker at the address that the report came from. Everything else is answered and changes nothing.
    """

    def __init__(self, scheduler: Scheduler, contents: ContentStore, logs: LogService, heartbeat_s: float) -> None:
        self._scheduler = scheduler
        self._contents = contents
        self._logs = logs
        self._heartbeat_s = heartbeat_s
        self._lock = threading.Lock()
        self._registrations: dict[str, _Registration] = {}
        self._recent: OrderedDict[str, _Matched] = OrderedDict()
        # A job's lines and its result come on connections of their own, at the same time: the log takes one of them.
        self._log_locks = [threading.Lock() for _ in range(_LOG_LOCKS)]
        self._stopping = False

    def install(self, table: HandlerTable) -> None:
        table.classic(classic.Register, self._register)
        table.classic(classic.JobComplete, self._job_complete)
        table.classic(classic.UnregisterService, self._unregister_service)
        table.classic(classic.LogStream, self._log_stream)
        table.classic(classic.LogBatch, self._log_batch)

    def stop(self) -> None:
        """No further calls to workers, but those under way. What runs there goes on, for the next master."""
        with self._lock:
            self._stopping = True
            links = [registration.link for registration in self._registrations.values()]
        for link in links:
            link.close("the master stops")

    def join(self, deadline_s: float) -> None:
        """After ``stop``: wait for the links' threads."""
        with self._lock:
            links = [registration.link for registration in self._registrations.values()]
        for link in links:
            link.join(deadline_s / len(links))

    # --- registration ---------------------------------------------------------------------------------------------

    def _register(self, request: classic.Register, peer: ClassicPeer) -> str:
        """Sent again every 30 s, and once more for each capability.

        Only what is news reaches the core, where a registration counts as a sign of life: the thread that registers
        says nothing about the one that should answer heartbeats.
        """
        worker_id = f"{_ID_PREFIX}{peer.endpoint.address}-{request.port}"
        with self._lock:
            if self._stopping:
                raise Unavailable("the master is shutting down")
            registration = self._registrations.get(worker_id)
            if registration is None or registration.link.closed:
                if len(self._registrations) >= MAX_WORKERS:
                    raise Unavailable(f"{MAX_WORKERS} original workers are registered, as many as the master serves")
                link = self._new_link(worker_id, peer.endpoint, request.port)
                registration = _Registration(link, frozenset(), False)
                self._registrations[worker_id] = registration
                self._scheduler.attach(worker_id, link)
                link.start()
                log.info("original worker %s is registered", worker_id)
            before = _registered(registration)
            registration.capabilities |= frozenset(request.capabilities)
            registration.permanent |= request.permanent
            event = _registered(registration)
        if event == before and self._scheduler.read(lambda core: _is_connected(core, worker_id)):
            return replies.REGISTERED
        self._scheduler.call(event, ANSWER_TIMEOUT_S)
        return replies.REGISTERED

    def _new_link(self, worker_id: str, endpoint: Endpoint, port: int) -> ClassicWorkerLink:
        return ClassicWorkerLink(
            worker_id,
            endpoint.address,
            port,
            scheduler=self._scheduler,
            contents=self._contents,
            heartbeat_s=self._heartbeat_s,
            on_pong=self._pong,
            on_closed=self._link_closed,
        )

    def _pong(self, link: ClassicWorkerLink, pong: Pong) -> None:
        """The worker says how many slots it has; the core is told when that is news."""
        if not pong.slots or pong.slots == link.slots:
            return
        link.slots = pong.slots
        with self._lock:
            registration = self._registrations.get(link.worker_id)
            if registration is None or registration.link is not link:
                return
            event = _registered(registration)
        self._scheduler.post(event)

    def _link_closed(self, link: ClassicWorkerLink) -> None:
        """It was declared dead, or has left; when it registers again, it gets a new link."""
        with self._lock:
            registration = self._registrations.get(link.worker_id)
            if registration is not None and registration.link is link:
                del self._registrations[link.worker_id]
        self._scheduler.detach(link.worker_id, link.link_id)
        self._scheduler.post(LinkBroken(link.worker_id, link.link_id, "the link was closed"))

    # --- reports --------------------------------------------------------------------------------------------------

    def _job_complete(self, request: classic.JobComplete, peer: ClassicPeer) -> str:
        matched = self._match(request.id, peer)
        if matched is None:
            log.info("a stale report on %s of %s was ignored", request.id, peer.endpoint.address)
            return replies.CALLBACK
        lease = matched.lease
        with self._log_lock(request.id):
            if request.output and not self._logs.size(lease.job, lease.attempt):
                # No line came before: then the result holds all that was printed.
                self._logs.extend(lease.job, lease.attempt, request.output.encode() + b"\n")
                matched.sealed = True
            self._remember(request.id, matched)
        exit_code = request.exit_code
        if exit_code is None and request.completed:
            exit_code = 0
        event = AttemptEnded(
            matched.worker_id,
            lease,
            "completed" if request.completed else "failed",
            exit_code,
            # What is not the usual result is why there is none.
            reason="" if request.completed or request.exit_code is not None else request.output[:1000],
            log_size=self._logs.size(lease.job, lease.attempt),
        )
        self._scheduler.call(event, ANSWER_TIMEOUT_S)
        return replies.CALLBACK

    def _unregister_service(self, request: classic.UnregisterService, peer: ClassicPeer) -> str:
        """A service has ended by itself, or because that was asked for."""
        matched = self._match(request.id, peer)
        if matched is not None and matched.kind == "service":
            event = AttemptEnded(matched.worker_id, matched.lease, "failed", reason="the service ended")
            self._scheduler.call(event, ANSWER_TIMEOUT_S)
        return replies.UNREGISTERED

    # --- logs -----------------------------------------------------------------------------------------------------

    def _log_stream(self, request: classic.LogStream, peer: ClassicPeer) -> str:
        self._take_lines(request.id, request.text, peer)
        return replies.LOG_TAKEN

    def _log_batch(self, request: classic.LogBatch, peer: ClassicPeer) -> str:
        self._take_lines(request.id, request.text, peer)
        return replies.BATCH_TAKEN

    def _take_lines(self, job_id: str, text: str, peer: ClassicPeer) -> None:
        with self._log_lock(job_id):
            matched = self._match(job_id, peer)
            with self._lock:
                recent = self._recent.get(job_id)
            if matched is None and recent is not None and _same_host(recent.host, peer.endpoint.address):
                matched = recent
            if matched is None:
                log.debug("lines for %s, which runs on no original worker there, were dropped", job_id)
            elif recent is None or recent.lease != matched.lease or not recent.sealed:
                self._logs.extend(matched.lease.job, matched.lease.attempt, text.encode() + b"\n")

    def _log_lock(self, job_id: str) -> threading.Lock:
        return self._log_locks[hash(job_id) % _LOG_LOCKS]

    def _remember(self, job_id: str, matched: _Matched) -> None:
        with self._lock:
            self._recent[job_id] = matched
            self._recent.move_to_end(job_id)
            while len(self._recent) > _RECENT:
                self._recent.popitem(last=False)

    def _match(self, job_id: str, peer: ClassicPeer) -> _Matched | None:
        """The attempt that a report from there can be about; None when there is none (any more)."""
        return self._scheduler.read(lambda core: _find_attempt(core, job_id, peer.endpoint.address))


def _registered(registration: _Registration) -> WorkerRegistered:
    link = registration.link
    return WorkerRegistered(
        worker_id=link.worker_id,
        boot_id=CLASSIC_BOOT_ID,
        link=link.link_id,
        host=link.host,
        port=link.port,
        capabilities=registration.capabilities,
        slots=link.slots,
        permanent=registration.permanent,
        classic=True,
        holding=None,
    )


def _is_connected(core: SchedulerCore, worker_id: str) -> bool:
    return any(worker.worker_id == worker_id and worker.state in ("alive", "draining") for worker in core.workers())


def _find_attempt(core: SchedulerCore, job_id: str, address: str) -> _Matched | None:
    key = core.find_key(job_id)
    lease = core.current_lease(key) if key else None
    if key is None or lease is None:
        return None
    for worker in core.workers():
        # By its id, as after a restart of the master nothing else says yet that it is an original.
        if key in worker.jobs and worker.worker_id.startswith(_ID_PREFIX) and _same_host(worker.host, address):
            return _Matched(worker.worker_id, worker.host, lease, core.job_info(key).kind)
    return None


def _same_host(one: str, other: str) -> bool:
    """Whether two addresses are one machine's, as far as can be told."""
    try:
        return one == other or (Endpoint(one, 0).loopback and Endpoint(other, 0).loopback)
    except ValueError:  # a name
        return False
