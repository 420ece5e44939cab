"""The operator's command line: ``TitanCli.py`` alone is a shell, ``TitanCli.py COMMAND ...`` does one thing.

Exit codes: 0 done; 1 the master said no, or there is no such thing; 2 wrong usage, or no master to ask.
"""

from __future__ import annotations

import pathlib
import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1] / "titan_sdk")
    import run_as_script

    run_as_script.prepare()

import argparse
import json
import os
from collections.abc import Sequence
from typing import NoReturn

# Importing them registers their commands, in this order.
import titan_core.cli.approval_commands
import titan_core.cli.artifact_commands
import titan_core.cli.cluster_commands
import titan_core.cli.job_commands
import titan_core.cli.kv_commands
import titan_core.cli.perm_files_commands
import titan_core.cli.run_commands
import titan_core.cli.schedule_commands
import titan_core.cli.service_commands
import titan_core.cli.shell_commands
import titan_core.cli.top  # noqa: F401
from titan_core import __version__
from titan_core.cli.command import COMMANDS, UsageError
from titan_core.cli.session import Session
from titan_core.cli.shell import LEAVE, Shell
from titan_sdk.errors import ConfigError, ConnectFailed, InvalidName, PipelineError, RemoteError, TitanError
from titan_sdk.names import check_port
from titan_sdk.render import clean
from titan_sdk.settings import client_settings

FAILED = 1
NOT_DONE = 2


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, like every error here."""

    def error(self, message: str) -> NoReturn:
        self.exit(NOT_DONE, f"error: {message}\n")


def _parser() -> argparse.ArgumentParser:
    listing = "\n".join(f"  {each.name:9} {each.help}" for each in COMMANDS.values())
    parser = _Parser(
        prog="TitanCli.py",
        usage="%(prog)s [--host HOST] [--port PORT] [--json] [--version] [COMMAND ...]",
        description="Talk to a Titan master. Without a command: a shell.",
        epilog=f"commands:\n{listing}\n\n`help COMMAND` tells how one is used.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--host", help="the master's address (default: TITAN_HOST, else 127.0.0.1)")
    parser.add_argument("--port", type=int, help="the master's port (default: TITAN_PORT, else 9090)")
    parser.add_argument("--json", action="store_true", help="print results as JSON, errors too")
    parser.add_argument("--version", action="version", version=f"Titan {__version__}")
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def execute(session: Session, name: str, words: list[str]) -> int:
    """Run one command; what goes wrong is told on stderr and in the exit code."""
    try:
        found = COMMANDS.get(name)
        if found is None:
            raise UsageError(f"there is no command {name!r}; `help` lists them all")
        found.execute(session, words)
    except (UsageError, ConfigError, InvalidName) as error:
        _complain(session, error)
        return NOT_DONE
    except ConnectFailed as error:
        _complain(session, session.away(error))
        return NOT_DONE
    except BrokenPipeError:
        raise
    except (TitanError, OSError) as error:
        _complain(session, error)
        return FAILED
    return 0


def _complain(session: Session, error: Exception) -> None:
    problems = error.problems if isinstance(error, (RemoteError, PipelineError)) else ()
    if session.as_json:
        value = {"type": type(error).__name__, "message": str(error), "problems": [str(each) for each in problems]}
        print(json.dumps({"error": value}, ensure_ascii=False), file=sys.stderr, flush=True)
        return
    print(f"error: {clean(str(error))}", file=sys.stderr)
    for problem in problems:
        if problem.text not in str(error):
            print(f"  {clean(str(problem))}", file=sys.stderr)
    sys.stderr.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code."""
    given = _parser().parse_args(argv)
    try:
        settings = client_settings()
        port = settings.port if given.port is None else check_port(given.port)
    except (ConfigError, InvalidName) as error:
        print(f"error: {error}", file=sys.stderr)
        return NOT_DONE
    session = Session(given.host or settings.host, port, settings.home, as_json=given.json)
    try:
        if not given.command:
            perm_files = pathlib.Path(os.environ.get("TITAN_PERM_FILES", "perm_files"))
            return Shell(session, lambda name, words: execute(session, name, words), perm_files).run()
        name, *words = given.command
        return 0 if name in LEAVE else execute(session, name, words)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # who reads our output has enough, as in `TitanCli.py logs ID | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    finally:
        session.close()


if __name__ == "__main__":
    sys.exit(main())
