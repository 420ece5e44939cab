"""TitanClient: a program's way to a cluster."""

from __future__ import annotations

import logging
import os
import threading
import uuid
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from titan_sdk.approving import decide
from titan_sdk.archive import zip_folder
from titan_sdk.connection import CALL_TIMEOUT_S, ConnectionPool
from titan_sdk.handles import JobHandle, RunHandle
from titan_sdk.job import TitanJob
from titan_sdk.kv import KeyValues, as_bytes
from titan_sdk.log_reader import LogReader
from titan_sdk.messages import (
    Accepted,
    ApprovalInfo,
    CancelJob,
    EventList,
    FetchContent,
    GetStats,
    GetStatsJson,
    JobInfo,
    KvAdded,
    KvGet,
    KvSadd,
    KvSet,
    ListApprovals,
    ListEvents,
    ListJobs,
    ListServices,
    ListWorkers,
    RunOptions,
    ServiceInfo,
    Stop,
    SubmitRun,
    WorkerInfo,
)
from titan_sdk.names import check_file_name, check_port
from titan_sdk.progress_bar import showing
from titan_sdk.repair_diff import repair_diff
from titan_sdk.services import ServiceHandle
from titan_sdk.settings import client_settings
from titan_sdk.sources import archive_name
from titan_sdk.steady import SteadyCaller
from titan_sdk.submission import Submission
from titan_sdk.uploads import Content, Progress, Uploader, content_of_file, content_of_path

if TYPE_CHECKING:
    from titan_sdk.tasks import Task, TaskHandle

log = logging.getLogger(__name__)

R = TypeVar("R")


