"""The way from the master to an original worker, which listens: one thread and one queue for each worker.

The original knows neither attempts nor epochs: a job is named by its bare id, and what was sent twice would run twice.
So a RUN whose answer did not come is cancelled before the job may go elsewhere, and an end that was asked for counts
once the worker says that the job is gone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from titan_core.filesys.content_store import ContentStore
from titan_core.protocol.worker_link import next_link_id
from titan_core.scheduling.core.events import AttemptEnded, AttemptStarted, DispatchRefused, WorkerLeft
from titan_core.scheduling.core.scheduler_core import SchedulerCore
from titan_core.scheduling.scheduler import Scheduler
from titan_sdk.classic_replies import Pong, reply_text
from titan_sdk.classic_text import format_base64
from titan_sdk.connection import classic_call
from titan_sdk.errors import ConnectFailed, NotFound, ProtocolError, RemoteError, Saturated, TitanError, TransportError
from titan_sdk.messages import JobSpec, Lease, Outcome
from titan_sdk.protocol import Opcode

log = logging.getLogger(__name__)

CLASSIC_BOOT_ID: Final = "classic"
"""The original does not say when it was started anew; the core keeps its leases at every registration."""
DEFAULT_SLOTS: Final = 4
"""Of an original worker, until its first PONG says how many it has."""
CALL_S: Final = 10.0
"""For a worker to answer anything that carries no content."""
CONTENT_S: Final = 60.0
"""For a worker to take a script or a project."""
REPORT_OVERDUE_S: Final = 60.0
"""A worker that says for so long that it runs nothing will not report any more: it tries five times within 31 s."""

Task = Callable[[], None]
Key = tuple[str, Lease | None]
"""What a task is, and for which lease: asked twice, it is done once."""


class ClassicWorkerLink:
    """A WorkerLink to an original worker. What the Dispatcher asks is queued; nothing here makes it wait.

    The queue holds one entry for each lease and kind of wish, and leases are bounded by the worker's slots.

    Args:
        on_pong: called with each answer to a heartbeat.
        on_closed: called once, on this link's thread, when it will do no more.
    """

    def __init__(
        self,
        worker_id: str,
        host: str,
        port: int,
        *,
        scheduler: Scheduler,
        contents: ContentStore,
        heartbeat_s: float,
        on_pong: Callable[[ClassicWorkerLink, Pong], None],
        on_closed: Callable[[ClassicWorkerLink], None],
    ) -> None:
        self.link_id = next_link_id()
        self.worker_id = worker_id
        self.host = host
        self.port = port
        self.slots = DEFAULT_SLOTS
        self._scheduler = scheduler
        self._contents = contents
        self._heartbeat_s = heartbeat_s
        self._on_pong = on_pong
        self._on_closed = on_closed
        self._changed = threading.Condition()
        self._tasks: OrderedDict[Key, Task] = OrderedDict()
        self._unheard: dict[Key, Task] = {}
        self._sent: dict[Lease, float] = {}
        self._idle_since: float | None = None
        self._told_to_end = ""
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"link-{worker_id}", daemon=True)

    # --- asked by the Dispatcher ----------------------------------------------------------------------------------

    def dispatch(self, lease: Lease, spec: JobSpec) -> None:
        self._put(("dispatch", lease), lambda: self._dispatch(lease, spec))

    def end_attempt(self, lease: Lease, reason: str) -> None:
        self._put(("end", lease), lambda: self._end_attempt(lease, reason))

    def decommission(self, reason: str) -> None:
        self._put(("decommission", None), lambda: self._decommission(reason))

    def close(self, reason: str) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()

    @property
    def closed(self) -> bool:
        return self._closed

    # --- life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def join(self, deadline_s: float) -> bool:
        """After ``close``; False when a call to the worker still waits for its answer."""
        self._thread.join(deadline_s)
        return not self._thread.is_alive()

    def _put(self, key: Key, task: Task) -> None:
        with self._changed:
            self._tasks.setdefault(key, task)
            self._changed.notify()

    def _run(self) -> None:
        try:
            next_heartbeat = time.monotonic()
            while True:
                task = self._next_task(next_heartbeat)
                if task is None:
                    return
                key, run = task
                if key is None:
                    self._heartbeat()
                    next_heartbeat = time.monotonic() + self._heartbeat_s
                    continue
                try:
                    run()
                except TransportError as error:
                    # Asked again once the worker answers a heartbeat.
                    log.warning("worker %s: %s", self.worker_id, error)
                    self._unheard[key] = run
        except Exception:
            # Without this thread nobody would notice that the worker is served no more, but for its silence.
            log.exception("the link to worker %s failed", self.worker_id)
        finally:
            self._on_closed(self)

    def _next_task(self, heartbeat_at: float) -> tuple[Key | None, Task] | None:
        """The next task with its key; key None: a heartbeat is due. None: the link is closed."""
        with self._changed:
            while not self._closed:
                rest = heartbeat_at - time.monotonic()
                if rest <= 0:
                    return None, self._heartbeat
                if self._tasks:
                    return self._tasks.popitem(last=False)
                self._changed.wait(rest)
        return None

    # --- calls to the worker --------------------------------------------------------------------------------------

    def _call(self, opcode: Opcode, text: str, timeout: float = CALL_S) -> str:
        """The text of the worker's answer; every answer is a sign of life.

        Raises:
            TransportError: no answer. RemoteError: it said no.
        """
        try:
            reply = classic_call(self.host, self.port, opcode, text, timeout)
        except ProtocolError as error:
            raise RemoteError(f"its answer makes no sense: {error}") from None
        self._scheduler.sign_of_life(self.worker_id)
        try:
            return reply_text(opcode, reply)
        except ProtocolError as error:
            raise RemoteError(f"its answer makes no sense: {error}") from None

    def _heartbeat(self) -> None:
        try:
            pong = Pong.parse(self._call(Opcode.HEARTBEAT, ""))
        except ConnectFailed as error:
            log.info("worker %s: no heartbeat: %s", self.worker_id, error)
            self._idle_since = None
            if self._told_to_end:  # it ended before its answer was through
                self._gone(self._told_to_end)
            return
        except (TransportError, RemoteError, ProtocolError) as error:
            log.info("worker %s: no heartbeat: %s", self.worker_id, error)
            self._idle_since = None
            return
        self._on_pong(self, pong)
        self._look_for_lost_reports(pong)
        for key, task in self._unheard.items():
            self._put(key, task)
        self._unheard.clear()

    def _dispatch(self, lease: Lease, spec: JobSpec) -> None:
        if not self._current(lease):
            return
        self._sent[lease] = time.monotonic()
        try:
            self._send_job(spec)
        except (Saturated, ConnectFailed) as error:
            self._refuse(lease, str(error))
        except RemoteError as error:
            self._ended(lease, "failed", f"refused by its worker: {error}")
        except TransportError as error:
            # It may run by now. It must not when the job goes elsewhere, so it is ended first.
            log.warning("worker %s did not answer for %s: %s", self.worker_id, lease.job, error)
            self._unheard["take back", lease] = lambda: self._take_back(lease, spec)
        except OSError as error:
            self._refuse(lease, f"its content cannot be read: {error.strerror or error}")
        except TitanError as error:  # a name or size that classic cannot say
            self._ended(lease, "failed", f"a classic worker cannot run this: {error}")
        else:
            service = spec.kind == "service"
            now = time.time_ns() // 1_000_000
            self._scheduler.post(AttemptStarted(self.worker_id, lease, now, ready=service))

    def _send_job(self, spec: JobSpec) -> None:
        """Hand over the content, then the wish to run it. The core sends classic workers only what this can say."""
        content = format_base64(self._contents.path(spec.sha256).read_bytes())
        if spec.archive:
            if spec.kind == "service":
                text = f"{spec.id}|{spec.file}|{spec.port}|{content}"
                self._call(Opcode.START_SERVICE_ARCHIVE, text, CONTENT_S)
            else:
                self._call(Opcode.RUN_ARCHIVE, f"{spec.id}|{spec.file}|{content}", CONTENT_S)
            return
        try:
            self._call(Opcode.STAGE, f"{spec.file}|{content}", CONTENT_S)
        except TransportError as error:  # nothing runs yet
            raise ConnectFailed(f"the worker did not take {spec.file}: {error}") from None
        if spec.kind == "service":
            self._call(Opcode.START_SERVICE, f"{spec.file}|{spec.id}|{spec.port}")
        else:
            # The original splits the arguments at white space and knows no quotes.
            self._call(Opcode.RUN, f"{spec.id}|{spec.file}|{' '.join(spec.args)}")

    def _take_back(self, lease: Lease, spec: JobSpec) -> None:
        """Make sure that a job whose RUN was not answered does not run there; then it may go elsewhere."""
        if self._current(lease):
            self._end_on_worker(spec.id, service=spec.kind == "service")
            self._refuse(lease, "its worker did not answer")

    def _end_attempt(self, lease: Lease, reason: str) -> None:
        if not self._current(lease):
            return
        job_id = lease.job.partition("/")[2]
        self._end_on_worker(job_id, service=self._scheduler.read(lambda core: core.job_info(lease.job)).kind != "run")
        self._ended(lease, "cancelled", reason)

    def _end_on_worker(self, job_id: str, *, service: bool) -> None:
        """End the job, or find that the worker does not have it. Raises TransportError: unknown."""
        try:
            answer = self._call(Opcode.STOP if service else Opcode.CANCEL_JOB, job_id)
        except NotFound as error:
            answer = str(error)
        except RemoteError as error:
            answer = str(error)
            log.warning("worker %s was asked to end %s and answered: %s", self.worker_id, job_id, answer)
        log.info("worker %s, asked to end %s: %s", self.worker_id, job_id, answer)

    def _decommission(self, reason: str) -> None:
        """The core asks this when no job runs there any more: the original ends at once."""
        self._told_to_end = reason
        try:
            answer = self._call(Opcode.KILL_WORKER, reason)
        except RemoteError as error:
            log.warning("worker %s refused to end: %s", self.worker_id, error)
            self._told_to_end = ""
            return
        log.info("worker %s: %s", self.worker_id, answer)
        self._gone(reason)

    def _gone(self, reason: str) -> None:
        """It has ended, as it was told to."""
        self._scheduler.detach(self.worker_id, self.link_id)
        self._scheduler.post(WorkerLeft(self.worker_id, CLASSIC_BOOT_ID, reason))
        self.close(reason)

    # --- what is told of it ---------------------------------------------------------------------------------------

    def _current(self, lease: Lease) -> bool:
        return self._scheduler.read(lambda core: core.current_lease(lease.job)) == lease

    def _refuse(self, lease: Lease, reason: str) -> None:
        self._scheduler.post(DispatchRefused(self.worker_id, lease, reason))

    def _ended(self, lease: Lease, outcome: Outcome, reason: str) -> None:
        self._scheduler.post(AttemptEnded(self.worker_id, lease, outcome, reason=reason))

    def _look_for_lost_reports(self, pong: Pong) -> None:
        """Attempts that the worker no longer runs, and that it has not reported in all the time it takes to try."""
        now = time.monotonic()
        if pong.active:
            self._idle_since = None
            return
        if self._idle_since is None:
            self._idle_since = now
        leases = self._scheduler.read(lambda core: _run_leases(core, self.worker_id))
        self._sent = {lease: self._sent.get(lease, self._idle_since) for lease in leases}
        for lease, sent in self._sent.items():
            if now - max(sent, self._idle_since) > REPORT_OVERDUE_S:
                self._ended(lease, "failed", "its worker ran it no longer, and did not report how it ended")


def _run_leases(core: SchedulerCore, worker_id: str) -> list[Lease]:
    """The leases of jobs, services left out, that a worker holds."""
    for worker in core.workers():
        if worker.worker_id == worker_id:
            found = [core.current_lease(key) for key in worker.jobs if core.job_info(key).kind == "run"]
            return [lease for lease in found if lease is not None]
    return []
