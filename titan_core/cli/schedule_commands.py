"""Commands about recurring schedules."""

from __future__ import annotations

import argparse

from titan_core.cli.command import argument, command
from titan_core.cli.session import Session
from titan_sdk.messages import (
    DeleteSchedule,
    ListFirings,
    ListSchedules,
    PauseSchedule,
    TriggerSchedule,
)
from titan_sdk.render import clean
from titan_sdk.schedule_view import due_lines, firings_table, next_text, schedules_table


@command(
    "schedules",
    "List the recurring schedules: when they run, their next and last runs; of one, what became of its due times.",
    argument("name", nargs="?", default="", help="only this one"),
    argument("-n", type=int, default=20, metavar="N", help="its newest N due times (default 20)"),
)
def schedules(session: Session, given: argparse.Namespace) -> None:
    if given.name:
        found = session.call(ListSchedules(name=given.name)).schedules
        firings = session.call(ListFirings(name=given.name, limit=given.n)).firings
        value = {"schedule": found[0], "history": firings}
        session.show(value, schedules_table(found), *(["", firings_table(firings)] if firings else []))
        return
    found = session.client.schedules()
    empty = "No schedule yet; a pipeline with the key schedule makes one."
    session.show(found, schedules_table(found) if found else empty)


@command("pause", "Let a schedule run nothing more until it is resumed; what runs goes on.", argument("name"))
def pause(session: Session, given: argparse.Namespace) -> None:
    info = session.call(PauseSchedule(name=given.name))
    session.show(info, f"{clean(info.name)} is paused")


@command(
    "resume",
    "Let a paused schedule run again; what was due meanwhile is up to its misfire policy.",
    argument("name"),
)
def resume(session: Session, given: argparse.Namespace) -> None:
    info = session.call(PauseSchedule(name=given.name, undo=True))
    session.show(info, f"{clean(info.name)} is active; next: {next_text(info)}")


@command("trigger", "Make a run of a schedule now, paused or not.", argument("name"))
def trigger(session: Session, given: argparse.Namespace) -> None:
    answer = session.call(TriggerSchedule(name=given.name))
    session.show(answer, f"accepted: {clean(answer.run_id)}" if answer.run_id else "it waits for the former run to end")


@command(
    "next",
    "Tell when a schedule is due next, in this machine's time zone.",
    argument("name"),
    argument("count", nargs="?", type=int, default=5, help="so many due times (default 5)"),
)
def coming(session: Session, given: argparse.Namespace) -> None:
    info = session.call(ListSchedules(name=given.name, next=given.count)).schedules[0]
    session.show({"name": info.name, "paused": info.paused, "next_due": info.next_due}, *due_lines(info))


@command(
    "unschedule",
    "Delete a schedule and its history; its runs stay, and those that are unfinished go on.",
    argument("name"),
)
def unschedule(session: Session, given: argparse.Namespace) -> None:
    answer = session.call(DeleteSchedule(name=given.name))
    session.show(answer, clean(answer.text))
