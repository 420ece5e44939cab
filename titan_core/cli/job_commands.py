"""Commands about jobs and services."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Final, get_args

from titan_core.cli.command import UsageError, argument, command
from titan_core.cli.render import job_details, jobs_table
from titan_core.cli.session import Session
from titan_sdk.classic_jobs import parse_dag, parse_submission
from titan_sdk.job import AUTO, RESTARTS
from titan_sdk.messages import (
    DEFAULT_PRIORITY,
    DEFAULT_SERVICE,
    GENERAL,
    Accepted,
    CancelJob,
    Deploy,
    ExplainJob,
    GetJob,
    ListJobs,
    RunFile,
    ServiceSpec,
    StateName,
    Stop,
)
from titan_sdk.names import check_capability, check_port
from titan_sdk.protocol import Opcode
from titan_sdk.render import clean, table

JOB_STATES: Final[tuple[str, ...]] = get_args(StateName)


def _requirement(text: str) -> tuple[str, ...]:
    return tuple(check_capability(word) for word in text.split(","))


def show_accepted(session: Session, accepted: Accepted) -> None:
    notes = (f"note: {clean(note)}" for note in accepted.notes)
    session.show(accepted, *(f"accepted: {key}" for key in accepted.jobs), *notes)


@command(
    "run",
    "Run a file of perm_files now, once.",
    argument("--requirement", default=GENERAL, metavar="CAPABILITY", help="what the worker must be able to do"),
    argument("--priority", type=int, default=DEFAULT_PRIORITY, metavar="N", help="higher goes first"),
    argument("--id", default="", metavar="ID", help="the job's id; made up when it is not given"),
    argument("file", help="name of the file in perm_files"),
    argument("args", nargs=argparse.REMAINDER, help="handed to the file as they are"),
    completes="file",
)
def run(session: Session, given: argparse.Namespace) -> None:
    request = RunFile(
        file=given.file,
        args=tuple(given.args),
        requirement=_requirement(given.requirement),
        priority=given.priority,
        job_id=given.id,
    )
    show_accepted(session, session.call(request))


@command(
    "deploy",
    "Keep a file of perm_files running as a service; Worker.jar or TitanWorker.py starts another worker.",
    argument("--name", default="", metavar="NAME", help="its id; an active service of that name is replaced"),
    argument("--health", default="", metavar="PATH", help="a path that answers when all is well, like /health"),
    argument("--restart", default="always", choices=RESTARTS, metavar="WHEN", help="always, on-failure or never"),
    argument("file", help="name of the file in perm_files, or Worker.jar"),
    argument("port", nargs="?", default="0", help="the service's or worker's port; auto for a free one, 0 for none"),
    argument("capability", nargs="?", default=GENERAL, help="where it may run; of a new worker: what it can do"),
    completes="file",
)
def deploy(session: Session, given: argparse.Namespace) -> None:
    auto = given.port.lower() == AUTO
    if not auto and not given.port.isdecimal():
        raise UsageError(f"{given.port!r} is not a port; a number or {AUTO} is wanted")
    port = 0 if auto else check_port(int(given.port), zero=True)
    service = ServiceSpec(restart=given.restart, auto_port=auto, health_path=given.health)
    request = Deploy(
        file=given.file,
        port=port,
        requirement=_requirement(given.capability),
        name=given.name,
        service=None if service == DEFAULT_SERVICE else service,
    )
    show_accepted(session, session.call(request))


@command("stop", "Stop a service or a job, its whole process tree.", argument("id"), completes="job")
def stop(session: Session, given: argparse.Namespace) -> None:
    answer = session.call(Stop(id=given.id))
    session.show(answer, clean(answer.text) or f"{given.id} had ended before")


@command(
    "cancel",
    "Cancel a job, or every job of a run; what is being cancelled submits nothing more.",
    argument("--children", action="store_true", help="also the runs submitted from inside, however far down"),
    argument("id"),
    completes="job",
)
def cancel(session: Session, given: argparse.Namespace) -> None:
    answer = session.call(CancelJob(id=given.id, children=given.children))
    session.show(answer, clean(answer.text) or f"{given.id} had ended before")


@command(
    "submit",
    "Submit a job in the original's words: a capability, and what to do, as in GENERAL RUN_PAYLOAD|file|args|base64.",
    argument("skill"),
    argument("data"),
    raw=True,
)
def submit(session: Session, given: argparse.Namespace) -> None:
    payload = f"{given.skill}|{given.data}|1|0"
    text = session.classic(Opcode.SUBMIT_JOB, payload)
    named = parse_submission(payload).id  # the answer names none, and no other than the master knows one it made up
    _show_classic(session, text, [named] if named else [])


@command(
    "dag",
    "Submit a DAG in the original's words: ID|SKILL|...|PRIORITY|DELAY|[PARENTS] for each job, joined by semicolons.",
    argument("raw_dag"),
    raw=True,
)
def dag(session: Session, given: argparse.Namespace) -> None:
    text = session.classic(Opcode.SUBMIT_DAG, given.raw_dag)
    _show_classic(session, text, [job.id for job in parse_dag(given.raw_dag)])


def _show_classic(session: Session, text: str, ids: list[str]) -> None:
    session.show({"answer": text, "jobs": ids}, clean(text), *(f"accepted: {each}" for each in ids))


@command(
    "jobs",
    "List jobs, the newest first.",
    argument("state", nargs="*", help="only jobs in these states, like RUNNING or DEAD"),
    argument("-n", type=int, default=30, metavar="N", help="at most so many (default 30)"),
)
def jobs(session: Session, given: argparse.Namespace) -> None:
    states = tuple(state.upper() for state in given.state)
    for word, state in zip(given.state, states, strict=True):
        if state not in JOB_STATES:
            raise UsageError(f"{word!r} is not a state: {', '.join(JOB_STATES)}")
    found = session.call(ListJobs(states=states, limit=given.n))
    if not found.jobs:
        session.show(found, f"No {' or '.join(states)} jobs." if states else "No job yet.")
        return
    more = [f"{found.total - len(found.jobs)} more"] if found.total > len(found.jobs) else []
    session.show(found, jobs_table(found.jobs, _now_ms(), session.console.width), *more)


@command("job", "Show everything that is known of a job.", argument("id"), completes="job")
def job(session: Session, given: argparse.Namespace) -> None:
    found = session.call(GetJob(id=given.id))
    session.show(found, *job_details(found, _now_ms()))


@command(
    "explain",
    "Tell why a job is where it is; of one that waits for a worker, what keeps each of them from taking it.",
    argument("id"),
    completes="job",
)
def explain(session: Session, given: argparse.Namespace) -> None:
    found = session.call(ExplainJob(id=given.id))
    rows = [(clean(each.worker), clean(each.text)) for each in found.workers]
    shown = [table(("worker", "why not there"), rows)] if rows else []
    session.show(found, f"{clean(found.job.key)} is {found.job.state}. {clean(found.summary)}", *shown)


@command(
    "logs",
    "Print a job's log, byte for byte.",
    argument("id"),
    argument("-f", dest="follow", action="store_true", help="go on until the job has ended"),
    completes="job",
)
def logs(session: Session, given: argparse.Namespace) -> None:
    handle = session.client.job(given.id)
    for data in handle.log_bytes(follow=True) if given.follow else [handle.log_bytes()]:
        if session.as_json:
            sys.stdout.write(json.dumps({"job": given.id, "text": data.decode("utf-8", "replace")}) + "\n")
        else:
            sys.stdout.buffer.write(data)
        sys.stdout.flush()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
