"""Handles: a job or a run that was submitted, to be waited for, looked at and ended. Thread-safe, and cheap to make."""

from __future__ import annotations

import time
import uuid
from collections.abc import Generator, Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, overload

from titan_sdk.approving import decide
from titan_sdk.artifacts import Artifact, artifacts_of, list_artifacts
from titan_sdk.errors import JobFailed, NotFound, WaitTimeout
from titan_sdk.job import TitanJob
from titan_sdk.job_outputs import decode
from titan_sdk.log_reader import LogReader, as_text
from titan_sdk.messages import (
    FINAL_STATES,
    ApprovalInfo,
    CancelJob,
    CloseRun,
    GetJob,
    GetRunTree,
    JobInfo,
    Rerun,
    RunInfo,
    RunTree,
    StateName,
    Stop,
    WatchRun,
)
from titan_sdk.steady import SteadyCaller, Steps, deadline_after

if TYPE_CHECKING:
    from titan_sdk.submitter import Submitter
    from titan_sdk.uploads import Progress


class Handle:
    """What can be waited for: a job, a run, or the call of a task."""

    def __init__(self, caller: SteadyCaller) -> None:
        self._caller = caller


class JobHandle(Handle):
    """One job.

    Attributes:
        key: ``run/job``, or the bare id that the handle was made with: then it means that job's latest run.
    """

    def __init__(self, caller: SteadyCaller, key: str) -> None:
        super().__init__(caller)
        self.key = key

    @property
    def job_id(self) -> str:
        return self.key.rpartition("/")[2]

    @property
    def run_id(self) -> str:
        """Empty when the handle was made with a bare id."""
        return self.key.rpartition("/")[0]

    def __repr__(self) -> str:
        return f"JobHandle({self.key!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JobHandle) and (self.key, self._caller) == (other.key, other._caller)

    def __hash__(self) -> int:
        return hash(self.key)

    def info(self) -> JobInfo:
        """All that the master knows of it, its attempts among that. Raises NotFound."""
        return self._caller.call(GetJob(id=self.key))

    def status(self) -> StateName:
        """WAITING (for parents), HELD (for approval), DELAYED, PENDING (queued), RUNNING, COMPLETED, SKIPPED, DEAD or
        CANCELLED. Raises NotFound."""
        return self.info().state

    def wait(self, timeout: float | None = None, *, check: bool = True) -> JobInfo:
        """Wait until it has ended, or, of a service, until it is ready; through restarts of the master.

        Args:
            timeout: seconds; None: as long as it takes.
            check: raise when it failed, rather than only tell.

        Raises:
            JobFailed: it ended DEAD or CANCELLED.
            WaitTimeout: it has not ended within ``timeout`` seconds.
            ConnectFailed: the master was away for steady.AWAY_S seconds. NotFound: no such job.
        """
        return self._caller.take(self.waiting(timeout, check))

    async def wait_async(self, timeout: float | None = None, *, check: bool = True) -> JobInfo:
        """``wait`` for programs with an event loop; ``await handle`` is the same without a limit. No thread waits."""
        return await self._caller.take_async(self.waiting(timeout, check))

    def __await__(self) -> Generator[Any, Any, JobInfo]:
        return self.wait_async().__await__()

    def waiting(self, timeout: float | None, check: bool) -> Steps[JobInfo]:
        deadline = deadline_after(timeout)
        while True:
            info = yield from self._caller.asking(lambda wait_s: GetJob(id=self.key, wait_s=wait_s), deadline)
            if is_settled(info):
                break
            if time.monotonic() >= deadline:
                raise WaitTimeout(f"{info.key} is {info.state} after {timeout:g} s{_why(info)}")
        if check:
            _check([info])
        return info

    def result(self, timeout: float | None = None) -> str:
        """Wait for it, and give what its last attempt printed. Raises as ``wait``."""
        self.wait(timeout)
        return self.logs()

    @overload
    def logs(self, follow: Literal[False] = False) -> str: ...

    @overload
    def logs(self, follow: Literal[True], timeout: float | None = None) -> Iterator[str]: ...

    def logs(self, follow: bool = False, timeout: float | None = None) -> str | Iterator[str]:
        """What it printed, stdout and stderr, as text; what is no UTF-8 is replaced.

        Without ``follow``: of its latest attempt, so far. With it: pieces as they come, of this attempt and of those
        that follow it, until the job has ended; complete to the last byte, through restarts of the master.

        Raises:
            NotFound: no such job. WaitTimeout: it has not ended within ``timeout`` seconds of following.
        """
        if not follow:
            return LogReader(self._caller, self.key).read().decode("utf-8", "replace")
        return as_text(LogReader(self._caller, self.key).follow(deadline_after(timeout)))

    @overload
    def log_bytes(self, follow: Literal[False] = False) -> bytes: ...

    @overload
    def log_bytes(self, follow: Literal[True], timeout: float | None = None) -> Iterator[bytes]: ...

    def log_bytes(self, follow: bool = False, timeout: float | None = None) -> bytes | Iterator[bytes]:
        """As ``logs``, byte for byte."""
        reader = LogReader(self._caller, self.key)
        return reader.follow(deadline_after(timeout)) if follow else reader.read()

    def cancel(self, *, children: bool = False) -> bool:
        """Cancel it. False: it had ended before. ``wait(check=False)`` tells when its processes have ended.

        With ``children`` also the runs that it has submitted, and what those have, however far down.
        """
        return bool(self._caller.call(CancelJob(id=self.key, children=children)).text)

    def children(self) -> list[RunHandle]:
        """The runs that it has submitted, in order. Raises NotFound."""
        key = self.info().key
        runs = self._caller.call(GetRunTree(id=key, depth=1)).runs
        return [RunHandle(self._caller, run.run_id) for run in runs if run.parent == key]

    def approve(self, comment: str = "", *, by: str | None = None) -> ApprovalInfo:
        """Let it go on when it is HELD for approval. Raises as TitanClient.approve."""
        return decide(self._caller, self.key, True, comment, by, 0)

    def reject(self, comment: str = "", *, by: str | None = None) -> ApprovalInfo:
        """End it when it is HELD for approval: it is DEAD, with the comment as the reason."""
        return decide(self._caller, self.key, False, comment, by, 0)

    def outputs(self) -> dict[str, Any]:
        """What the job left for others (``titan_sdk.output``), by name; nothing before it has completed.

        Raises NotFound.
        """
        return decode(self.info().outputs.encode())

    def artifacts(self) -> list[Artifact]:
        """What it published (``titan_sdk.publish``); nothing before it has completed. Raises NotFound."""
        return artifacts_of(self.info())

    def stop(self) -> bool:
        """Stop it; a service has completed then. False: it had ended before."""
        return bool(self._caller.call(Stop(id=self.key)).text)


