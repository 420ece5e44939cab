"""Repairs: a job that failed for good is handed to another one, which may change it for a further try."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec.structs import replace

from titan_core.model.job import Job
from titan_core.model.states import JobState
from titan_core.scheduling.core.changes import Changes
from titan_core.scheduling.core.event_log import EventLog
from titan_core.scheduling.core.events import Instant
from titan_core.scheduling.core.job_book import JobBook
from titan_sdk.dag import job_problems
from titan_sdk.messages import FlowSpec, JobSpec, Mends, RepairChange, RepairInfo, RepairSpec, RepairState
from titan_sdk.sizes import MAX_SIZE

OUTPUT: Final = "titan_repair"
"""The output of a repair job that says what to change; a RepairChange."""
MAX_BASE_BYTES: Final = 150
"""Of a job's id, that stand in that of its repair: with the rest they still make an id."""
_OPEN: Final = ("running", "asked")


class Repairs:
    """Keeps what was repaired, makes the jobs that repair, and applies what they propose; JobLifecycle makes the moves.

    ``JobBook.repairs`` holds them by the key of the repaired job, oldest first. While the last one is open the job is
    HELD.
    """

    def __init__(self, book: JobBook, changes: Changes, events: EventLog) -> None:
        self._book = book
        self._changes = changes
        self._events = events

    def wanted(self, job: Job) -> bool:
        """Whether a job that failed for good has a repair left."""
        asked = repair_of(job)
        return asked is not None and len(self._book.repairs.get(job.key, ())) < asked.max

    def begin(self, job: Job, ran: JobSpec, now: Instant) -> Job:
        """Of a job that is HELD after a failed attempt, which was ``ran``: the new job that repairs it, PENDING."""
        asked = repair_of(job)
        assert asked is not None, job.story()
        rows = self._book.repairs.setdefault(job.key, [])
        number = len(rows) + 1
        book, spec = self._book, job.spec
        book.job_seq += 1
        made = _repair_spec(job, ran, asked, number, self._free_id(job, number))
        repairing = Job(made, job.run, book.job_seq, JobState.PENDING)
        book.extend(job.run, [repairing])
        self._changes.added(job.run, [repairing], "", "")
        self._save(
            job,
            RepairInfo(
                key=job.key,
                number=number,
                job=repairing.key,
                attempt=job.attempt,
                started_at=now.wall,
                before_sha256=spec.sha256,
                before_args=spec.args,
            ),
        )
        text = f"repair {number} of {asked.max} by {repairing.key}: {job.reason}"
        self._events.note("repair-begun", job.key, text, now)
        return repairing

    def _free_id(self, job: Job, number: int) -> str:
        """An id for the repair job that no active job has."""
        short = job.spec.id.encode()[:MAX_BASE_BYTES].decode(errors="ignore")
        base = f"{short}.repair-{number}"
        name, tried = base, 1
        while f"{job.run.run_id}/{name}" in self._book.jobs or _is_active(self._book.latest(name)):
            tried += 1
            name = f"{base}-{tried}"
        return name

    def open_of(self, job: Job) -> RepairInfo | None:
        """The repair that the job is HELD for; None when there is none."""
        rows = self._book.repairs.get(job.key)
        return rows[-1] if rows and rows[-1].state in _OPEN else None

    def target_of(self, repairing: Job) -> Job | None:
        """The job that waits for this one's proposal; None when this is no repair, or nobody waits any more."""
        mends = repairing.spec.flow.mends if repairing.spec.flow is not None else None
        target = self._book.jobs.get(mends.key) if mends is not None else None
        found = self.open_of(target) if target is not None else None
        return target if found is not None and found.job == repairing.key and found.state == "running" else None

    def propose(self, job: Job, outputs: bytes) -> str:
        """Take what a completed repair proposes for the job. Returns why that is nothing to try; empty: it is."""
        row = self.open_of(job)
        assert row is not None, job.story()
        try:
            found = msgspec.json.decode(outputs).get(OUTPUT) if outputs else None
            change = None if found is None else msgspec.convert(found, RepairChange)
        except msgspec.MsgspecError as error:
            return f"what it proposes cannot be used: {error}"
        if change is None or change == RepairChange(note=change.note):
            return "it proposed nothing"
        if change.sha256 and not _is_digest(change.sha256):
            return f"{change.sha256[:80]!r} is no digest of a file"
        if not 0 <= change.size <= MAX_SIZE:
            return f"a size of {change.size} bytes is out of range"
        problem = next(job_problems(_changed(job.spec, change)), None)
        if problem is not None:
            return f"what it proposes cannot be used: {problem}"
        self._save(job, replace(row, change=change))
        return ""

    def asked(self, job: Job) -> None:
        """A person is to decide on the proposal."""
        self._close(job, "asked", "", 0)

    def apply(self, job: Job, now: Instant) -> None:
        """Change the job as was proposed."""
        row = self.open_of(job)
        assert row is not None and row.change is not None, job.story()
        change = row.change
        job.spec = _changed(job.spec, change)
        job.failures = 0
        self._changes.respec(job)
        self._close(job, "applied", "", now.wall)
        self._events.note("repair-applied", job.key, f"repair {row.number}: {change.note or 'tried again'}", now)

    def fail(self, job: Job, state: RepairState, why: str, now: Instant) -> None:
        """Nothing comes of the open repair."""
        row = self.open_of(job)
        assert row is not None, job.story()
        self._close(job, state, why, now.wall)
        self._events.note("repair-failed", job.key, f"repair {row.number} {state}: {why}", now)

    def _close(self, job: Job, state: RepairState, reason: str, ended_at: int) -> None:
        row = self._book.repairs[job.key].pop()
        self._save(job, replace(row, state=state, reason=reason, ended_at=ended_at))

    def _save(self, job: Job, row: RepairInfo) -> None:
        rows = self._book.repairs[job.key]
        if rows and rows[-1].number == row.number:
            rows.pop()
        rows.append(row)
        self._changes.repair(row)


