"""Jobs and runs: looking them up, watching them, ending them."""

from __future__ import annotations

import time
from functools import partial
from typing import Final

from titan_core.protocol.services import Done
from titan_core.protocol.services.settled import SettledWait
from titan_core.scheduling.core.events import CancelRequested, StopRequested
from titan_core.scheduling.core.restoration import rebuild
from titan_core.scheduling.core.scheduler_core import SchedulerCore
from titan_core.scheduling.core.spec_pool import SpecPool
from titan_core.scheduling.core.views import approval_info, execution_info, job_info, run_info
from titan_core.scheduling.scheduler import Scheduler
from titan_core.storage.store import Store
from titan_sdk.errors import BadRequest, NotFound
from titan_sdk.messages import (
    JOBS_IN_ANSWER,
    CancelJob,
    ExplainJob,
    Explanation,
    GetJob,
    JobInfo,
    JobList,
    ListJobs,
    Ok,
    RunInfo,
    Stop,
    WatchRun,
)
from titan_sdk.names import MAX_ID_BYTES

MAX_WAIT_S: Final = 60.0
"""A watcher asks again after at most so long; nothing is remembered for one that went away without a word."""
MAX_LISTED: Final = 10_000
"""Jobs in one answer, which has to fit into a frame."""
_MAX_NAME_BYTES: Final = 2 * MAX_ID_BYTES + 1
_EXECUTIONS: Final = 20
"""Attempts shown of a job that is read from the store, as the core keeps of those in memory."""


