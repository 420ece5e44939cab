"""Commands about the cluster as a whole."""

from __future__ import annotations

import argparse
import json
from typing import Final

from titan_core.cli.command import argument, command
from titan_core.cli.render import event_line, events_table, workers_table
from titan_core.cli.session import Session
from titan_sdk.messages import Cordon, GetStats, GetStatsJson, KillWorker, ListEvents, ListWorkers
from titan_sdk.names import check_port

WIDE: Final = 120
"""Columns of a terminal from which on a list of workers has room for what runs on each."""
FOLLOW_S: Final = 30.0
"""For one question to wait for news; then it is asked again."""


@command("stats", "Show the cluster's health: workers, their load, and the queues.")
def stats(session: Session, _: argparse.Namespace) -> None:
    if session.as_json:
        session.show(session.call(GetStatsJson()).data)
    else:
        session.show(None, session.call(GetStats()).text)


@command("json", "Show the statistics as JSON.")
def stats_as_json(session: Session, _: argparse.Namespace) -> None:
    data = session.call(GetStatsJson()).data
    session.show(data, json.dumps(data, indent=2, ensure_ascii=False))


@command("workers", "List the workers with their load, capabilities and jobs.")
def workers(session: Session, _: argparse.Namespace) -> None:
    found = session.call(ListWorkers()).workers
    brief = session.console.width < WIDE
    session.show(found, workers_table(found, brief=brief) if found else "No worker has registered.")


@command(
    "events",
    "Show what happened to the cluster, and why: workers that came and went, scaling, jobs set aside.",
    argument("-f", dest="follow", action="store_true", help="go on with what happens from now on"),
    argument("-n", type=int, default=30, metavar="N", help="the newest N of those before (default 30)"),
)
def events(session: Session, given: argparse.Namespace) -> None:
    found = session.call(ListEvents(newest=max(given.n, 1)))
    if not given.follow:
        session.show(found.events, events_table(found.events) if found.events else "Nothing has happened yet.")
        return
    shown = found.events if given.n > 0 else []
    while True:
        for event in shown:
            session.show(event, event_line(event))
        found = session.call(ListEvents(since=found.last, wait_s=FOLLOW_S), timeout=FOLLOW_S + 30.0)
        shown = found.events


@command(
    "shutdown",
    "Decommission a worker: it takes no new jobs, finishes or hands back what it runs, and ends.",
    argument("host"),
    argument("port", type=int),
)
def shutdown(session: Session, given: argparse.Namespace) -> None:
    answer = session.call(KillWorker(host=given.host, port=check_port(given.port)))
    session.show(answer, answer.text or f"{given.host}:{given.port} is decommissioned")


@command(
    "drain",
    "Keep new jobs away from a worker, which finishes what it has and stays; `undrain` takes it back.",
    argument("host"),
    argument("port", type=int),
)
def drain(session: Session, given: argparse.Namespace) -> None:
    answer = session.call(Cordon(host=given.host, port=check_port(given.port)))
    session.show(answer, answer.text)


@command("undrain", "Let a drained worker have jobs again.", argument("host"), argument("port", type=int))
def undrain(session: Session, given: argparse.Namespace) -> None:
    answer = session.call(Cordon(host=given.host, port=check_port(given.port), undo=True))
    session.show(answer, answer.text)
