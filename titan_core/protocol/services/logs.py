"""Job output as it arrives: kept by offset, read from any place, followed without holding a thread."""

from __future__ import annotations

import threading
import time

from titan_core.filesys.log_store import LogStore, Rotation
from titan_core.protocol.services import Done
from titan_core.protocol.services.jobs import MAX_WAIT_S, JobService
from titan_core.scheduling.scheduler import Scheduler
from titan_sdk.errors import TitanError
from titan_sdk.messages import CHUNK_BYTES, FINAL_STATES, GetLogs, JobInfo, LogChunk


class LogService:
    """The master's logs. Any thread may call."""

    def __init__(self, scheduler: Scheduler, jobs: JobService, store: LogStore, rotation: Rotation) -> None:
        self._scheduler = scheduler
        self._jobs = jobs
        self._store = store
        self._rotation = rotation
        self._lock = threading.Lock()
        self._followers: dict[str, set[_Follower]] = {}

    # --- writing: for the links to workers ------------------------------------------------------------------------

    def append(
        self, key: str, attempt: int, offset: int, data: bytes, *, rotates: bool = False, gap: bool = False
    ) -> int:
        """Bytes of a log from ``offset``; where the master's copy ends now: before ``offset`` when there is a gap.

        A log that ``rotates``, a service's, may have a ``gap``.
        """
        rotation = self._rotation if rotates else None
        received = self._store.append(key, attempt, offset, data, rotation=rotation, gap=gap and rotates)
        self._grown(key)
        return received

    def extend(self, key: str, attempt: int, data: bytes) -> None:
        """More of a log, from a peer that knows no offsets."""
        self._store.extend(key, attempt, data)
        self._grown(key)

    def size(self, key: str, attempt: int) -> int:
        return self._store.size(key, attempt)

    def _grown(self, key: str) -> None:
        if key not in self._followers:  # a lookup without the lock: a follower that comes now looks by itself first
            return
        with self._lock:
            followers = list(self._followers.get(key, ()))
        for follower in followers:
            follower.look()

    # --- reading --------------------------------------------------------------------------------------------------

    def read(self, request: GetLogs, done: Done[LogChunk]) -> None:
        """Answer with what there is at the offset; wait for it when the request says so."""
        job = self._jobs.find(request.id)
        chunk = self._chunk(job, request)
        if chunk.data or chunk.finished or not request.wait_s > 0:
            done(chunk)
            return
        until = time.monotonic() + min(request.wait_s, MAX_WAIT_S)
        request = GetLogs(id=job.key, offset=chunk.offset, attempt=request.attempt)
        _Follower(self, job.run_id, request, until, done).start()

    def tail(self, name: str, limit: int) -> bytes:
        """At most ``limit`` bytes of the end of the latest attempt's log.

        Empty when there is no such job, or it has not printed anything.
        """
        try:
            job = self._jobs.find(name)
        except TitanError:
            return b""
        if not job.attempt:
            return b""
        rotates = job.kind == "service"
        size = self._store.size(job.key, job.attempt, rotates=rotates)
        offset = max(0, size - limit)
        if rotates:
            offset = max(offset, self._store.first(job.key, job.attempt))
        data = b""
        while offset + len(data) < size and (
            piece := self._store.read(job.key, job.attempt, offset + len(data), limit - len(data), rotates=rotates)
        ):
            data += piece
        return data

    def _chunk(self, job: JobInfo, request: GetLogs) -> LogChunk:
        """What can be said at once."""
        attempt = request.attempt or job.attempt
        # An attempt yet to come is not over, unless the job is.
        ended = 0 < attempt < job.attempt or (0 < attempt == job.attempt and job.state != "RUNNING")
        finished = ended or job.state in FINAL_STATES
        # The size is taken after the state: when the attempt had ended, its log had come in full before.
        rotates = job.kind == "service"
        size = self._store.size(job.key, attempt, rotates=rotates) if attempt > 0 else 0
        offset = request.offset if request.offset >= 0 else max(0, size + request.offset)
        if rotates and attempt > 0:
            offset = max(offset, self._store.first(job.key, attempt))
        data = self._store.read(job.key, attempt, offset, CHUNK_BYTES, rotates=rotates) if offset < size else b""
        return LogChunk(attempt=attempt, offset=offset, data=data, size=size, finished=finished)

    def _follow(self, follower: _Follower) -> None:
        with self._lock:
            self._followers.setdefault(follower.key, set()).add(follower)

    def _forget(self, follower: _Follower) -> None:
        with self._lock:
            followers = self._followers.get(follower.key, set())
            followers.discard(follower)
            if not followers:
                self._followers.pop(follower.key, None)


class _Follower:
    """One GetLogs that waits for more output, for the attempt's end, or for its time to be over.

    It holds no thread: it looks when output comes in, and when the run changes or the time is over.
    """

    def __init__(self, logs: LogService, run_id: str, request: GetLogs, until: float, done: Done[LogChunk]) -> None:
        self.key = request.id
        self._logs = logs
        self._run_id = run_id
        self._request = request
        self._until = until
        self._done = done
        self._lock = threading.Lock()
        self._answered = False

    def start(self) -> None:
        self._logs._follow(self)
        self.wait()

    def look(self) -> bool:
        """Answer if there is something to say by now; whether it has been answered."""
        if self._answered:
            return True
        answer: LogChunk | Exception
        try:
            answer = self._logs._chunk(self._logs._jobs.find(self.key), self._request)
            if not answer.data and not answer.finished and time.monotonic() < self._until:
                return False
        except Exception as error:
            answer = error
        self._answer(answer)
        return True

    def wait(self) -> None:
        """Look, and again whenever the run changes until the time is over."""
        version = self._logs._jobs.version(self._run_id)
        if self.look():
            return
        rest = max(0.0, self._until - time.monotonic())
        try:
            self._logs._scheduler.watch(self._run_id, -1 if version is None else version, rest, self.wait)
        except TitanError as error:
            if not self.look():  # it may have left memory just now, finished
                self._answer(error)

    def _answer(self, answer: LogChunk | Exception) -> None:
        with self._lock:
            if self._answered:
                return
            self._answered = True
        self._logs._forget(self)
        self._done(answer)
