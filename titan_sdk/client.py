"""TitanClient: a program's way to a cluster."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from msgspec.structs import replace

from titan_sdk.approving import decide
from titan_sdk.archive import zip_folder
from titan_sdk.artifacts import Artifact, download, find, list_artifacts, own_job
from titan_sdk.connection import CALL_TIMEOUT_S, ConnectionPool
from titan_sdk.errors import InvalidName, NotFound
from titan_sdk.handles import JobHandle, RunHandle
from titan_sdk.job import Argument, TitanJob
from titan_sdk.kv import KeyValues, as_bytes
from titan_sdk.log_reader import LogReader
from titan_sdk.messages import (
    DEFAULT_OPTIONS,
    AgentRun,
    ApprovalInfo,
    Budget,
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
    ListAgentRuns,
    ListApprovals,
    ListEvents,
    ListJobs,
    ListRuns,
    ListSchedules,
    ListServices,
    ListWorkers,
    Recurrence,
    RunOptions,
    RunSummary,
    ScheduleInfo,
    ScheduleSaved,
    ServiceInfo,
    Stop,
    WorkerInfo,
)
from titan_sdk.names import check_file_name, check_port
from titan_sdk.progress_bar import showing
from titan_sdk.repair_diff import repair_diff
from titan_sdk.run_rules import AGENT_VARIABLE, option_problems
from titan_sdk.schedules import ScheduleHandle
from titan_sdk.services import ServiceHandle
from titan_sdk.settings import client_settings
from titan_sdk.sources import archive_name
from titan_sdk.steady import SteadyCaller
from titan_sdk.submitter import Submitter, submitting_job
from titan_sdk.uploads import Content, Progress, Uploader, content_of_file, content_of_path

if TYPE_CHECKING:
    from titan_sdk.tasks import Task, TaskHandle

log = logging.getLogger(__name__)

IDLE_S: Final = 3600.0
"""An open run that nobody adds to for so long is closed, when no job can tell that its owner is gone."""

R = TypeVar("R")


class TitanClient:
    """A cluster, as its users see it. Connects when first needed, and again when the master was away. Thread-safe.

    Inside a job, ``TitanClient()`` finds the cluster that the job runs on; what it submits prefers the job's worker.

    Args:
        host: of the master; TITAN_HOST, or 127.0.0.1, by default.
        port: of the master; TITAN_PORT, or 9090, by default.
        token: the cluster's secret; TITAN_TOKEN, or the file ``token`` in TITAN_HOME, by default.
        timeout: seconds that one request may take.
        agent_run_id: groups what is submitted into one agent run; TITAN_AGENT_RUN_ID, which jobs of an agent run find,
            by default. Empty: none.

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
        agent_run_id: str | None = None,
    ) -> None:
        # A token that is given makes it no matter what the token file is like.
        settings = client_settings(None if token is None else {**os.environ, "TITAN_TOKEN": token})
        self.host = host or settings.host
        self.port = settings.port if port is None else check_port(port)
        self.timeout = timeout
        self._token = token
        self._caller = SteadyCaller(self.host, self.port, token=token, timeout=timeout)
        self._kv = KeyValues(self._caller)
        inside = (self.host, self.port) == (settings.host, settings.port)
        self._submitter = Submitter(self._caller, self._new_pool, submitting_job() if inside else "")
        # From inside of a job the master knows it anyway; but a program may be told by its environment alone.
        inherited = os.environ.get(AGENT_VARIABLE, "") if inside else ""
        self.agent_run_id = inherited if agent_run_id is None else agent_run_id

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
        params: Mapping[str, Argument] | None = None,
        budget: Budget | None = None,
        agent_run_id: str | None = None,
        open: bool = False,
        idle_timeout: float | None = None,
        options: RunOptions | None = None,
    ) -> RunHandle:
        """Submit jobs that are linked by their parents: all of them are accepted, durably, or none.

        Args:
            name: of the run, for people.
            idempotency_key: submitting the same jobs under the same key again gives the run that was made before, as
                long as the master keeps it (``history_days``), and for a day after its end at least. There is always
                one, made up when none is given, so that a submission whose answer was lost is sent again.
            progress: called with the bytes uploaded and the bytes to upload; True draws a bar on a terminal.
            replace: services of these ids that are active are replaced, see ``deploy``.
            params: values by name; the jobs find each as ``TITAN_PARAM_NAME`` in their environment.
            budget: what the run and all that its jobs submit may use together: jobs, depth, wall time.
            agent_run_id: the agent run that it belongs to, instead of the client's.
            open: jobs may be added until it is closed, see ``open_run``.
            idle_timeout: seconds; see ``open_run``.
            options: of the run as a whole, all in one; what the arguments above say goes before.

        Raises:
            BudgetExceeded: a budget of a run that this one belongs to has no room for it.
            InvalidName: parameters or bounds outside their rules.
            PipelineError: what is wrong with the jobs (files, ids, parents, cycles), all of it; nothing was submitted.
            SubmissionRefused: the master found something wrong; ``problems`` says what.
            Conflict: an id is still active, or the key was used for other jobs.
        """
        accepted = self._submitter.submit(
            name,
            jobs,
            self._options(options, params, budget, agent_run_id, open, idle_timeout),
            idempotency_key=idempotency_key,
            progress=progress,
            replace=replace,
        )
        return RunHandle(self._caller, accepted.run_id, accepted.jobs, self._submitter)

    def open_run(
        self,
        name: str,
        jobs: Iterable[TitanJob] = (),
        *,
        idempotency_key: str | None = None,
        params: Mapping[str, Argument] | None = None,
        budget: Budget | None = None,
        agent_run_id: str | None = None,
        idle_timeout: float | None = None,
    ) -> RunHandle:
        """A run that grows: ``add`` jobs to the handle until it is closed, which the end of a ``with`` block does.

        It has not finished before it is closed. When its owner is gone it is closed all the same: from inside of a job
        with the end of that job, and elsewhere after ``idle_timeout``.

        Args:
            idle_timeout: seconds in which none of its jobs is unfinished and none is added, after which it is closed;
                0: never. By default an hour, and never for runs that a job opens.

        The other arguments and errors are those of ``submit_dag``.
        """
        return self.submit_dag(
            name,
            jobs,
            idempotency_key=idempotency_key,
            params=params,
            budget=budget,
            agent_run_id=agent_run_id,
            open=True,
            idle_timeout=idle_timeout,
        )

    def schedule(
        self,
        name: str,
        jobs: Iterable[TitanJob] | None = None,
        *,
        cron: str | None = None,
        every: str | float | timedelta | None = None,
        timezone: str = "UTC",
        misfire: str = "latest",
        misfire_window: str | float | timedelta = "24h",
        overlap: str = "skip",
        jitter: str | float | timedelta = 0,
        start: str | date | None = None,
        end: str | date | None = None,
        params: Mapping[str, Argument] | None = None,
        progress: Progress | bool | None = None,
    ) -> ScheduleHandle:
        """Run jobs again and again, without this program; or, with a name alone, a handle for a schedule that is there.

        A schedule of that name is changed, and keeps its history; doing it twice is as doing it once. Nothing is run at
        once: ``trigger`` does that. Jobs find ``TITAN_SCHEDULE`` and ``TITAN_DUE_AT`` in their environment.

        Args:
            cron: five fields (minute, hour, day of month, month, day of week), or ``@hourly``, ``@daily`` and the like.
            every: instead of that an interval: seconds, a timedelta, or a text like ``15m`` or ``1h30m``.
            timezone: whose wall clock the cron expression is meant for, like ``Europe/Berlin``.
            misfire: of due times that passed while the master was down or the schedule paused, run the ``latest``, none
                (``skip``), or ``all`` of the last ``misfire_window``, one after the other.
            overlap: while the former run is unfinished: ``skip`` the due time, ``queue`` it, ``cancel`` that run, or
                ``allow`` both; then each run's job ids end in its due time.
            jitter: put each firing off by up to so much, the same for the same due time.
            start, end: nothing is due outside of them: datetimes, dates or ISO texts.
            params: of each run, see ``submit_dag``.

        Raises:
            InvalidName: one of these cannot be used. Else as ``submit_dag``.
        """
        handle = ScheduleHandle(self._caller, name)
        if jobs is not None:
            from titan_sdk.timetable import recurrence  # with it come zones and cron, which few programs need

            when = recurrence(
                cron=cron,
                every=every,
                timezone=timezone,
                misfire=misfire,
                misfire_window=misfire_window,
                overlap=overlap,
                jitter=jitter,
                start=start,
                end=end,
            )
            self.put_schedule(name, jobs, when, params=params, progress=progress)
        return handle

    def put_schedule(
        self,
        name: str,
        jobs: Iterable[TitanJob],
        when: Recurrence,
        *,
        params: Mapping[str, Argument] | None = None,
        options: RunOptions | None = None,
        progress: Progress | bool | None = None,
    ) -> ScheduleSaved:
        """As ``schedule``, with what ``timetable.recurrence`` made; and what became of it."""
        options = self._options(options, params, None, "", False, None)
        return self._submitter.put_schedule(name, jobs, when, options, progress=progress)

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

    def schedules(self) -> list[ScheduleInfo]:
        """Every recurring schedule, in the order of their names, with its next due times."""
        page = self._caller.call(ListSchedules())
        found = page.schedules
        while page.schedules and len(found) < page.total:
            page = self._caller.call(ListSchedules(first=len(found)))
            found += page.schedules
        return found

    def run(self, run_id: str) -> RunHandle:
        """A handle for a run, by its id or by a job of it. Asks nothing yet."""
        return RunHandle(self._caller, run_id, submitter=self._submitter)

    def current_run(self) -> RunHandle:
        """The run of the job that this program belongs to; its own jobs may ``add`` to it while they run.

        Raises:
            NotFound: this is no job of this cluster.
        """
        if not self._submitter.parent:
            raise NotFound("this program is no job: there is no current run")
        return self.run(self._submitter.parent.partition("/")[0])

    def runs(self, *, agent_run_id: str = "", limit: int = 100) -> list[RunSummary]:
        """The newest runs, or those of one agent run."""
        return self._caller.call(ListRuns(agent_run_id=agent_run_id, limit=limit)).runs

    def agent_runs(self, limit: int = 100) -> list[AgentRun]:
        """The agent runs that were begun last."""
        return self._caller.call(ListAgentRuns(limit=limit)).agents

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

    # --- artifacts ------------------------------------------------------------------------------------------------

    def artifacts(self, name: str) -> list[Artifact]:
        """What a job (its key, ``run/job``), or all jobs of a run, published. Raises NotFound."""
        return list_artifacts(self._caller, name)

    def fetch_artifact(self, name: str, *, job: str | None = None, to: str | os.PathLike[str] | None = None) -> Path:
        """Have an artifact as a file, checked against its digest; a download that broke off goes on where it was.

        Args:
            job: key or id of the job that published it, or of one that follows it: then the nearest one before it that
                has that name counts. In a job, by default that job itself.
            to: the file, ``name`` in the current folder by default. It is replaced whole.

        Raises:
            NotFound: nobody has published it. BadMessage: it came damaged. OSError: it cannot be written.
        """
        found = find(self._caller, name, own_job() if job is None else job)
        path = Path(check_file_name(name) if to is None else to)
        download(self._caller, found, path)
        return path

    # --- ending ---------------------------------------------------------------------------------------------------

    def cancel(self, job_id: str, *, children: bool = False) -> bool:
        """Cancel a job, or with a run's id all its jobs. False: there was nothing left to cancel.

        With ``children`` also the runs that were submitted from inside, however far down. What is being cancelled
        submits nothing more.
        The wish is durable when this returns; a running job has ended when its worker has ended its processes.
        """
        return bool(self._caller.call(CancelJob(id=job_id, children=children)).text)

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
            self._submitter.uploads().put(content, report)
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
                self._submitter.uploads().put(content, report)
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

    def _options(
        self,
        given: RunOptions | None,
        params: Mapping[str, Argument] | None,
        budget: Budget | None,
        agent_run_id: str | None,
        open: bool,
        idle_timeout: float | None,
    ) -> RunOptions | None:
        """Raises InvalidName for what cannot be."""
        options = given or DEFAULT_OPTIONS
        if params is not None:
            options = replace(options, params={name: str(value) for name, value in params.items()})
        if budget is not None:
            options = replace(options, budget=budget)
        if agent_run_id is not None or not options.agent_run_id:
            options = replace(options, agent_run_id=self.agent_run_id if agent_run_id is None else agent_run_id)
        if open:
            idle_s = (0.0 if self._submitter.parent else IDLE_S) if idle_timeout is None else float(idle_timeout)
            options = replace(options, open=True, idle_s=idle_s)
        problem = next(option_problems(options), "")
        if problem:
            raise InvalidName(problem)
        return None if options == DEFAULT_OPTIONS else options

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
        return self._submitter.uploads()

    def _new_pool(self) -> ConnectionPool:
        return ConnectionPool(self.host, self.port, token=self._token, timeout=self.timeout)
