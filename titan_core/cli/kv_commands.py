"""The command of the key-value store."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from titan_core.cli.command import CommandFailed, UsageError, argument, command
from titan_core.cli.render import moment
from titan_core.cli.session import Session
from titan_sdk.kv import KeyValues
from titan_sdk.render import clean
from titan_sdk.sizes import counted
from titan_sdk.task_results import RESULTS_PREFIX

ACTIONS = (
    "get",
    "set",
    "create",
    "cas",
    "del",
    "incr",
    "expire",
    "keys",
    "add",
    "remove",
    "members",
    "push",
    "pop",
    "range",
)


@command(
    "kv",
    "The key-value store: get, set, create, cas KEY OLD NEW, del, incr [BY], expire KEY SECONDS, keys [PREFIX], "
    "add, remove, members (of sets), push, pop, range (of lists).",
    argument("action", metavar="action", choices=ACTIONS, help="one of these"),
    argument("key", nargs="?", default="", help="or, for keys, what they begin with"),
    argument("values", nargs="*", metavar="value"),
    argument("--ttl", type=float, metavar="SECONDS", help="of set, create and cas: until the key is gone"),
    argument("--left", action="store_true", help="of push and pop: at the beginning of the list"),
)
def kv(session: Session, given: argparse.Namespace) -> None:
    if not given.key and given.action != "keys":
        raise UsageError(f"kv {given.action}: which key?")
    least, most, run = _RUNS[given.action]
    if not least <= len(given.values) <= most:
        raise UsageError(
            f"kv {given.action} takes {least if least == most else f'{least} to {most}'} values after the key"
        )
    try:
        run(session, session.client.kv, given)
    except ValueError as error:
        raise UsageError(f"kv {given.action}: {error}") from None


def _get(session: Session, kv: KeyValues, given: argparse.Namespace) -> None:
    _show_value(session, given.key, kv.get(given.key))


def _show_value(session: Session, key: str, value: bytes | None) -> None:
    if value is None:
        raise CommandFailed(f"{key} holds no value")
    if session.as_json:
        session.show(value)
    else:  # as it is, for whoever reads it by a program
        sys.stdout.flush()
        sys.stdout.buffer.write(value + b"\n" if sys.stdout.isatty() else value)
        sys.stdout.buffer.flush()


def _set(session: Session, kv: KeyValues, given: argparse.Namespace) -> None:
    kv.set(given.key, given.values[0], ttl=given.ttl)
    session.show(True, f"{clean(given.key)} is set")


def _create(session: Session, kv: KeyValues, given: argparse.Namespace) -> None:
    if not kv.create(given.key, given.values[0], ttl=given.ttl):
        raise CommandFailed(f"{given.key} is there already")
    session.show(True, f"{clean(given.key)} is set")


def _cas(session: Session, kv: KeyValues, given: argparse.Namespace) -> None:
    if not kv.compare_and_set(given.key, *given.values, ttl=given.ttl):
        raise CommandFailed(f"{given.key} does not hold {given.values[0]!r}")
    session.show(True, f"{clean(given.key)} is set")


def _del(session: Session, kv: KeyValues, given: argparse.Namespace) -> None:
    if not kv.delete(given.key):
        raise CommandFailed(f"{given.key} holds nothing")
    session.show(True, f"{clean(given.key)} is deleted")


def _incr(session: Session, kv: KeyValues, given: argparse.Namespace) -> None:
    number = kv.increment(given.key, int(given.values[0]) if given.values else 1)
    session.show(number, str(number))


def _expire(session: Session, kv: KeyValues, given: argparse.Namespace) -> None:
    if not kv.expire(given.key, float(given.values[0])):
        raise CommandFailed(f"{given.key} holds nothing")
    session.show(True, f"{clean(given.key)} is gone in {given.values[0]} s")


_SIZE_OF: dict[str, str] = {"value": "byte", "set": "member", "list": "item"}


def _keys(session: Session, kv: KeyValues, given: argparse.Namespace) -> None:
    if session.as_json:
        session.show(list(kv.entries(given.key)))
        return
    results = 0
    for entry in kv.entries(given.key):
        if not given.key and entry.key.startswith(RESULTS_PREFIX):
            results += 1
            continue
        size = counted(entry.size, _SIZE_OF[entry.kind])
        end = f", until {moment(entry.expires_at)}" if entry.expires_at else ""
        session.show(None, f"{clean(entry.key)}  {entry.kind} of {size}{end}")
    if results:
        session.show(None, f"and {counted(results, 'result')} of Python functions, under {RESULTS_PREFIX}")


def _add(session: Session, kv: KeyValues, given: argparse.Namespace) -> None:
    _show_number(session, kv.add(given.key, *given.values))


def _remove(session: Session, kv: KeyValues, given: argparse.Namespace) -> None:
    _show_number(session, kv.remove(given.key, *given.values))


def _members(session: Session, kv: KeyValues, given: argparse.Namespace) -> None:
    found = sorted(kv.members(given.key))
    session.show(found, *map(clean, found))


def _push(session: Session, kv: KeyValues, given: argparse.Namespace) -> None:
    _show_number(session, kv.push(given.key, *given.values, left=given.left))


def _pop(session: Session, kv: KeyValues, given: argparse.Namespace) -> None:
    _show_value(session, given.key, kv.pop(given.key, left=given.left))


def _range(session: Session, kv: KeyValues, given: argparse.Namespace) -> None:
    items = kv.range(given.key, *map(int, given.values))
    session.show(items, *(clean(item.decode("utf-8", "replace")) for item in items))


def _show_number(session: Session, number: int) -> None:
    session.show(number, str(number))


_RUNS: dict[str, tuple[int, int, Callable[[Session, KeyValues, Any], None]]] = {
    "get": (0, 0, _get), "set": (1, 1, _set), "create": (1, 1, _create), "cas": (2, 2, _cas), "del": (0, 0, _del),
    "incr": (0, 1, _incr), "expire": (1, 1, _expire), "keys": (0, 0, _keys), "add": (1, 1000, _add),
    "remove": (1, 1000, _remove), "members": (0, 0, _members), "push": (1, 1000, _push), "pop": (0, 0, _pop),
    "range": (0, 2, _range),
}  # fmt: skip
"""For each action: how many values it takes at least and at most, and what carries it out."""
