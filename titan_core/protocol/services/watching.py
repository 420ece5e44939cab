"""The cluster as it changes, for those that show all of it: a dashboard, a monitor."""

from __future__ import annotations

from functools import partial
from typing import Final

from titan_core.protocol.services import Done
from titan_core.protocol.services.cluster import ClusterService
from titan_core.scheduling.change_feed import Changed
from titan_core.scheduling.core.scheduler_core import SchedulerCore
from titan_core.scheduling.core.views import is_asked_for
from titan_core.scheduling.scheduler import Scheduler
from titan_core.storage.store import Store
from titan_sdk.errors import BadRequest, NotFound
from titan_sdk.messages import (
    ClusterChanges,
    GetSpecs,
    JobInfo,
    ListRuns,
    ListWorkers,
    RunPage,
    RunSummary,
    SpecList,
    WatchCluster,
)

MAX_WAIT_S: Final = 60.0
MAX_RUNS: Final = 10_000
"""In one answer, some 3 MB."""

_Seen = tuple[tuple[list[RunSummary], list[JobInfo]], dict[str, int]]


class WatchService:
    """Any thread may call."""

    def __init__(self, scheduler: Scheduler, cluster: ClusterService, store: Store) -> None:
        self._scheduler = scheduler
        self._cluster = cluster
        self._store = store
        self._feed = scheduler.feed

    def watch(self, request: WatchCluster, done: Done[ClusterChanges]) -> None:
        """Answer when something has changed."""
        tell = partial(self._tell, request, done)
        if not request.wait_s > 0 or not self._feed.wait(
            request.feed, request.since, min(request.wait_s, MAX_WAIT_S), tell
        ):
            tell()

    def _tell(self, request: WatchCluster, done: Done[ClusterChanges]) -> None:
        changed = self._feed.since(request.feed, request.since)

        def look(core: SchedulerCore) -> _Seen:
            return core.changed(changed.keys), core.counts()

        self._scheduler.read_durable(look, partial(self._answer, changed, done))

    def _answer(self, changed: Changed, done: Done[ClusterChanges], seen: _Seen) -> None:
        (runs, jobs), counts = seen
        done(
            ClusterChanges(
                feed=self._feed.feed,
                version=changed.version,
                reset=changed.reset,
                more=changed.more,
                counts=counts,
                workers=self._cluster.workers(ListWorkers()).workers,
                runs=runs,
                jobs=jobs,
            )
        )

    def list_runs(self, request: ListRuns, done: Done[RunPage]) -> None:
        if not 0 <= request.limit <= MAX_RUNS:
            raise BadRequest(f"limit {request.limit} is not from 0 to {MAX_RUNS}")
        if request.agent_run_id:
            runs = self._store.runs_of_agent(request.agent_run_id, request.limit)
            done(RunPage(runs=runs, total=len(runs)))
            return
        self._scheduler.read_durable(lambda core: core.list_runs(request.limit), done)

    def specs(self, request: GetSpecs) -> SpecList:
        try:
            return self._scheduler.read(lambda core: core.specs(request.id))
        except NotFound:
            stored = self._store.find_run(request.id)
            if stored is None:
                raise
            whole = stored.run.run_id == request.id
            specs = [
                spec
                for spec, row in stored.jobs
                if (is_asked_for(spec) if whole else request.id in (row.key, row.job_id))
            ]
            return SpecList(name=stored.run.name, jobs=specs)
