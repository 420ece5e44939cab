"""What happened according to the jobs themselves, held against what the master says.

Nothing here uses the engine: the jobs write files of their own, and the checks compare those with plain values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

LEDGER_JOB: Final = """
import os, subprocess, sys, time
folder, hold_ms, behaviour = sys.argv[1:]
attempt = int(os.environ["TITAN_ATTEMPT"])
name = "~".join((os.environ["TITAN_RUN_ID"], os.environ["TITAN_JOB_ID"], str(attempt), str(os.getpid())))
ledger = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
os.write(ledger, b"start %d\\n" % time.monotonic_ns())
if behaviour == "daemon":
    # What is ignored stays so in the programs that it starts; the first of them loses its parent at once.
    stubborn = "trap '' TERM HUP; sleep 600 & exec sleep 600"
    subprocess.Popen(["sh", "-c", f"sh -c {stubborn!r} &"], start_new_session=True)
print("hello from", name, flush=True)
time.sleep(int(hold_ms) / 1000)
os.write(ledger, b"end %d\\n" % time.monotonic_ns())
print("bye from", name)
sys.exit(3 if behaviour == "doomed" or (behaviour == "flaky" and attempt == 1) else 0)
"""
"""Arguments: the ledger's folder, how long it takes, and ``plain``, ``daemon`` (leaves some behind), ``flaky`` (fails
the first time) or ``doomed`` (always fails). The clock is the same for all processes of the machine."""


@dataclass(frozen=True)
class Execution:
    """One process of a job; ``end`` is None when it did not come to its end. Monotonic ns."""

    run_id: str
    job_id: str
    attempt: int
    pid: int
    start: int
    end: int | None


@dataclass(frozen=True)
class Planned:
    """One job as it was submitted, and how it must end."""

    id: str
    parents: tuple[str, ...] = ()
    behaviour: str = "plain"
    expected: str = "COMPLETED"


@dataclass(frozen=True)
class Outcome:
    """The final state of a job in the master's words."""

    state: str
    attempt: int


@dataclass
class Acknowledged:
    """Runs that a client was told are accepted, and the outcomes that anybody was told of."""

    runs: dict[str, tuple[Planned, ...]] = field(default_factory=dict)
    outcomes: dict[str, dict[str, Outcome]] = field(default_factory=dict)


def read_ledger(folder: Path) -> list[Execution]:
    """Every process that came as far as its first line."""
    found = []
    for path in folder.iterdir():
        run_id, job_id, attempt, pid = path.name.split("~")
        lines = dict(line.split() for line in path.read_text().splitlines())
        if "start" in lines:
            end = int(lines["end"]) if "end" in lines else None
            found.append(Execution(run_id, job_id, int(attempt), int(pid), int(lines["start"]), end))
    return found


def check_run(
    plan: Iterable[Planned], outcomes: Mapping[str, Outcome], ledger: Iterable[Execution], *, late_starts: bool = False
) -> list[str]:
    """What is wrong with one run that is over.

    Args:
        ledger: executions of this run.
        late_starts: a worker that hears nothing for a while may still begin an attempt that was taken from it
            meanwhile, so an attempt that does not count may start after the one that does has ended.
    """
    wrong = []
    by_job: dict[str, list[Execution]] = {}
    for execution in ledger:
        by_job.setdefault(execution.job_id, []).append(execution)
    planned = {job.id: job for job in plan}
    wrong += [f"{job_id} ran, and nobody submitted it" for job_id in by_job.keys() - planned.keys()]
    wrong += [f"{job_id} was accepted and is gone" for job_id in planned.keys() - outcomes.keys()]
    ends: dict[str, int] = {}
    for job_id in planned.keys() & outcomes.keys():
        wrong += _check_job(planned[job_id], outcomes[job_id], by_job.get(job_id, []), ends, late_starts)
    for job_id, executions in by_job.items():
        for parent in planned[job_id].parents if job_id in planned else ():
            for execution in executions:
                if parent not in ends or execution.start < ends[parent]:
                    wrong.append(f"{job_id} attempt {execution.attempt} began before its parent {parent} had completed")
    return wrong


def _check_job(
    job: Planned, outcome: Outcome, executions: list[Execution], ends: dict[str, int], late_starts: bool
) -> list[str]:
    """What is wrong with one job; notes in ``ends`` when its accepted attempt ended."""
    wrong = []
    if outcome.state != job.expected:
        wrong.append(f"{job.id} is {outcome.state} and should be {job.expected}")
    by_attempt: dict[int, list[Execution]] = {}
    for execution in executions:
        by_attempt.setdefault(execution.attempt, []).append(execution)
    for attempt, processes in by_attempt.items():
        if len(processes) > 1:
            wrong.append(f"{job.id} attempt {attempt} ran {len(processes)} times")
        if attempt > outcome.attempt:
            wrong.append(f"{job.id} ran as attempt {attempt}, and attempt {outcome.attempt} was accepted")
    if outcome.state != "COMPLETED":
        return wrong
    accepted = [execution for execution in by_attempt.get(outcome.attempt, []) if execution.end is not None]
    if not accepted:
        return [*wrong, f"{job.id} is COMPLETED, but its attempt {outcome.attempt} never came to its end"]
    end = ends[job.id] = min(execution.end for execution in accepted if execution.end is not None)
    if job.behaviour == "flaky" and outcome.attempt == 1:
        wrong.append(f"{job.id} failed and is COMPLETED")
    if not late_starts:
        wrong += [
            f"{job.id} attempt {execution.attempt} began after attempt {outcome.attempt} had completed it"
            for execution in executions
            if execution.start > end
        ]
    return wrong


def check_final(first: Mapping[str, Outcome], later: Mapping[str, Outcome]) -> list[str]:
    """A final state is final: what was said once is said ever after."""
    return [
        f"{job_id} was {outcome} and is now {later.get(job_id)}"
        for job_id, outcome in first.items()
        if later.get(job_id) != outcome
    ]
