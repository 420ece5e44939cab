"""Commands about the command line itself."""

from __future__ import annotations

import argparse

from titan_core.cli.command import COMMANDS, CommandFailed, argument, command
from titan_core.cli.session import Session
from titan_sdk.render import table


@command("help", "List the commands, or tell how one is used.", argument("command", nargs="?"), completes="command")
def help_(session: Session, given: argparse.Namespace) -> None:
    if given.command is None:
        rows = [(each.brief, each.help) for each in COMMANDS.values()]
        session.show({each.name: each.help for each in COMMANDS.values()}, table(("command", "what it does"), rows))
        return
    found = COMMANDS.get(given.command)
    if found is None:
        raise CommandFailed(f"there is no command {given.command!r}; `help` lists them all")
    value = {"command": found.name, "usage": found.usage, "help": found.help}
    session.show(value, found.parser().format_help().rstrip() if not found.raw else f"{found.usage}\n\n{found.help}")


@command("exit", "Leave the shell; `quit` and the end of input do too.")
def exit_(_: Session, __: argparse.Namespace) -> None:
    """Nothing to do: the shell ends itself, and a command line ends anyway."""
