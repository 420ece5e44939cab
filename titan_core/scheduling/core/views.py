"""Views: the read side. What is so, as the structs that travel to clients; nothing here changes anything."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import cast

from msgspec.structs import replace

from titan_core.model.job import Job
from titan_core.model.requirement import Need
from titan_core.model.rows import ApprovalRow
from titan_core.model.run import Run
from titan_core.model.states import JobState
from titan_core.model.task_execution import TaskExecution
from titan_core.model.worker import Worker
from titan_core.scheduling.core.crash_loops import in_crash_loop
from titan_core.scheduling.core.job_book import JobBook
from titan_core.scheduling.core.limits import CoreLimits
from titan_core.scheduling.core.repairs import is_repair, versions
from titan_core.scheduling.core.triggers import instances_of
from titan_core.scheduling.core.worker_registry import WorkerRegistry
from titan_sdk.errors import NotFound
from titan_sdk.messages import (
    DEFAULT_FLOW,
    ApprovalInfo,
    Decision,
    ExecutionInfo,
    JobInfo,
    JobList,
    JobSpec,
    OnTimeout,
    RepairInfo,
    RunInfo,
    RunOptions,
    RunPage,
    RunSummary,
    ServiceInfo,
    SpecList,
    WorkerInfo,
)


class Views:
    """Answers the questions of people and handles."""

    def __init__(self, book: JobBook, registry: WorkerRegistry, limits: CoreLimits) -> None:
        self._book = book
        self._registry = registry
        self._limits = limits

    def job(self, name: str) -> JobInfo:
        """The job of that name with its executions.

        Raises:
            NotFound: no such job in memory.
        """
        job = self._book.find_job(name)
        if job is None:
            raise NotFound(f"no job {name}")
        info = job_info(job, self._explain(job, {}))
        self._add_history(info, job)
        info.outputs = self._book.outputs.of(job).decode()
        return info

    def _add_history(self, info: JobInfo, job: Job) -> None:
        repairs = self._book.repairs.get(job.key, [])
        info.executions = [execution_info(execution, repairs) for execution in job.executions or ()]
        info.repairs = list(repairs)
        info.approvals = [approval_info(row) for row in self._book.approvals.get(job.key, ())]

    def run(self, name: str, first: int, limit: int | None) -> RunInfo:
        """The run of that id, or of the job of that name, with ``limit`` of its jobs from number ``first`` on.

        The jobs come without their executions.

        Raises:
            NotFound: no such run in memory.
        """
        run = self._book.find_run(name)
        if run is None:
            raise NotFound(f"no run or job {name}")
        answered: dict[Need, bool] = {}
        jobs = run.jobs[first : None if limit is None else first + limit]
        return run_info(run, [job_info(job, self._explain(job, answered)) for job in jobs])

    def jobs(self, states: Collection[str], limit: int) -> JobList:
        """The newest ``limit`` jobs in these states (none: in any), without executions; ``total`` counts them all."""
        counts = self._book.counts
        wanted = {state for state in JobState if not states or state.value in states}
        total = sum(counts[state] for state in wanted)
        found: list[JobInfo] = []
        answered: dict[Need, bool] = {}
        for job in reversed(self._book.jobs.values()):
            if len(found) >= min(limit, total):
                break
            if job.state in wanted:
                found.append(job_info(job, self._explain(job, answered)))
        return JobList(jobs=found, total=total)

    def changed(self, keys: Sequence[str]) -> tuple[list[RunSummary], list[JobInfo]]:
        """The jobs of these keys with their executions, and the runs they belong to; what left memory is left out."""
        runs: dict[str, RunSummary] = {}
        jobs: list[JobInfo] = []
        answered: dict[Need, bool] = {}
        for key in keys:
            job = self._book.jobs.get(key)
            if job is None:
                continue
            info = job_info(job, self._explain(job, answered))
            self._add_history(info, job)
            jobs.append(info)
            if info.run_id not in runs:
                runs[info.run_id] = run_summary(job.run)
        return list(runs.values()), jobs

    def runs(self, limit: int) -> RunPage:
        """The newest ``limit`` runs."""
        newest = reversed(self._book.runs.values())
        wanted = min(limit, len(self._book.runs))
        return RunPage(runs=[run_summary(next(newest)) for _ in range(wanted)], total=len(self._book.runs))

    def counts(self) -> dict[str, int]:
        """How many jobs in memory are in each state."""
        return {state.value: number for state, number in self._book.counts.items()}

    def specs(self, name: str) -> SpecList:
        """What was asked for: the run of that id, or the job of that key or id. Raises NotFound."""
        run = self._book.runs.get(name)
        if run is not None:
            return SpecList(
                name=run.row.name,
                jobs=[job.spec for job in run.jobs if is_asked_for(job.spec)],
            )
        job = self._book.find_job(name)
        if job is None:
            raise NotFound(f"no run or job {name}")
        return SpecList(name=job.run.row.name, jobs=[job.spec])

    def workers(self) -> list[WorkerInfo]:
        """Every worker, in order of registration."""
        return [worker_info(worker) for worker in self._registry.workers.values()]

    def services(self, name: str, now_ms: int) -> list[ServiceInfo]:
        """Every service that is not final, or those of that id with its replicas; without what workers measure."""
        answered: dict[Need, bool] = {}
        found = []
        for job in self._book.services.values():
            if job.spec.kind == "service" and (not name or _is_replica(job.spec.id, name) or job.key == name):
                info = job_info(job, self._explain(job, answered))
                up_ms = now_ms - job.started_at if job.state is JobState.RUNNING else 0
                replaces = job.spec.upkeep.replaces if job in self._book.successors.values() else ""
                found.append(
                    ServiceInfo(job=info, status=self._status(job), uptime_s=max(up_ms, 0) / 1000, replaces=replaces)
                )
        return found

    def _status(self, job: Job) -> str:
        if job.ending == "aside" and job.state is not JobState.RUNNING:
            return "waiting"
        if job.ending:
            return "restarting" if job.ending == "restart" else "stopping"
        if job.ready:
            return "ready"
        if job.attempt and in_crash_loop(job, self._limits):
            return "crash loop"
        if job.state is JobState.RUNNING:
            return "starting"
        return "restarting" if job.attempt and job.state is JobState.DELAYED else "waiting"

    def _explain(self, job: Job, answered: dict[Need, bool]) -> str:
        """Why the job is where it is. ``answered`` saves asking all workers about the same need again."""
        if job.state is JobState.WAITING:
            parents = len(job.spec.parents)
            if instances := instances_of(job):
                return f"waits for {job.blockers} of its {len(instances)} instances"
            if not parents:
                return "waits for the end of its run"
            return f"waits for {job.blockers} of its {parents} parents" if parents > 1 else "waits for its parent"
        if job.state is JobState.HELD:
            asked = self._book.approvals.get(job.key)
            if asked and not asked[-1].decision:
                return f"waits for approval: {asked[-1].message}"
            return f"being repaired by {self._book.repairs[job.key][-1].job}: {job.reason}"
        if job.state is JobState.PENDING:
            possible = answered.get(job.need)
            if possible is None:
                possible = answered[job.need] = self._registry.can_serve(job.need)
            if not possible:
                return f"no worker with {self._registry.describe(job.need)}"
            if held := self._registry.port_holders(job.need):
                return f"waits for port {job.need.port}, which {held}"
        return job.reason


def job_info(job: Job, reason: str) -> JobInfo:
    """The job without its executions."""
    spec = job.spec
    return JobInfo(
        key=job.key,
        id=spec.id,
        run_id=job.run.run_id,
        file=spec.file,
        state=job.state.value,
        kind=spec.kind,
        reason=reason,
        exit_code=job.exit_code,
        ready=job.ready,
        attempt=job.attempt,
        retries_left=max(spec.retries - job.failures, 0),
        worker=job.executions[-1].worker_name if job.executions else "",
        priority=spec.priority,
        requirement=spec.requirement,
        parents=spec.parents,
        submitted_at=job.run.row.submitted_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        due_at=job.due_at,
        log_bytes=job.log_size,
        restarts=job.restarts,
        port=job.port or (spec.port if job.is_service else 0),
        url=_url(job),
        trigger=(spec.flow or DEFAULT_FLOW).trigger,
        handler=(spec.flow or DEFAULT_FLOW).handler,
        instance_of=(spec.flow or DEFAULT_FLOW).instance_of,
    )


def _url(job: Job) -> str:
    """Where a service answers while it is ready; empty when it does not, or nobody knows."""
    port = job.port or job.spec.port
    if not job.ready or not port or not job.executions:
        return ""
    host = job.executions[-1].worker_name.rpartition(":")[0]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}" if host else ""


def _is_replica(job_id: str, name: str) -> bool:
    number = job_id.removeprefix(f"{name}.")
    return job_id == name or (number != job_id and number.isdecimal())


def run_info(run: Run, jobs: list[JobInfo]) -> RunInfo:
    return RunInfo(
        run_id=run.run_id,
        name=run.row.name,
        version=run.version,
        finished=run.finished,
        submitted_at=run.row.submitted_at,
        parent=run.row.parent,
        jobs=jobs,
        total=len(run.jobs),
        open=run.open,
        options=_shown(run.row.options),
        tree_jobs=run.row.growth.tree_jobs if run.row.growth else 0,
        deadline_at=run.row.growth.deadline_at if run.row.growth else 0,
    )


def _shown(options: RunOptions | None) -> RunOptions | None:
    return replace(options, kept_outputs={}) if options is not None and options.kept_outputs else options


def run_summary(run: Run) -> RunSummary:
    tally = run.tally()
    return RunSummary(
        run_id=run.run_id,
        name=run.row.name,
        finished=run.finished,
        submitted_at=run.row.submitted_at,
        ended_at=tally.ended_at,
        parent=run.row.parent,
        total=len(run.jobs),
        states={state.value: number for state, number in tally.states.items() if number},
        open=run.open,
        agent_run_id=run.row.options.agent_run_id if run.row.options else "",
    )


def worker_info(worker: Worker) -> WorkerInfo:
    """The worker without what heartbeats tell (load of the machine, last sign of life)."""
    return WorkerInfo(
        worker_id=worker.worker_id,
        host=worker.host,
        port=worker.port,
        state=worker.state,
        capabilities=tuple(sorted(worker.capabilities)),
        slots=worker.slots,
        busy=worker.busy,
        permanent=worker.permanent,
        classic=worker.classic,
        jobs=tuple(worker.leases),
        children=worker.children,
        cpus=worker.millicpus / 1000,
        cpus_used=worker.millicpus_used / 1000,
        memory=worker.memory,
        memory_used=worker.memory_used,
        gpus=worker.gpus,
        gpus_used=worker.gpus_used,
        limits=worker.limits,
        machine=worker.machine,
        cores=worker.cores,
        job=worker.job_key,
    )


def approval_info(row: ApprovalRow) -> ApprovalInfo:
    return ApprovalInfo(
        key=row.key,
        number=row.number,
        message=row.message,
        asked_at=row.asked_at,
        expires_at=row.expires_at,
        on_timeout=cast(OnTimeout, row.on_timeout),
        decision=cast(Decision, row.decision),
        by=row.by,
        comment=row.comment,
        decided_at=row.decided_at,
    )


def execution_info(execution: TaskExecution, repairs: list[RepairInfo]) -> ExecutionInfo:
    return ExecutionInfo(
        attempt=execution.attempt,
        worker=execution.worker_name,
        started_at=execution.started_at,
        ended_at=execution.ended_at,
        outcome=execution.outcome,
        exit_code=execution.exit_code,
        reason=execution.reason,
        sha256=versions(repairs, execution.attempt),
    )


def is_asked_for(spec: JobSpec) -> bool:
    """Whether somebody submitted the job, and the master did not add it as a repair or an instance of another."""
    return not (is_repair(spec) or (spec.flow or DEFAULT_FLOW).instance_of)
