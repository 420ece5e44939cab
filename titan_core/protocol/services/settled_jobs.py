"""Jobs as they settle, for who waits for many of them with one request."""

from __future__ import annotations

from functools import partial
from typing import Final

from titan_core.protocol.services import Done
from titan_core.protocol.services.jobs import MAX_WAIT_S, JobService
from titan_core.scheduling.core.scheduler_core import SchedulerCore
from titan_core.scheduling.scheduler import Scheduler
from titan_core.scheduling.settled_feed import Settled
from titan_sdk.errors import BadRequest, NotFound
from titan_sdk.messages import JobInfo, SettledJobs, WatchSettled

MAX_RUNS: Final = 1_000
"""In one request; who waits for jobs of more runs asks for all that settles."""


class SettledJobsService:
    """Any thread may call."""

    def __init__(self, scheduler: Scheduler, jobs: JobService) -> None:
        self._scheduler = scheduler
        self._jobs = jobs
        self._feed = scheduler.settled

    def watch(self, request: WatchSettled, done: Done[SettledJobs]) -> None:
        """Answer when a job has settled; see the request."""
        if len(request.runs) > MAX_RUNS:
            raise BadRequest(f"{len(request.runs)} runs are over the limit of {MAX_RUNS}; say none for all")
        runs = frozenset(request.runs)
        tell = partial(self._tell, done)
        if request.wait_s > 0:
            self._feed.wait(request.feed, request.since, runs, min(request.wait_s, MAX_WAIT_S), tell)
        else:
            tell(self._feed.since(request.feed, request.since, runs))

    def _tell(self, done: Done[SettledJobs], settled: Settled) -> None:
        def look(core: SchedulerCore) -> list[JobInfo | str]:
            """Of each job what is known of it, its key when it has left memory; of runs the key. Not what goes on."""
            found: list[JobInfo | str] = []
            for key in dict.fromkeys(settled.keys):
                if key.endswith("/"):
                    if core.is_settled(key[:-1]) or core.run_version(key[:-1]) is None:
                        found.append(key)
                elif core.is_settled(key):
                    found.append(core.job_info(key))
                elif core.run_version(key.partition("/")[0]) is None:
                    found.append(key)
            return found

        self._scheduler.read_durable(look, partial(self._answer, done, settled))

    def _answer(self, done: Done[SettledJobs], settled: Settled, found: list[JobInfo | str]) -> None:
        jobs = []
        runs = [each[:-1] for each in found if isinstance(each, str) and each.endswith("/")]
        for each in found:
            if isinstance(each, str) and each.endswith("/"):
                continue
            try:
                jobs.append(self._jobs.find(each) if isinstance(each, str) else each)
            except NotFound:  # given up since
                continue
        answer = SettledJobs(feed=self._feed.feed, version=settled.version, reset=settled.reset, more=settled.more)
        answer.jobs, answer.runs = jobs, runs
        done(answer)
