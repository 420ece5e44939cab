"""The commands of ./titan-dev. Sets the environment up, goes over to its Python, then does what was asked."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from titan_dev.environment import ROOT, Environment, SetupFailed

COMMANDS = {
    "up": "start a master, workers and the dashboard in the foreground; Ctrl-C stops them",
    "demo": "run a real pipeline on a cluster of its own, and show its result",
    "test": "ruff, mypy and the tests",
    "mutants": "break a copy of the engine on purpose, and show that the tests notice",
    "bench": "measure, and compare with xargs",
    "backup": "copy the master's data, while it is at work",
    "restore": "put such a copy in the place of the master's data",
    "logs": "print a job's log, or what the last `up` printed",
}
"""Name -> what it does. Each is a module of this package with ``add_arguments`` and ``run``."""

_MARK = "TITAN_DEV_ENVIRONMENT"
"""Environment variable that says which environment we went over to, so that it happens once at most."""


def parser() -> argparse.ArgumentParser:
    """The command line of titan-dev; a command's own options are in its module, which may need the environment."""
    listing = "\n".join(f"  {name:8} {text}" for name, text in COMMANDS.items())
    top = argparse.ArgumentParser(
        prog="titan-dev",
        usage="titan-dev COMMAND [options]",
        description="Work on and with Titan. What is missing (.venv and the pinned packages) is set up first.",
        epilog=f"commands:\n{listing}\n\n`titan-dev COMMAND --help` tells a command's options.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("command", choices=list(COMMANDS), metavar="COMMAND", help="see below")
    return top


def say(text: str) -> None:
    print(f"titan-dev: {text}", file=sys.stderr, flush=True)


def main(argv: Sequence[str]) -> int:
    """Run a command and return its exit code: 0 good, 1 what it ran failed, 2 it could not be run."""
    options = parser().parse_args(argv[:1])
    module = importlib.import_module(f"titan_dev.{options.command}")
    command = argparse.ArgumentParser(prog=f"titan-dev {options.command}", description=COMMANDS[options.command])
    module.add_arguments(command)
    arguments, rest = command.parse_known_args(argv[1:])
    if rest and not getattr(module, "TAKES_MORE", False):
        command.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest[:1] == ["--"]:  # it has done its part: what follows is for the program behind the command
        del rest[0]

    folder = Path(os.environ.get("TITAN_VENV") or ROOT / ".venv").absolute()
    environment = Environment(ROOT, folder, say)
    try:
        environment.ensure()
    except SetupFailed as error:
        say(str(error))
        return 2
    except KeyboardInterrupt:
        say("interrupted; start again and it goes on from here")
        return 130
    if Path(sys.prefix).resolve() != folder.resolve():
        if os.environ.get(_MARK) == str(folder):
            say(f"{environment.python} does not run as the Python of {folder}; remove that folder and start again")
            return 2
        os.environ[_MARK] = str(folder)
        os.execv(environment.python, [str(environment.python), str(ROOT / "titan-dev"), *argv])
    os.environ.pop(_MARK, None)
    code: int = module.run(arguments, rest)
    return code
