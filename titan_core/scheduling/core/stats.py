"""Statistics: the monitor of PROTOCOL.md section 6, as JSON and as text."""

from __future__ import annotations

from typing import Any

from titan_core.model.job import Job
from titan_core.model.states import JobState
from titan_core.model.worker import PastExecution, Worker
from titan_core.scheduling.core.job_book import JobBook
from titan_core.scheduling.core.worker_registry import WorkerRegistry


def stats_json(book: JobBook, registry: WorkerRegistry) -> dict[str, Any]:
    """The map of STATS_JSON; keys beyond the original's come after them."""
    present = registry.present()
    counts = book.counts
    return {
        "active_workers": _active(present),
        "queue_size": counts[JobState.PENDING],
        "workers": [_worker(worker) for worker in present],
        "delayed": counts[JobState.DELAYED],
        "waiting": counts[JobState.WAITING],
        "running": counts[JobState.RUNNING],
        "completed": counts[JobState.COMPLETED],
        "dead": counts[JobState.DEAD],
        "cancelled": counts[JobState.CANCELLED],
        "skipped": counts[JobState.SKIPPED],
    }


def stats_text(book: JobBook, registry: WorkerRegistry) -> str:
    """The text monitor."""
    present = registry.present()
    counts = book.counts
    lines = [
        "--- TITAN SYSTEM MONITOR ---",
        f"Active Workers:    {_active(present)}",
        f"Execution Queue:   {counts[JobState.PENDING]} jobs",
        f"Delayed (Time):    {counts[JobState.DELAYED]} jobs",
        f"Blocked (DAG):     {counts[JobState.WAITING]} jobs",
        f"Dead Letter (DLQ): {counts[JobState.DEAD]} jobs",
        "-------------------------------",
        "Worker Status:",
    ]
    for worker in present:
        percent = f"({100 * worker.busy // worker.slots if worker.slots else 0}%)"
        lines.append(f" • [{worker.port}] Load: {_load(worker)} {percent:<8} | Skills: {_skills(worker)}")
        lines += [f"    └── ⚙️ Service ID: {job.spec.id}" for job in _services(worker)]
    return "\n".join(lines)


def _worker(worker: Worker) -> dict[str, Any]:
    jobs = _jobs(worker)
    return {
        "port": worker.port,
        "capabilities": _skills(worker),
        "load": _load(worker),
        "active_job": jobs[0].spec.id if jobs else None,
        "history": [_past(past) for past in worker.history],
        "services": [job.spec.id for job in _services(worker)],
        "host": worker.host,
        "worker_id": worker.worker_id,
        "state": worker.state,
        "permanent": worker.permanent,
        "jobs": [job.spec.id for job in jobs],
    }


def _past(past: PastExecution) -> dict[str, Any]:
    return {
        "id": past.job_id,
        "status": past.status,
        "time": f"{past.duration_ms}ms",
        "completed_at": past.completed_at,
    }


def _active(present: list[Worker]) -> int:
    return sum(worker.connected for worker in present)


def _load(worker: Worker) -> str:
    return f"{worker.busy}/{worker.slots}"


def _skills(worker: Worker) -> str:
    return f"[{', '.join(sorted(worker.capabilities))}]"


def _services(worker: Worker) -> list[Job]:
    return [job for job in worker.leases.values() if job.is_service]


def _jobs(worker: Worker) -> list[Job]:
    return [job for job in worker.leases.values() if not job.is_service]