class JobService:
    """Jobs and runs by name; those that finished long ago are read from the store.

    What a client is told of a job rests on what is durable: no crash of the master takes it back.
    """

    def __init__(self, scheduler: Scheduler, store: Store) -> None:
        self._scheduler = scheduler
        self._store = store

    # --- looking ---------------------------------------------------------------------------------------------------

    def get(self, request: GetJob, done: Done[JobInfo]) -> None:
        """Answer with the job, once it is settled when the request says that it waits for that."""
        check_name(request.id)
        key = self._scheduler.read(lambda core: core.find_key(request.id)) if request.wait_s > 0 else None
        if key is None:
            self._tell_job(request.id, done)
            return
        run_id = key.partition("/")[0]
        wait_s = min(request.wait_s, MAX_WAIT_S)
        tell = partial(self._tell_job, key, done)
        SettledWait(self._scheduler, run_id, lambda core: core.is_settled(key), wait_s, tell, done).look()

    def explain(self, request: ExplainJob, done: Done[Explanation]) -> None:
        """Why the job is where it is; of one that ended long ago, how it ended."""
        check_name(request.id)
        try:
            self._scheduler.read_durable(lambda core: core.explain(request.id), done)
        except NotFound:
            job = self._stored_job(request.id)
            done(Explanation(job=job, summary=f"It has ended {job.state}" + (f": {job.reason}" if job.reason else ".")))

    def list_jobs(self, request: ListJobs, done: Done[JobList]) -> None:
        if not 0 <= request.limit <= MAX_LISTED:
            raise BadRequest(f"limit {request.limit} is not from 0 to {MAX_LISTED}")
        self._scheduler.read_durable(lambda core: core.list_jobs(request.states, request.limit), done)

    def watch(self, request: WatchRun, done: Done[RunInfo]) -> None:
        """Answer once the run is as far as the request waits for, or with the run as it is when the time is over."""
        check_name(request.id)
        first = request.first
        if first < 0:
            raise BadRequest(f"first {first} is negative")
        found = self._scheduler.read(lambda core: _find_run(core, request.id))
        if found is None:
            done(self._stored_run(request.id, first))
            return
        run_id, version = found
        tell = partial(self._tell_run, run_id, first, done)
        wait_s = min(request.wait_s, MAX_WAIT_S)
        if not wait_s > 0:
            tell()
        elif request.settled:
            SettledWait(self._scheduler, run_id, lambda core: core.is_settled(run_id), wait_s, tell, done).look()
        elif version > request.since:
            tell()
        else:
            try:
                self._scheduler.watch(run_id, request.since, wait_s, tell)
            except NotFound:  # it has left memory since
                tell()

    def find(self, name: str) -> JobInfo:
        """The job of that key or id as it is now, durable or not yet. Raises NotFound."""
        check_name(name)
        try:
            return self._scheduler.read(lambda core: core.job_info(name))
        except NotFound:
            return self._stored_job(name)

    def version(self, run_id: str) -> int | None:
        """What WatchRun compares with; None when the run has left memory and will not change any more."""
        return self._scheduler.read(lambda core: core.run_version(run_id))

    def _tell_job(self, name: str, done: Done[JobInfo]) -> None:
        try:
            self._scheduler.read_durable(lambda core: core.job_info(name), done)
        except NotFound:
            done(self._stored_job(name))

    def _tell_run(self, run_id: str, first: int, done: Done[RunInfo]) -> None:
        try:
            self._scheduler.read_durable(lambda core: core.run_info(run_id, first, JOBS_IN_ANSWER), done)
        except NotFound:
            done(self._stored_run(run_id, first))

    def _stored_job(self, name: str) -> JobInfo:
        for spelling in spellings(name):
            saved = self._store.find_run(spelling)
            if saved is None:
                continue
            for job in rebuild(saved, SpecPool(), 0, _EXECUTIONS).jobs:
                if spelling in (job.key, job.spec.id):
                    info = job_info(job, job.reason)
                    info.repairs = [row for row in saved.repairs if row.key == job.key]
                    info.executions = [execution_info(each, info.repairs) for each in job.executions or ()]
                    info.outputs = dict(saved.outputs).get(job.key, b"").decode()
                    info.approvals = [approval_info(row) for row in saved.approvals if row.key == job.key]
                    return info
        raise NotFound(f"no job {name}")

    def _stored_run(self, name: str, first: int) -> RunInfo:
        for spelling in spellings(name):
            saved = self._store.find_run(spelling)
            if saved is not None:
                # Its version in memory was a moment's wall clock too; watchers are to see that it is not older.
                run = rebuild(saved, SpecPool(), time.time_ns() // 1_000_000, _EXECUTIONS)
                run.unfinished = sum(not job.state.final for job in run.jobs)
                jobs = run.jobs[first : first + JOBS_IN_ANSWER]
                return run_info(run, [job_info(job, job.reason) for job in jobs])
        raise NotFound(f"no run or job {name}")

    # --- ending ----------------------------------------------------------------------------------------------------

    def cancel(self, request: CancelJob, done: Done[Ok]) -> None:
        """Answered when the wish is durable; a running job ends when its worker has ended its processes."""
        self.end(CancelRequested(request.id, children=request.children), "cancelled", done)

    def stop(self, request: Stop, done: Done[Ok]) -> None:
        self.end(StopRequested(request.id), "stopped", done)

    def end(self, event: CancelRequested | StopRequested, word: str, done: Done[Ok]) -> None:
        """Post the event and answer Ok with what it ended; an empty text when there was nothing to end."""
        check_name(event.id)

        def posted(keys: list[str] | Exception) -> None:
            if isinstance(keys, NotFound):
                keys = self._known_long_ago(event.id, keys)
            done(keys if isinstance(keys, Exception) else Ok(text=f"{word} {', '.join(keys)}" if keys else ""))

        self._scheduler.post(event, posted)

    def _known_long_ago(self, name: str, error: NotFound) -> list[str] | Exception:
        """What has left memory has ended: there is nothing to end, but it is no unknown name."""
        return [] if any(self._store.find_run(spelling) for spelling in spellings(name)) else error


def _find_run(core: SchedulerCore, name: str) -> tuple[str, int] | None:
    """Run id and version of the run of that id, or of the job of that key or id; None when it is not in memory."""
    version = core.run_version(name)
    if version is not None:
        return name, version
    key = core.find_key(name)
    if key is None:
        return None
    run_id = key.partition("/")[0]
    version = core.run_version(run_id)
    return None if version is None else (run_id, version)


def check_name(name: str) -> None:
    """Raises BadRequest for what cannot name a job or run."""
    if not name or len(name.encode("utf-8", "surrogatepass")) > _MAX_NAME_BYTES or not name.isprintable():
        raise BadRequest(f"{name[:80]!r} names no job or run")


def spellings(name: str) -> tuple[str, ...]:
    """As the core looks names up: as given, then with the classic prefix, or without it."""
    return (name, name.removeprefix("DAG-")) if name.startswith("DAG-") else (name, f"DAG-{name}")
