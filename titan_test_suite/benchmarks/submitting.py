"""Handing jobs to a master, many at a time, and waiting for their ends."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Iterable, Sequence
from typing import Any, Final

from titan_sdk.connection import RpcClient
from titan_sdk.errors import TitanError
from titan_sdk.messages import (
    CHUNK_BYTES,
    Accepted,
    GetJob,
    GetLogs,
    JobInfo,
    JobSpec,
    Message,
    RunInfo,
    SubmitRun,
    UploadChunk,
    WatchRun,
)

DEADLINE_S: Final = 600.0
"""A cluster that needs longer for anything measured here is broken."""
WINDOW: Final = 200
"""Submissions under way at once: fewer than a connection carries, so that none of them waits on our side."""


class JobWentWrong(Exception):
    """A measured job did not complete, or printed nothing."""


def upload(client: RpcClient, data: bytes) -> str:
    """Hand a small content to the master; its digest."""
    assert len(data) <= CHUNK_BYTES
    digest = hashlib.sha256(data).hexdigest()
    client.call(UploadChunk(sha256=digest, size=len(data), offset=0, data=data))
    return digest


class Script:
    """A script that the master has; ``job`` makes a job of it."""

    def __init__(self, client: RpcClient, source: str, file: str = "tiny.py") -> None:
        self._file = file
        self._size = len(source.encode())
        self._sha256 = upload(client, source.encode())

    def job(self, job_id: str, **fields: Any) -> JobSpec:
        return JobSpec(id=job_id, file=self._file, sha256=self._sha256, size=self._size, **fields)


def run_each(submitter: RpcClient, waiter: RpcClient, specs: Iterable[JobSpec]) -> list[JobInfo]:
    """Submit every job as a run of its own, durably, and wait until all of them have ended.

    Two connections, so that no submission waits behind somebody who waits.

    Raises:
        JobWentWrong: one of them did not complete.
    """
    ends: queue.SimpleQueue[Message | TitanError] = queue.SimpleQueue()

    def accepted(answer: Accepted | TitanError) -> None:
        if isinstance(answer, TitanError):
            ends.put(answer)
        else:
            waiter.send(GetJob(id=answer.jobs[0], wait_s=DEADLINE_S), ends.put)

    count = 0
    for spec in specs:
        submitter.send(SubmitRun(name=spec.id, jobs=[spec]), accepted)
        count += 1
    infos = [_job(ends.get(timeout=DEADLINE_S)) for _ in range(count)]
    check(infos)
    return infos


def run_one(client: RpcClient, spec: JobSpec) -> JobInfo:
    """Submit one job and wait for its end."""
    key = client.call(SubmitRun(name=spec.id, jobs=[spec])).jobs[0]
    info = client.call(GetJob(id=key, wait_s=DEADLINE_S), DEADLINE_S)
    check([info])
    return info


def run_dag(client: RpcClient, name: str, specs: Sequence[JobSpec]) -> RunInfo:
    """Submit the jobs as one run, and wait until it has ended; its answer need not hold all jobs."""
    run_id = client.call(SubmitRun(name=name, jobs=list(specs)), DEADLINE_S).run_id
    run = client.call(WatchRun(id=run_id, settled=True, wait_s=DEADLINE_S), DEADLINE_S)
    check(run.jobs)
    return run


def submit_all(client: RpcClient, runs: Iterable[SubmitRun]) -> None:
    """Submit the runs, WINDOW of them under way at once, and wait until all are accepted.

    Raises:
        TitanError: of one that was not.
    """
    room = threading.Semaphore(WINDOW)
    failures: list[TitanError] = []

    def accepted(answer: Accepted | TitanError) -> None:
        if isinstance(answer, TitanError):
            failures.append(answer)
        room.release()

    for run in runs:
        room.acquire()
        client.send(run, accepted)
    for _ in range(WINDOW):
        room.acquire()
    if failures:
        raise failures[0]


def log_of(client: RpcClient, key: str, offset: int = 0) -> bytes:
    """A piece of the log of the latest attempt: from ``offset`` on, negative from its end."""
    return client.call(GetLogs(id=key, offset=offset)).data


def check(jobs: Sequence[JobInfo]) -> None:
    """Raise JobWentWrong unless all have completed."""
    for job in jobs:
        if job.state != "COMPLETED":
            raise JobWentWrong(f"{job.key} is {job.state}: {job.reason or job.exit_code}")


def check_logs(jobs: Sequence[JobInfo]) -> None:
    """Raise JobWentWrong unless the master has something of every job's log."""
    for job in jobs:
        if not job.log_bytes:
            raise JobWentWrong(f"the master has nothing of the log of {job.key}")


def _job(answer: Message | TitanError) -> JobInfo:
    if isinstance(answer, TitanError):
        raise answer
    assert isinstance(answer, JobInfo)
    return answer
