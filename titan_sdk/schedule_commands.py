"""The commands of ``titan_cli.py`` about recurring schedules. Each takes a client and returns an exit code."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from titan_sdk.client import TitanClient
from titan_sdk.messages import ScheduleInfo
from titan_sdk.yaml_lines import printable

DEFAULT_NEXT: Final = 5
DEFAULT_HISTORY: Final = 20

AddCommand = Callable[[str, str], argparse.ArgumentParser]


def add_commands(command: AddCommand) -> None:
    """Add each to a parser; ``command`` makes one by name and description."""
    listing = command("schedules", "List the recurring schedules: when they run, their next and last runs.")
    listing.add_argument("name", nargs="?", default="", help="only this one, with what became of its due times")
    listing.add_argument("-n", type=int, default=DEFAULT_HISTORY, metavar="N", help="the newest N of these")
    for name, text in (
        ("pause", "Let a schedule run nothing more until it is resumed; what runs goes on."),
        ("resume", "Let a paused schedule run again; what was due meanwhile is up to its misfire policy."),
        ("trigger", "Make a run of a schedule now, paused or not, and print its id."),
        ("unschedule", "Delete a schedule and its history; its runs stay, and those that are unfinished go on."),
    ):
        command(name, text).add_argument("name", help="of the schedule")
    coming = command("next", "Tell when a schedule is due next, in this machine's time zone.")
    coming.add_argument("name", help="of the schedule")
    coming.add_argument("count", nargs="?", type=int, default=DEFAULT_NEXT, help=f"due times (default {DEFAULT_NEXT})")


def schedules(client: TitanClient, given: argparse.Namespace) -> int:
    from titan_sdk.schedule_view import firings_table, schedules_table  # rich takes as long to load as all the rest

    found = [client.schedule(given.name).info()] if given.name else client.schedules()
    history = client.schedule(given.name).history(given.n) if given.name else []
    if given.json:
        value: Any = [whole(each) for each in found]
        print(_json({**value[0], "history": [whole(each) for each in history]} if given.name else value))
        return 0
    if not found:
        print("No schedule yet; a pipeline with the key schedule makes one.")
        return 0
    from titan_sdk.run_view import new_console

    console = new_console()
    console.print(schedules_table(found))
    if history:
        console.print()
        console.print(firings_table(history))
    return 0


def pause(client: TitanClient, given: argparse.Namespace) -> int:
    return _show(given, client.schedule(given.name).pause(), "is paused")


def resume(client: TitanClient, given: argparse.Namespace) -> int:
    from titan_sdk.schedule_view import next_text

    info = client.schedule(given.name).resume()
    return _show(given, info, f"is active; next: {next_text(info)}")


def trigger(client: TitanClient, given: argparse.Namespace) -> int:
    run = client.schedule(given.name).trigger()
    if given.json:
        print(_json({"name": given.name, "run_id": run.run_id if run else None}))
    else:
        print(f"Submitted {run.run_id}" if run else "It runs when the former run has ended.")
    return 0


def coming(client: TitanClient, given: argparse.Namespace) -> int:
    from titan_sdk.schedule_view import due_lines

    info = client.schedule(given.name).info(given.count)
    _print_lines(given, due_lines(info), {"name": info.name, "paused": info.paused, "next_due": info.next_due})
    return 0


def unschedule(client: TitanClient, given: argparse.Namespace) -> int:
    client.schedule(given.name).delete()
    _print_lines(given, [f"{printable(given.name)} is deleted"], {"name": given.name, "deleted": True})
    return 0


COMMANDS: Final[dict[str, Callable[[TitanClient, argparse.Namespace], int]]] = {
    "schedules": schedules,
    "pause": pause,
    "resume": resume,
    "trigger": trigger,
    "next": coming,
    "unschedule": unschedule,
}


def _show(given: argparse.Namespace, info: ScheduleInfo, text: str) -> int:
    _print_lines(given, [f"{printable(info.name)} {text}"], whole(info))
    return 0


def _print_lines(given: argparse.Namespace, lines: Sequence[str], value: Any) -> None:
    print(_json(value) if given.json else "\n".join(lines))


def whole(value: object) -> Any:
    """A message as JSON can say it, with every field, the ones that have their default too."""
    if isinstance(value, msgspec.Struct):
        return {name: whole(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, (list, tuple)):
        return [whole(each) for each in value]
    return value


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
