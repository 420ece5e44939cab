"""Waiting for many jobs and runs at once: ``wait`` and ``as_completed``, and the same for programs with an event loop.

One question is under way at a time, on the connection that the handles share, however many they are: the master
answers it when one of their jobs has settled. Nobody asks again and again, and no thread waits.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, Generic, Literal, TypeVar

from titan_sdk.errors import RemoteError, TitanError, WaitTimeout
from titan_sdk.handles import Handle, JobHandle, RunHandle, is_settled
from titan_sdk.messages import GetJob, JobInfo, RunInfo, SettledJobs, WatchRun, WatchSettled
from titan_sdk.steady import SteadyCaller, Steps, deadline_after

FIRST_COMPLETED: Final = "FIRST_COMPLETED"
FIRST_EXCEPTION: Final = "FIRST_EXCEPTION"
ALL_COMPLETED: Final = "ALL_COMPLETED"
ReturnWhen = Literal["FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"]

_MAX_RUNS: Final = 200
"""Runs named in one question; of more, the master is asked for all that settles."""
_SINGLE_JOBS: Final = 20
"""Jobs of one run that are looked at one by one; with more it is cheaper to look at the run."""


H = TypeVar("H", bound=Handle)


class DoneAndNotDone(tuple[list[H], list[H]], Generic[H]):
    """A pair, each in the order in which the handles were given."""

    __slots__ = ()

    @property
    def done(self) -> list[H]:
        return self[0]

    @property
    def not_done(self) -> list[H]:
        return self[1]


def wait(
    handles: Iterable[H], timeout: float | None = None, return_when: ReturnWhen = ALL_COMPLETED
) -> DoneAndNotDone[H]:
    """Wait for jobs and runs to end (services: to be ready), as ``concurrent.futures.wait`` does for futures.

    What a job came to is not looked at: ``handle.wait()`` or ``result()`` tell, at once then.

    Args:
        handles: of jobs, runs, services and calls of tasks, of one cluster, in any mixture.
        timeout: seconds after which to return whatever has ended; None: as long as it takes.
        return_when: ``FIRST_COMPLETED``; ``FIRST_EXCEPTION``, when one failed or all ended; or ``ALL_COMPLETED``.

    Raises:
        NotFound: there is no such job or run. ValueError: the handles are of several clusters.
        ConnectFailed: the master was away for steady.AWAY_S seconds.
    """
    _check(return_when)
    watch = _Watch(handles, timeout)
    try:
        while not watch.enough(return_when):
            watch.caller.take(watch.next())
    except WaitTimeout:
        pass
    return watch.result()


async def wait_async(
    handles: Iterable[H], timeout: float | None = None, return_when: ReturnWhen = ALL_COMPLETED
) -> DoneAndNotDone[H]:
    """``wait`` for programs with an event loop."""
    _check(return_when)
    watch = _Watch(handles, timeout)
    try:
        while not watch.enough(return_when):
            await watch.caller.take_async(watch.next())
    except WaitTimeout:
        pass
    return watch.result()


@contextmanager
def cancelling(handles: Iterable[Handle]) -> Iterator[None]:
    """For a ``with`` block: whatever leaves it early, Ctrl-C too, cancels what has not ended of the handles."""
    try:
        yield
    except BaseException:
        for handle in handles:
            # Whether it could be cancelled must not hide why.
            with suppress(TitanError):
                (handle if isinstance(handle, RunHandle) else _job(handle)).cancel()
        raise


class as_completed(Generic[H]):  # noqa: N801 - a function to whoever uses it, as in asyncio
    """The handles in the order in which their jobs and runs end: ``for`` in any program, ``async for`` with a loop.

    Arguments and errors are those of ``wait``. WaitTimeout: not all have ended within ``timeout`` seconds, counted from
    the first step on. A handle that is given twice comes once.
    """

    def __init__(self, handles: Iterable[H], timeout: float | None = None) -> None:
        self._handles = list(handles)
        self._timeout = timeout

    def __iter__(self) -> Iterator[H]:
        watch = _Watch(self._handles, self._timeout)
        while watch.pending:
            yield from watch.caller.take(watch.next())

    async def __aiter__(self) -> AsyncIterator[H]:
        watch = _Watch(self._handles, self._timeout)
        while watch.pending:
            for handle in await watch.caller.take_async(watch.next()):
                yield handle


def _check(return_when: str) -> None:
    if return_when not in (FIRST_COMPLETED, FIRST_EXCEPTION, ALL_COMPLETED):
        raise ValueError(f"return_when {return_when!r} is none of FIRST_COMPLETED, FIRST_EXCEPTION, ALL_COMPLETED")


class _Watch(Generic[H]):
    """Handles on their way to their end. ``next`` gives the steps to the next that get there."""

    def __init__(self, handles: Iterable[H], timeout: float | None) -> None:
        self._handles = list(dict.fromkeys(handles))
        self._timeout = timeout
        self._deadline = deadline_after(timeout)
        self._of_job: dict[str, list[H]] = {}
        """By the job's key, or by the bare id of a handle whose key is not known yet."""
        self._of_run: dict[str, _Run[H]] = {}
        self._feed = ""
        self._version = 0
        self.pending: dict[H, None] = dict.fromkeys(self._handles)
        self._failed = False
        callers = {caller.address: caller for caller in (handle._caller for handle in self._handles)}
        if len(callers) > 1:
            raise ValueError("the handles are of several clusters; wait for those of each")
        self._callers = list(callers.values())
        for handle in self._handles:
            if isinstance(handle, RunHandle):
                self._of_run.setdefault(handle.run_id, _Run()).handles.append(handle)
            else:
                self._of_job.setdefault(_job(handle).key, []).append(handle)

    @property
    def caller(self) -> SteadyCaller:
        return self._callers[0]

    def enough(self, return_when: str) -> bool:
        if not self.pending or (return_when == FIRST_COMPLETED and len(self.pending) < len(self._handles)):
            return True
        return return_when == FIRST_EXCEPTION and self._failed

    def result(self) -> DoneAndNotDone[H]:
        done = [each for each in self._handles if each not in self.pending]
        return DoneAndNotDone((done, list(self.pending)))

    def next(self) -> Steps[list[H]]:
        """The handles that got to their end since, once there are some. Raises WaitTimeout, and as SteadyCaller.ask."""
        while True:
            # With no feed yet the master says at once where to go on from; only then it is looked how things are, so
            # that nothing is missed in between.
            answer = yield from self.caller.asking(self._question, self._deadline)
            self._feed, self._version = answer.feed, answer.version
            done = yield from (self._look() if answer.reset else self._settled(answer))
            if done:
                return done
            if time.monotonic() >= self._deadline:
                raise WaitTimeout(
                    f"{len(self.pending)} of {len(self._handles)} have not ended after {self._timeout:g} s"
                )

    def _question(self, wait_s: float) -> WatchSettled:
        runs = {key.partition("/")[0] for key in self._of_job} | {*self._of_run}
        named = tuple(sorted(runs)) if len(runs) <= _MAX_RUNS else ()
        return WatchSettled(runs=named, feed=self._feed, since=self._version, wait_s=wait_s)

    # --- looking at everything ------------------------------------------------------------------------------------

    def _look(self) -> Steps[list[H]]:
        """How everything is that is waited for."""
        by_run: dict[str, list[str]] = {}
        for key in self._of_job:
            by_run.setdefault(key.rpartition("/")[0], []).append(key)
        single = [key for run, keys in by_run.items() if not run or len(keys) <= _SINGLE_JOBS for key in keys]
        whole = [run for run, keys in by_run.items() if run and len(keys) > _SINGLE_JOBS]
        seen: list[JobInfo] = []
        answers = yield from self.caller.calling_all([GetJob(id=key) for key in single])
        for key, job in zip(single, answers, strict=True):
            if isinstance(job, RemoteError):
                raise job
            if job.key != key:  # the handle had the bare id
                self._of_job.setdefault(job.key, []).extend(self._of_job.pop(key))
            seen.append(job)
        runs = list(dict.fromkeys([*whole, *self._of_run]))
        found = yield from self.caller.calling_all([WatchRun(id=run) for run in runs])
        infos: list[RunInfo] = []
        for run, info in zip(runs, found, strict=True):
            if isinstance(info, RemoteError):
                raise info
            infos.append((yield from RunHandle(self.caller, info.run_id).whole(info)))
            if info.run_id != run and run in self._of_run:  # the handle had the name of a job of it
                self._of_run.setdefault(info.run_id, _Run()).handles.extend(self._of_run.pop(run).handles)
            seen.extend(info.jobs)
        done = [handle for job in sorted(seen, key=_end) for handle in self._job_done(job)]
        for info in sorted(infos, key=lambda info: max(map(_end, info.jobs), default=0)):
            done += self._run_seen(info)
        return done

    def _run_seen(self, info: RunInfo) -> list[H]:
        """The handles of a run as it is now, if it has ended."""
        run = self._of_run.get(info.run_id)
        if run is None:
            return []
        run.open = {job.key for job in info.jobs if not is_settled(job)}
        run.failed = any(map(_has_failed, info.jobs))
        return [] if run.open or info.open else self._finished(self._of_run.pop(info.run_id).handles, run.failed)

    # --- and at what settled --------------------------------------------------------------------------------------

    def _settled(self, settled: SettledJobs) -> Steps[list[H]]:
        done: list[H] = []
        for name in settled.runs:
            if name in self._of_run:
                info = yield from self.caller.calling(WatchRun(id=name))
                done += self._run_seen((yield from RunHandle(self.caller, name).whole(info)))
        for job in settled.jobs:
            done += self._job_done(job)
            run = self._of_run.get(job.run_id)
            if run is not None:
                run.failed |= _has_failed(job)
                run.open.discard(job.key)
                if not run.open:  # as far as is known: it may have grown
                    info = yield from self.caller.calling(WatchRun(id=job.run_id))
                    done += self._run_seen((yield from RunHandle(self.caller, job.run_id).whole(info)))
        return done

    def _job_done(self, job: JobInfo) -> list[H]:
        if not is_settled(job) or job.key not in self._of_job:
            return []
        return self._finished(self._of_job.pop(job.key), _has_failed(job))

    def _finished(self, handles: list[H], failed: bool) -> list[H]:
        self._failed |= failed
        for handle in handles:
            self.pending.pop(handle, None)
        return handles


class _Run(Generic[H]):
    """``open``: keys of its jobs that have not ended. ``failed``: one of them has."""

    def __init__(self) -> None:
        self.handles: list[H] = []
        self.open: set[str] = set()
        self.failed = False


def _job(handle: Handle) -> JobHandle:
    """The job that a handle stands for, be it the call of a task."""
    found: JobHandle = handle if isinstance(handle, JobHandle) else handle.job  # type: ignore[attr-defined]
    return found


def _end(job: JobInfo) -> int:
    return job.ended_at or job.started_at


def _has_failed(job: JobInfo) -> bool:
    return job.state in ("DEAD", "CANCELLED")


__all__ = [
    "ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION", "DoneAndNotDone", "as_completed", "cancelling", "wait",
    "wait_async",
]  # fmt: skip
