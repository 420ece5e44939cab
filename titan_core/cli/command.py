"""What a command is, and the registry from which help, completion, one-shot use and documentation are made."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from titan_core.cli.session import Session
from titan_sdk.errors import TitanError

Completes = Literal["", "job", "file", "path", "command"]
"""What a command's argument names: a job the master knows, a file of perm_files, a file here, a command."""

Run = Callable[[Session, argparse.Namespace], None]


class CommandFailed(TitanError):
    """A command did not do what it was asked; the text says why, for people."""


class UsageError(TitanError):
    """A command was called wrongly; the text says how, for people."""


@dataclass(frozen=True)
class Argument:
    """Arguments of ``ArgumentParser.add_argument``."""

    names: tuple[str, ...]
    options: dict[str, Any]

    @property
    def option(self) -> bool:
        return self.names[0].startswith("-")


def argument(*names: str, **options: Any) -> Argument:
    return Argument(names, options)


class _Parser(argparse.ArgumentParser):
    """An argparse parser that raises instead of ending the program: the shell goes on after a wrong command."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\n{self.format_usage().strip()}")


@dataclass(frozen=True)
class Command:
    """A command of the shell and of the command line.

    Attributes:
        name: what is typed. help: one sentence about what it does.
        raw: the rest of the line is one text, taken as it is, and ``arguments`` are cut off it at white space.
        completes: what its first argument names.
    """

    name: str
    help: str
    run: Run
    arguments: tuple[Argument, ...]
    raw: bool
    completes: Completes

    def parser(self) -> argparse.ArgumentParser:
        parser = _Parser(prog=self.name, description=self.help, add_help=False, allow_abbrev=False)
        for each in self.arguments:
            action = parser.add_argument(*each.names, **each.options)
            if action.nargs == argparse.REMAINDER:
                action.required = False  # else argparse asks for it where something else is missing
        parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
        return parser

    @property
    def usage(self) -> str:
        """How it is called, as in ``logs [-f] <id>``."""
        return " ".join([self.name, *map(_shown, self.arguments)])

    @property
    def brief(self) -> str:
        """How it is called, options left out."""
        return " ".join([self.name, *(_shown(each) for each in self.arguments if not each.option)])

    def positionals(self, words: Sequence[str]) -> int:
        """How many of these words are arguments, neither options nor their values; the last one may be half typed."""
        valued = {each.names[0] for each in self.arguments if each.option and "action" not in each.options}
        before = ["", *words]
        return sum(
            not word.startswith("-") and earlier not in valued for earlier, word in zip(before, words, strict=False)
        )

    def execute(self, session: Session, words: list[str]) -> None:
        """Run it with the words after its name.

        Raises:
            UsageError: they do not fit. CommandFailed and other TitanErrors: what it does went wrong.
        """
        if self.raw:
            names = [each.names[0] for each in self.arguments]
            parts = " ".join(words).split(maxsplit=len(names) - 1)
            if len(parts) < len(names):
                raise UsageError(f"{names[len(parts)]} is missing\nusage: {self.usage}")
            parsed = argparse.Namespace(**dict(zip(names, parts, strict=True)))
        else:
            parsed = self.parser().parse_args(words)
        with session.json_output(session.as_json or getattr(parsed, "json", False)):
            self.run(session, parsed)


def _shown(each: Argument) -> str:
    name, options = each.names[0], each.options
    metavar = str(options.get("metavar", name.lstrip("-")))
    if each.option:
        return f"[{name}]" if options.get("action") == "store_true" else f"[{name} {metavar}]"
    nargs = options.get("nargs")
    if nargs == "?":
        return f"[{metavar}]"
    return f"[{metavar}...]" if nargs in ("*", argparse.REMAINDER) else f"<{metavar}>"


COMMANDS: dict[str, Command] = {}
"""Every command by name, in the order of ``help``."""


def command(
    name: str, help: str, *arguments: Argument, raw: bool = False, completes: Completes = ""
) -> Callable[[Run], Run]:
    """Register the decorated function as a command."""

    def register(run: Run) -> Run:
        COMMANDS[name] = Command(name, help, run, tuple(arguments), raw, completes)
        return run

    return register