def _changed(spec: JobSpec, change: RepairChange) -> JobSpec:
    return replace(
        spec,
        sha256=change.sha256 or spec.sha256,
        size=change.size if change.sha256 else spec.size,
        args=spec.args if change.args is None else change.args,
        env={**spec.env, **change.env},
    )


def repair_of(job: Job) -> RepairSpec | None:
    return job.spec.flow.repair if job.spec.flow is not None else None


def is_repair(spec: JobSpec) -> bool:
    """Whether a job was made to repair another."""
    return spec.flow is not None and spec.flow.mends is not None


def versions(repairs: list[RepairInfo], attempt: int) -> str:
    """The digest of the content that this attempt of a repaired job ran; empty when it is unknown."""
    sha256 = repairs[0].before_sha256 if repairs else ""
    for row in repairs:
        if row.state == "applied" and row.attempt < attempt and row.change is not None and row.change.sha256:
            sha256 = row.change.sha256
    return sha256


def _repair_spec(job: Job, ran: JobSpec, asked: RepairSpec, number: int, job_id: str) -> JobSpec:
    spec = job.spec
    mends = Mends(
        key=job.key,
        number=number,
        attempt=job.attempt,
        exit_code=job.exit_code,
        reason=job.reason,
        file=spec.file,
        sha256=spec.sha256,
        size=spec.size,
        archive=spec.archive,
        args=ran.args,
        env=ran.env,
    )
    return JobSpec(
        id=job_id,
        file=asked.file,
        sha256=asked.sha256,
        size=asked.size,
        args=asked.args,
        env=ran.env,
        priority=spec.priority,
        retries=0,
        timeout_s=asked.timeout_s,
        flow=FlowSpec(mends=mends),
    )


def _is_active(job: Job | None) -> bool:
    return job is not None and not job.state.final


def _is_digest(text: Any) -> bool:
    return len(text) == 64 and all(char in "0123456789abcdef" for char in text)
