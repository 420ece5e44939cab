"""Graphs that grow and their relatives: jobs added, runs closed, trees of runs, agent runs."""

from __future__ import annotations

from typing import Final

from titan_core.protocol.services import Done
from titan_core.protocol.services.jobs import check_name, spellings
from titan_core.protocol.services.submissions import SubmissionService
from titan_core.scheduling.core.events import AddRequested, CloseRequested
from titan_core.scheduling.core.idempotency import digest_of
from titan_core.scheduling.scheduler import Scheduler
from titan_core.storage.store import Store
from titan_sdk.errors import BadRequest, Conflict, NotFound
from titan_sdk.messages import (
    RUNS_IN_TREE,
    Accepted,
    AddJobs,
    AgentRuns,
    CloseRun,
    GetRunTree,
    ListAgentRuns,
    Ok,
    RunTree,
)

MAX_AGENTS: Final = 1000


class GraphService:
    """Any thread may call. Trees and agent runs are read from the journal: what was acknowledged is there."""

    def __init__(self, scheduler: Scheduler, store: Store, submissions: SubmissionService) -> None:
        self._scheduler = scheduler
        self._store = store
        self._submissions = submissions

    def add(self, request: AddJobs, done: Done[Accepted]) -> None:
        """Accepted whole, durably, or refused whole with every problem."""
        check_name(request.id)
        jobs = tuple(self._submissions.checked_for(request))
        event = AddRequested(request.id, jobs, request.idempotency_key, request.parent)

        def posted(answer: Accepted | Exception) -> None:
            done(self._added_long_ago(event, answer) if isinstance(answer, NotFound) else answer)

        self._scheduler.post(event, posted)

    def _added_long_ago(self, event: AddRequested, error: NotFound) -> Accepted | Exception:
        """The answer for a run that has finished and left memory."""
        run_id = self._run_id(event.id)
        if run_id is None:
            return error
        digest = self._store.find_addition(run_id, event.idempotency_key) if event.idempotency_key else None
        if digest is None:
            return Conflict(f"run {run_id} has finished")
        if digest != digest_of(event.jobs):
            return Conflict(f"idempotency key {event.idempotency_key!r} was used for other jobs of {run_id}")
        return Accepted(run_id=run_id, jobs=[f"{run_id}/{spec.id}" for spec in event.jobs], repeated=True)

    def close(self, request: CloseRun, done: Done[Ok]) -> None:
        check_name(request.id)

        def posted(answer: bool | Exception) -> None:
            if isinstance(answer, NotFound) and self._run_id(request.id) is not None:
                answer = False
            done(answer if isinstance(answer, Exception) else Ok(text=f"closed {request.id}" if answer else ""))

        self._scheduler.post(CloseRequested(request.id), posted)

    def tree(self, request: GetRunTree) -> RunTree:
        """Raises NotFound."""
        check_name(request.id)
        run_id = self._run_id(request.id)
        if run_id is None:
            raise NotFound(f"no run or job {request.id}")
        runs, total = self._store.run_tree(run_id, request.depth, RUNS_IN_TREE)
        return RunTree(runs=runs, total=total)

    def agents(self, request: ListAgentRuns) -> AgentRuns:
        if not 0 <= request.limit <= MAX_AGENTS:
            raise BadRequest(f"limit {request.limit} is not from 0 to {MAX_AGENTS}")
        return AgentRuns(agents=self._store.agent_runs(request.limit))

    def _run_id(self, name: str) -> str | None:
        for spelling in spellings(name):
            stored = self._store.find_run(spelling)
            if stored is not None:
                return stored.run.run_id
        return None