class RunHandle(Handle):
    """One submission and its jobs.

    Attributes:
        run_id: or what the handle was made with, which may also be a job of the run.
    """

    def __init__(
        self, caller: SteadyCaller, run_id: str, keys: Sequence[str] = (), submitter: Submitter | None = None
    ) -> None:
        super().__init__(caller)
        self.run_id = run_id
        self._keys = tuple(keys)
        self._submitter = submitter

    def __repr__(self) -> str:
        return f"RunHandle({self.run_id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RunHandle) and (self.run_id, self._caller) == (other.run_id, other._caller)

    def __hash__(self) -> int:
        return hash(self.run_id)

    def __enter__(self) -> RunHandle:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """The end of a ``with`` block closes an open run, also when it ends in an error: what was added goes on."""
        self.close()

    # --- growing --------------------------------------------------------------------------------------------------

    def add(
        self,
        jobs: TitanJob | Iterable[TitanJob],
        *,
        idempotency_key: str | None = None,
        progress: Progress | bool | None = None,
    ) -> list[JobHandle]:
        """Add jobs to an open run, or from inside of a job to its own run: all of them, durably, or none.

        Their parents may be among them, or in the run already, whatever has become of those: behind a parent that has
        completed a job starts at once, behind one that failed its trigger rule says what becomes of it.

        Args:
            idempotency_key: adding the same jobs under the same key again does nothing and gives the same handles: so a
                job that adds to its run can be retried. One is made up when none is given.
            progress: see TitanClient.submit_dag.

        Raises:
            Conflict: the run is not open, or an id is active elsewhere, or the key was used for other jobs.
            SubmissionRefused: the master found something wrong, such as an unknown parent; ``problems`` says what.
            BudgetExceeded: the budget of the run, or of one above it, has no room for them.
            PipelineError: what is wrong with the jobs by themselves. NotFound: no such run.
        """
        if self._submitter is None:
            raise TypeError("this handle cannot add jobs; take that of TitanClient.run")
        wanted = [jobs] if isinstance(jobs, TitanJob) else list(jobs)
        accepted = self._submitter.add(self.run_id, wanted, idempotency_key=idempotency_key, progress=progress)
        if self._keys and not accepted.repeated:
            self._keys += tuple(accepted.jobs)
        return [JobHandle(self._caller, key) for key in accepted.jobs]

    def close(self) -> bool:
        """Nothing more is added. False: it was not open. Raises NotFound."""
        return bool(self._caller.call(CloseRun(id=self.run_id)).text)

    # --- relatives ------------------------------------------------------------------------------------------------

    def children(self) -> list[RunHandle]:
        """The runs that its jobs have submitted, in order. Raises NotFound."""
        runs = self._caller.call(GetRunTree(id=self.run_id, depth=1)).runs[1:]
        return [RunHandle(self._caller, run.run_id, submitter=self._submitter) for run in runs]

    def tree(self) -> RunTree:
        """It and all that was submitted from inside it, however far down, each behind its parent's. Raises NotFound."""
        return self._caller.call(GetRunTree(id=self.run_id))

    def rerun(self, *, failed: bool = False, idempotency_key: str | None = None) -> RunHandle:
        """Run it again as a new run with the same jobs and options, whose ``rerun_of`` names this one.

        Args:
            failed: only the jobs that did not complete, and those that depend on them; the others count as completed.
            idempotency_key: see TitanClient.submit_dag.

        Raises:
            Conflict: it goes on, or (``failed``) every job completed. NotFound: no such run.
            SubmissionRefused: a file of it is gone from the master.
        """
        parent = self._submitter.parent if self._submitter is not None else ""
        key = f"sdk-{uuid.uuid4()}" if idempotency_key is None else idempotency_key
        accepted = self._caller.call(Rerun(id=self.run_id, failed=failed, idempotency_key=key, parent=parent))
        return RunHandle(self._caller, accepted.run_id, accepted.jobs, self._submitter)

    # --- looking --------------------------------------------------------------------------------------------------

    def jobs(self) -> list[JobHandle]:
        """Its jobs, in the order of submission. Raises NotFound.

        What others add to a run is among them once ``info``, ``wait`` or ``watch`` has seen it.
        """
        if not self._keys:
            self.info()
        return [JobHandle(self._caller, key) for key in self._keys]

    def job(self, job_id: str) -> JobHandle:
        """The job of that id. Raises NotFound."""
        for look in (self.jobs, self._jobs_now):
            for handle in look():
                if handle.job_id == job_id:
                    return handle
        raise NotFound(f"no job {job_id} in {self.run_id}")

    def _jobs_now(self) -> list[JobHandle]:
        self.info()
        return self.jobs()

    def info(self) -> RunInfo:
        """All that the master knows of it, its jobs without their attempts. Raises NotFound."""
        return self._rest(self._caller.call(WatchRun(id=self.run_id)))

    def status(self) -> StateName:
        """One word for all: RUNNING until every job is final, then COMPLETED, or DEAD or CANCELLED when one is."""
        info = self.info()
        if not info.finished:
            return "RUNNING"
        states = {job.state for job in info.jobs}
        return "DEAD" if "DEAD" in states else "CANCELLED" if "CANCELLED" in states else "COMPLETED"

    def wait(self, timeout: float | None = None, *, check: bool = True) -> RunInfo:
        """Wait until every job has ended (a service: until it is ready), through restarts of the master.

        Args:
            timeout: seconds; None: as long as it takes.
            check: raise when a job failed, rather than only tell.

        Raises:
            JobFailed: of the job that failed first, when all have ended.
            WaitTimeout: not all have ended within ``timeout`` seconds.
            ConnectFailed: the master was away for steady.AWAY_S seconds. NotFound: no such run.
        """
        return self._caller.take(self.waiting(timeout, check))

    async def wait_async(self, timeout: float | None = None, *, check: bool = True) -> RunInfo:
        """``wait`` for programs with an event loop; ``await handle`` is the same without a limit. No thread waits."""
        return await self._caller.take_async(self.waiting(timeout, check))

    def __await__(self) -> Generator[Any, Any, RunInfo]:
        return self.wait_async().__await__()

    def waiting(self, timeout: float | None, check: bool) -> Steps[RunInfo]:
        deadline = deadline_after(timeout)

        def request(wait_s: float) -> WatchRun:
            return WatchRun(id=self.run_id, settled=True, wait_s=wait_s)

        while True:
            info = yield from self._caller.asking(request, deadline)
            info = yield from self.whole(info)
            open_jobs = [job for job in info.jobs if not is_settled(job)]
            if not open_jobs and not info.open:
                break
            if time.monotonic() >= deadline:
                if not open_jobs:
                    raise WaitTimeout(f"{info.run_id} is still open after {timeout:g} s, and none of its jobs goes on")
                first = open_jobs[0]
                raise WaitTimeout(
                    f"{len(open_jobs)} of {len(info.jobs)} jobs of {info.run_id} have not ended after {timeout:g} s; "
                    f"{first.id} is {first.state}{_why(first)}"
                )
        if check:
            _check(info.jobs)
        return info

    def watch(self, timeout: float | None = None) -> Iterator[RunInfo]:
        """The run as it is now, and again after changes, until every job has ended (a service: until it is ready).

        Raises:
            WaitTimeout: not all have ended within ``timeout`` seconds. ConnectFailed, NotFound: as ``wait``.
        """
        deadline = deadline_after(timeout)
        version = -1

        def request(wait_s: float) -> WatchRun:
            return WatchRun(id=self.run_id, since=version, wait_s=wait_s)

        while True:
            info = self._rest(self._caller.ask(request, deadline))
            if info.version != version:
                version = info.version
                yield info
                if not info.open and all(is_settled(job) for job in info.jobs):
                    return
            elif time.monotonic() >= deadline:
                raise WaitTimeout(f"{info.run_id} has not ended after {timeout:g} s")

    def cancel(self, *, children: bool = False) -> bool:
        """Cancel every job of it, and with ``children`` all that they have submitted. False: all had ended before.

        An open run is closed by it.
        """
        return bool(self._caller.call(CancelJob(id=self.run_id, children=children)).text)

    def artifacts(self) -> list[Artifact]:
        """What its jobs published. Raises NotFound."""
        return list_artifacts(self._caller, self.run_id)

    def stop(self) -> bool:
        """Stop every job of it; services have completed then. False: all had ended before."""
        return bool(self._caller.call(Stop(id=self.run_id)).text)

    def whole(self, info: RunInfo) -> Steps[RunInfo]:
        """The steps to the run with the jobs that its first answer had no room for."""
        while len(info.jobs) < info.total:
            more = yield from self._caller.calling(WatchRun(id=info.run_id, first=len(info.jobs)))
            if not more.jobs:
                break
            info.jobs += more.jobs
        self._keys = tuple(job.key for job in info.jobs)
        return info

    def _rest(self, info: RunInfo) -> RunInfo:
        return self._caller.take(self.whole(info))


def is_settled(job: JobInfo) -> bool:
    """Whether there is nothing to wait for: it is final, or a service that is ready."""
    return job.ready or job.state in FINAL_STATES


def _check(jobs: Sequence[JobInfo]) -> None:
    """Raise JobFailed for the first that failed by itself: those whose parents failed came to an end after them."""
    failed = {job.id: job for job in jobs if job.state in ("DEAD", "CANCELLED")}
    causes = [job for job in failed.values() if not any(parent in failed for parent in job.parents)]
    if causes:
        first = min(causes, key=lambda job: job.ended_at)
        raise JobFailed(first.key, first.state, first.reason or f"exit code {first.exit_code}", first.exit_code)


def _why(job: JobInfo) -> str:
    return f" ({job.reason})" if job.reason else ""
