"""Commands about what people are asked before jobs go on."""

from __future__ import annotations

import argparse

from rich.table import Table

from titan_core.cli.command import argument, command
from titan_core.cli.render import moment
from titan_core.cli.session import Session
from titan_sdk.messages import ApprovalInfo, RepairInfo
from titan_sdk.render import clean, table


@command(
    "approvals",
    "List the jobs that wait for somebody to approve them; with --decided what was decided, by whom and when.",
    argument("id", nargs="?", default="", help="only of this job or run"),
    argument("--decided", action="store_true", help="the latest that do not wait any more"),
    completes="job",
)
def approvals(session: Session, given: argparse.Namespace) -> None:
    found = session.client.approvals(given.id, decided=given.decided)
    nothing = "Nothing was decided." if given.decided else "Nothing waits for approval."
    session.show(found, approvals_table(found, decided=given.decided) if found else nothing)


@command(
    "approve",
    "Let a job that waits for approval go on.",
    argument("job", help="its id or key"),
    argument("--comment", default="", help="kept with the decision"),
    completes="job",
)
def approve(session: Session, given: argparse.Namespace) -> None:
    answer = session.client.approve(given.job, given.comment)
    session.show(answer, f"{clean(answer.key)} is approved")


@command(
    "reject",
    "End a job that waits for approval: it is dead, with the comment as its reason.",
    argument("job", help="its id or key"),
    argument("--comment", default="", help="why"),
    completes="job",
)
def reject(session: Session, given: argparse.Namespace) -> None:
    answer = session.client.reject(given.job, given.comment)
    session.show(answer, f"{clean(answer.key)} is rejected")


@command(
    "repairs",
    "Show how a job was repaired when it had failed; with --diff what a repair changes, the last one or number N.",
    argument("job", help="its id or key"),
    argument("--diff", action="store_true", help="what it changes, line by line"),
    argument("--number", type=int, default=0, metavar="N", help="of --diff: of this repair"),
    completes="job",
)
def repairs(session: Session, given: argparse.Namespace) -> None:
    if given.diff:
        text = session.client.repair_diff(given.job, given.number)
        session.show(text, clean(text.rstrip("\n")))
        return
    found = session.client.job(given.job).info().repairs
    shown = table(("REPAIR", "BY", "OF ATTEMPT", "STATE", "WHAT"), map(_repair_row, found))
    session.show(found, shown if found else f"{clean(given.job)} was not repaired.")


def _repair_row(repair: RepairInfo) -> tuple[str, ...]:
    what = (repair.change.note if repair.change is not None else "") or repair.reason
    return str(repair.number), clean(repair.job), str(repair.attempt), repair.state, clean(what)


def approvals_table(found: list[ApprovalInfo], *, decided: bool) -> Table:
    if decided:
        return table(("JOB", "QUESTION", "DECISION", "BY", "WHEN", "COMMENT"), map(_decided_row, found))
    return table(
        ("JOB", "QUESTION", "ASKED", "WITHOUT AN ANSWER"),
        [(clean(each.key), clean(each.message), moment(each.asked_at), _without_answer(each)) for each in found],
    )


def _without_answer(asked: ApprovalInfo) -> str:
    return f"{asked.on_timeout} at {moment(asked.expires_at)}" if asked.expires_at else "waits"


def _decided_row(asked: ApprovalInfo) -> tuple[str, ...]:
    texts = (asked.key, asked.message, asked.decision, asked.by, moment(asked.decided_at), asked.comment)
    return tuple(map(clean, texts))