class TitanClient:
    """A cluster, as its users see it. Connects when first needed, and again when the master was away. Thread-safe.

    Inside a job, ``TitanClient()`` finds the cluster that the job runs on; what it submits prefers the job's worker.

    Args:
        host: of the master; TITAN_HOST, or 127.0.0.1, by default.
        port: of the master; TITAN_PORT, or 9090, by default.
        token: the cluster's secret; TITAN_TOKEN, or the file ``token`` in TITAN_HOME, by default.
        timeout: seconds that one request may take.

    What every method may raise:
        ConnectFailed: no master there; nothing was done.
        ConnectionLost, DeadlineExceeded: no answer within ``timeout``; whether it was done is unknown.
        RemoteError: the master said no; its sub-classes (NotFound, Conflict, Unauthorized, ...) say why.
    """

    def __init__(
        self,
        host: str | None = None,
        port: int | None = None,
        *,
        token: str | None = None,
        timeout: float = CALL_TIMEOUT_S,
    ) -> None:
        # A token that is given makes it no matter what the token file is like.
        settings = client_settings(None if token is None else {**os.environ, "TITAN_TOKEN": token})
        self.host = host or settings.host
        self.port = settings.port if port is None else check_port(port)
        self.timeout = timeout
        self._token = token
        self._caller = SteadyCaller(self.host, self.port, token=token, timeout=timeout)
        self._kv = KeyValues(self._caller)
        self._lock = threading.Lock()
        self._uploader: Uploader | None = None
        self._uploads_to = ""
        self._parent = ""
        if (self.host, self.port) == (settings.host, settings.port):
            self._parent = _submitting_job()

    def __repr__(self) -> str:
        return f"TitanClient({self.host!r}, {self.port})"

    def __enter__(self) -> TitanClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. Calls of other threads fail with ConnectionLost, and so does every later one."""
        self._caller.close()

    # --- submitting -----------------------------------------------------------------------------------------------

    def submit_job(
        self, job: TitanJob, *, idempotency_key: str | None = None, progress: Progress | bool | None = None
    ) -> JobHandle:
        """Submit one job; it is a run of its own. Arguments and errors are those of ``submit_dag``."""
        run = self.submit_dag(job.job_id, [job], idempotency_key=idempotency_key, progress=progress)
        return run.job(job.job_id)

    def deploy(
        self, job: TitanJob, *, idempotency_key: str | None = None, progress: Progress | bool | None = None
    ) -> ServiceHandle:
        """Submit a service, in place of the one of that id if one is active.

        The master sees to it, whatever becomes of this program: the new version is started beside the old one, which
        is stopped once the new one is ready, and stays when it never is. Replicas follow, one after the other.
        ``wait`` on the handle tells: it raises JobFailed with the reason when the old version stays. Arguments and
        other errors are those of ``submit_dag``.

        Raises:
            Conflict: it cannot be replaced, as when both want the same port of the only machine.
        """
        run = self.submit_dag(job.job_id, [job], idempotency_key=idempotency_key, progress=progress, replace=True)
        return ServiceHandle(self._caller, run.job(job.job_id).key)

    def submit_dag(
        self,
        name: str,
        jobs: Iterable[TitanJob],
        *,
        idempotency_key: str | None = None,
        progress: Progress | bool | None = None,
        replace: bool = False,
        options: RunOptions | None = None,
    ) -> RunHandle:
        """Submit jobs that are linked by their parents: all of them are accepted, durably, or none.

        Args:
            name: of the run, for people.
            idempotency_key: submitting the same jobs under the same key again gives the run that was made before. There
                is always one, made up when none is given, so that a submission whose answer was lost is sent again.
            progress: called with the bytes uploaded and the bytes to upload; True draws a bar on a terminal.
            replace: services of these ids that are active are replaced, see ``deploy``.
            options: of the run as a whole: parameters, the agent run that it belongs to.

        Raises:
            PipelineError: what is wrong with the jobs (files, ids, parents, cycles), all of it; nothing was submitted.
            SubmissionRefused: the master found something wrong; ``problems`` says what.
            Conflict: an id is still active, or the key was used for other jobs.
        """
        with Submission(list(jobs), self._caller) as submission:
            submission.prepare(name)
            with showing(progress, name) as report:
                self._uploads().stage(submission.contents, report)
            request = SubmitRun(
                name=name,
                jobs=submission.specs,
                idempotency_key=f"sdk-{uuid.uuid4()}" if idempotency_key is None else idempotency_key,
                parent=self._parent,
                replace=replace,
                options=options,
            )
        accepted: Accepted = self._caller.call(request)
        log.info("run %s (%s) with %d jobs was accepted", accepted.run_id, name, len(accepted.jobs))
        return RunHandle(self._caller, accepted.run_id, accepted.jobs)

    @overload
    def map(
        self, what: str | os.PathLike[str], items: Iterable[Any], *, name: str = "", **options: Any
    ) -> list[JobHandle]: ...

    @overload
    def map(
        self, what: Callable[[Any], R] | Task[R], items: Iterable[Any], *, name: str = "", **options: Any
    ) -> list[TaskHandle[R]]: ...

    def map(self, what: Any, items: Iterable[Any], *, name: str = "", **options: Any) -> Any:
        """One job for each item, all of them one run; their handles in the order of the items.

        Args:
            what: the path of a script, whose argument an item is (or arguments, if it is a list or tuple); or a
                function or task, which is called with it.
            name: of the run, and of a script's jobs, which are ``name-0``, ``name-1`` ...
            options: of each job, as those of TitanJob; for a function those of ``titan_sdk.task``.

        Raises:
            As ``submit_dag``; for functions as ``titan_sdk.submit``.
        """
        if callable(what):
            from titan_sdk.tasks import Task, task

            function = what if isinstance(what, Task) else task(client=self)(what)
            return function.options(client=self, **options).map(items, name=name)
        stem = name or Path(what).stem
        args = [item if isinstance(item, (list, tuple)) else [item] for item in items]
        if not args:
            return []
        jobs = [TitanJob(f"{stem}-{number}", what, args=each, **options) for number, each in enumerate(args)]
        return self.submit_dag(stem, jobs).jobs()

    # --- looking --------------------------------------------------------------------------------------------------

    def job(self, job_id: str) -> JobHandle:
        """A handle for a job, by its key ``run/job`` or by its id (then of its latest run). Asks nothing yet."""
        return JobHandle(self._caller, job_id)

    def service(self, name: str) -> ServiceHandle:
        """A handle for a service, by its id (then of its current version) or its key. Asks nothing yet."""
        return ServiceHandle(self._caller, name)

    def services(self) -> list[ServiceInfo]:
        """The services that have not ended."""
        return self._caller.call(ListServices()).services

    def run(self, run_id: str) -> RunHandle:
        """A handle for a run, by its id or by a job of it. Asks nothing yet."""
        return RunHandle(self._caller, run_id)

    def jobs(self, states: str | Collection[str] = (), limit: int = 100) -> list[JobInfo]:
        """The newest jobs, in these states (``"RUNNING"``) or in any."""
        names = (states,) if isinstance(states, str) else tuple(states)
        return self._caller.call(ListJobs(states=tuple(name.upper() for name in names), limit=limit)).jobs

    def workers(self) -> list[WorkerInfo]:
        return self._caller.call(ListWorkers()).workers

    def events(self, since: int = 0, *, newest: int = 0, wait: float = 0.0) -> EventList:
        """What happened to the cluster after event number ``since``: workers that came and went, scaling, and why.

        ``newest``: no more than so many of them. When there is none, it is waited for, ``wait`` seconds at most. Go on
        from the ``last`` of the answer.
        """
        return self._caller.call(ListEvents(since=since, newest=newest, wait_s=wait), self.timeout + wait)

    def stats(self) -> dict[str, Any]:
        """The cluster's statistics: active_workers, queue_size, workers and more."""
        return self._caller.call(GetStatsJson()).data

    def stats_text(self) -> str:
        """The same as a text for people."""
        return self._caller.call(GetStats()).text

    def fetch_logs(self, job_id: str) -> str:
        """What the latest attempt of a job has printed so far, stdout and stderr; what is no UTF-8 is replaced."""
        return self.fetch_log_bytes(job_id).decode("utf-8", "replace")

    def fetch_log_bytes(self, job_id: str) -> bytes:
        """The same, byte for byte."""
        return LogReader(self._caller, job_id).read()

    # --- approving ------------------------------------------------------------------------------------------------

    def approvals(self, id: str = "", *, decided: bool = False) -> list[ApprovalInfo]:
        """What waits for a person, asked first in front; with ``decided`` the latest 1000 that were answered.

        Args:
            id: only of this job, or this run.

        Raises:
            NotFound: no such job or run.
        """
        return self._caller.call(ListApprovals(id=id, decided=decided)).approvals

    def approve(self, job_id: str, comment: str = "", *, by: str | None = None, number: int = 0) -> ApprovalInfo:
        """Let a job that waits for approval go on.

        Args:
            by: who says so; user and machine by default. number: of the question, so that no later one is answered.

        Raises:
            NotFound: no such job. Conflict: it does not wait, or somebody has decided: the text says who.
        """
        return decide(self._caller, job_id, True, comment, by, number)

    def reject(self, job_id: str, comment: str = "", *, by: str | None = None, number: int = 0) -> ApprovalInfo:
        """End a job that waits for approval: it is DEAD, with the comment as the reason. Raises as ``approve``."""
        return decide(self._caller, job_id, False, comment, by, number)

    def repair_diff(self, job_id: str, number: int = 0) -> str:
        """What a repair (0: the last one) changes, as a unified diff; what is no text is told in words.

        Raises:
            NotFound: no such job, or it was not repaired.
        """
        return repair_diff(self._caller, job_id, number, self.content)

    # --- ending ---------------------------------------------------------------------------------------------------

    def cancel(self, job_id: str) -> bool:
        """Cancel a job, or with a run's id all its jobs. False: there was nothing left to cancel.

        The wish is durable when this returns; a running job has ended when its worker has ended its processes.
        """
        return bool(self._caller.call(CancelJob(id=job_id)).text)

    def stop(self, job_id: str) -> bool:
        """Stop a service, which has completed then, or a job. False: it had ended before."""
        return bool(self._caller.call(Stop(id=job_id)).text)

    # --- files ----------------------------------------------------------------------------------------------------

    def upload_file(
        self, filepath: str | os.PathLike[str], *, name: str | None = None, progress: Progress | bool | None = None
    ) -> str:
        """Put a file of any size into the master's perm_files; its name there, which is the file's own by default.

        Raises:
            OSError: it cannot be read. InvalidName: the name cannot be.
        """
        path = Path(filepath)
        chosen = check_file_name(path.name if name is None else name)
        content = content_of_path(path, chosen)
        with showing(progress, chosen) as report:
            self._uploads().put(content, report)
        return chosen

    def upload_project_folder(
        self, path: str | os.PathLike[str], name: str | None = None, *, progress: Progress | bool | None = None
    ) -> str:
        """Zip a folder and put it into the master's perm_files; the zip's name there, ``name`` with ``.zip``.

        Raises:
            OSError: it cannot be read. PipelineError: something in it cannot travel. InvalidName: the name cannot be.
        """
        folder = Path(path)
        chosen = archive_name(folder) if name is None else name
        if not chosen.lower().endswith(".zip"):
            chosen += ".zip"
        check_file_name(chosen)
        with zip_folder(folder) as zipped:
            content = content_of_file(zipped, chosen)
            with showing(progress, chosen) as report:
                self._uploads().put(content, report)
        return chosen

    # --- the key-value store --------------------------------------------------------------------------------------

    @property
    def kv(self) -> KeyValues:
        """Values, counters, sets and lists by key, for scripts to share."""
        return self._kv

    def kv_set(self, key: str, value: bytes | str) -> None:
        """Keep a value, a text in UTF-8, under a key, durably.

        Raises:
            TypeError: it is neither bytes nor a text.
        """
        self._caller.call(KvSet(key=key, value=as_bytes(value)))

    def kv_get(self, key: str) -> bytes | None:
        return self._caller.call(KvGet(key=key)).value

    def kv_add(self, key: str, member: str) -> bool:
        """Add to the set under a key. False: it was in there. Not repeated when the connection breaks."""
        added: KvAdded = self._caller.once(KvSadd(key=key, member=member))
        return added.added

    def kv_members(self, key: str) -> set[str]:
        return self._kv.members(key)

    def stage_content(self, content: Content) -> None:
        """Have the master keep a content, known by its digest alone. Raises OSError, PipelineError and as any call."""
        self._uploads().stage([content])

    def content(self, sha256: str) -> bytes:
        """The whole of a content that the master keeps. Raises NotFound."""
        data = bytearray()
        while True:
            chunk = self._caller.call(FetchContent(sha256=sha256, offset=len(data)))
            data += chunk.data
            if len(data) >= chunk.size or not chunk.data:
                return bytes(data)

    def _uploads(self) -> Uploader:
        """What remembers the contents that this master has; a master on other data may have none of them."""
        master_id = self._caller.connect().master_id
        with self._lock:
            if self._uploader is None or self._uploads_to != master_id:
                self._uploader = Uploader(self._caller, self._new_pool)
                self._uploads_to = master_id
            return self._uploader

    def _new_pool(self) -> ConnectionPool:
        return ConnectionPool(self.host, self.port, token=self._token, timeout=self.timeout)


def _submitting_job() -> str:
    """The key of the job that this process belongs to; empty outside of jobs."""
    run, job = os.environ.get("TITAN_RUN_ID"), os.environ.get("TITAN_JOB_ID")
    return f"{run}/{job}" if run and job else ""
