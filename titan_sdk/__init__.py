"""Titan's client library: submit jobs and DAGs to a cluster, follow them, and use their results.

    from titan_sdk import TitanClient, TitanJob

    with TitanClient() as client:
        job = client.submit_job(TitanJob("hello", "hello.py"))
        print(job.result())

Everything named here is loaded when it is first used: programs that need one module of the package pay for that alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from titan_sdk.artifacts import Artifact, fetch, publish
    from titan_sdk.client import TitanClient
    from titan_sdk.errors import (
        BadRequest,
        BudgetExceeded,
        ConfigError,
        Conflict,
        ConnectFailed,
        ConnectionLost,
        DeadlineExceeded,
        InvalidName,
        JobFailed,
        NotFound,
        PipelineError,
        Problem,
        RemoteError,
        Saturated,
        SubmissionRefused,
        TitanError,
        TransportError,
        Unauthorized,
        Unavailable,
        WaitTimeout,
    )
    from titan_sdk.handles import JobHandle, RunHandle
    from titan_sdk.job import TitanJob
    from titan_sdk.job_context import failed_jobs, inputs, item, output
    from titan_sdk.messages import Budget, JobInfo, RunInfo, ScheduleInfo, ServiceInfo, WorkerInfo
    from titan_sdk.repairing import failure, repair
    from titan_sdk.schedules import ScheduleHandle
    from titan_sdk.services import ServiceHandle
    from titan_sdk.tasks import RemoteTraceback, Task, TaskCall, TaskHandle, submit, task
    from titan_sdk.waiting import (
        ALL_COMPLETED,
        FIRST_COMPLETED,
        FIRST_EXCEPTION,
        DoneAndNotDone,
        as_completed,
        cancelling,
        wait,
        wait_async,
    )

__version__ = "0.1.0"

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "Artifact",
    "BadRequest",
    "Budget",
    "BudgetExceeded",
    "ConfigError",
    "Conflict",
    "ConnectFailed",
    "ConnectionLost",
    "DeadlineExceeded",
    "DoneAndNotDone",
    "InvalidName",
    "JobFailed",
    "JobHandle",
    "JobInfo",
    "NotFound",
    "PipelineError",
    "Problem",
    "RemoteError",
    "RemoteTraceback",
    "RunHandle",
    "RunInfo",
    "Saturated",
    "ScheduleHandle",
    "ScheduleInfo",
    "ServiceHandle",
    "ServiceInfo",
    "SubmissionRefused",
    "Task",
    "TaskCall",
    "TaskHandle",
    "TitanClient",
    "TitanError",
    "TitanJob",
    "TransportError",
    "Unauthorized",
    "Unavailable",
    "WaitTimeout",
    "WorkerInfo",
    "as_completed",
    "cancelling",
    "failed_jobs",
    "failure",
    "fetch",
    "inputs",
    "item",
    "output",
    "publish",
    "repair",
    "submit",
    "task",
    "wait",
    "wait_async",
]

_HOMES = {
    "TitanClient": "client",
    "TitanJob": "job",
    "JobHandle": "handles",
    "RunHandle": "handles",
    "Budget": "messages",
    "JobInfo": "messages",
    "RunInfo": "messages",
    "ScheduleHandle": "schedules",
    "ScheduleInfo": "messages",
    "ServiceHandle": "services",
    "ServiceInfo": "messages",
    "WorkerInfo": "messages",
    "failed_jobs": "job_context",
    **dict.fromkeys(("Artifact", "fetch", "publish"), "artifacts"),
    "failure": "repairing",
    "repair": "repairing",
    "inputs": "job_context",
    "item": "job_context",
    "output": "job_context",
    "ALL_COMPLETED": "waiting",
    "FIRST_COMPLETED": "waiting",
    "FIRST_EXCEPTION": "waiting",
    "DoneAndNotDone": "waiting",
    "as_completed": "waiting",
    "cancelling": "waiting",
    "wait": "waiting",
    "wait_async": "waiting",
    **dict.fromkeys(("RemoteTraceback", "Task", "TaskCall", "TaskHandle", "submit", "task"), "tasks"),
}
"""Where a name of ``__all__`` stands, unless it is in ``errors``."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
