"""The interactive shell: a prompt with history and completion, or plain lines when nobody sits there."""

from __future__ import annotations

import shlex
import sys
import textwrap
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory

from titan_core.cli.command import COMMANDS, UsageError
from titan_core.cli.session import Session
from titan_sdk.errors import TitanError
from titan_sdk.messages import ListJobs

PROMPT = "titan> "
HISTORY = "cli_history"
LEAVE = ("exit", "quit")
BANNER_WIDTH = 100
"""Longest line of the greeting; shorter on a narrow terminal."""
_NO_BREAK = "\N{NO-BREAK SPACE}"
JOBS_OFFERED = 200
"""Newest jobs whose ids are completed; older ones are seldom typed."""
JOBS_FRESH_S = 2.0
"""How long a list of jobs is used for completion before the master is asked again."""
COMPLETION_S = 1.0
"""Longest wait for the master while somebody types."""

Execute = Callable[[str, list[str]], int]
"""Runs a command by its name and words, tells what went wrong, and returns its exit code."""


def banner(session: Session) -> str:
    """The greeting, the original's own."""
    line = "=" * 42
    connected = "Connected to" if session.connected() else "No master yet at"
    whole = (each.brief.replace(" ", _NO_BREAK) for each in COMMANDS.values())
    width = min(session.console.width, BANNER_WIDTH)
    commands = textwrap.fill(f"Commands: {', '.join(whole)}", width, subsequent_indent="  ").replace(_NO_BREAK, " ")
    title = "    [INFO] TITAN DISTRIBUTED ORCHESTRATOR    "
    return f"{line}\n{title}\n{line}\n{connected}: {session.address}\n{commands}\n"


def split(line: str) -> tuple[str, list[str]]:
    """A line's command and its words; quotes are honoured, except in a command that takes the line as it is.

    Raises:
        UsageError: a quote is not closed.
    """
    name, _, rest = line.strip().partition(" ")
    found = COMMANDS.get(name)
    if found is not None and found.raw:
        return name, [rest.strip()] if rest.strip() else []
    try:
        return name, shlex.split(rest)
    except ValueError as error:
        raise UsageError(f"{error}".lower()) from None


class Shell:
    """Reads commands until ``exit``, end of input, or a Ctrl-C at a prompt with nobody behind it."""

    def __init__(self, session: Session, execute: Execute, perm_files: Path) -> None:
        self._session = session
        self._execute = execute
        self._completer = CommandCompleter(session, perm_files)

    def run(self) -> int:
        """The exit code: 0 for a person; of the last command that failed, for a script on stdin."""
        print(banner(self._session), flush=True)
        code = 0
        try:
            read = self._prompt() if sys.stdin.isatty() and sys.stdout.isatty() else lambda: input(PROMPT)
            while True:
                try:
                    line = read().strip()
                except KeyboardInterrupt:  # a line typed in vain
                    continue
                if line in LEAVE:
                    break
                if line:
                    code = self._one(line) or code
        except EOFError:
            print()
        return 0 if self._session.interactive else code

    def _prompt(self) -> Callable[[], str]:
        self._session.interactive = True
        home = self._session.home
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        prompt: PromptSession[str] = PromptSession(
            PROMPT,
            history=FileHistory(str(home / HISTORY)),
            completer=self._completer,
            complete_in_thread=True,
            enable_history_search=True,
        )
        return prompt.prompt

    def _one(self, line: str) -> int:
        try:
            name, words = split(line)
        except UsageError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            return 2
        try:
            return self._execute(name, words)
        except KeyboardInterrupt:
            print(flush=True)
            return 130


class CommandCompleter(Completer):
    """Completes commands, and what their first argument names."""

    def __init__(self, session: Session, perm_files: Path) -> None:
        self._session = session
        self._perm_files = perm_files
        self._paths = PathCompleter(expanduser=True)
        self._jobs: list[str] = []
        self._jobs_until = 0.0

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        words = document.text_before_cursor.lstrip().split(" ")
        if len(words) == 1:
            return self._matching(words[0], {each.name: each.help for each in COMMANDS.values()})
        found = COMMANDS.get(words[0])
        if found is None or found.positionals(words[1:]) != 1:
            return ()
        if found.completes == "path":
            return self._paths.get_completions(Document(words[-1]), complete_event)
        if found.completes == "command":
            return self._matching(words[-1], {each.name: each.help for each in COMMANDS.values()})
        if found.completes == "job":
            return self._matching(words[-1], dict.fromkeys(self._job_ids(), ""))
        if found.completes == "file":
            return self._matching(words[-1], dict.fromkeys(self._files(), ""))
        return ()

    @staticmethod
    def _matching(begun: str, offered: dict[str, str]) -> Iterable[Completion]:
        for text, meaning in offered.items():
            if text.startswith(begun):
                yield Completion(text, start_position=-len(begun), display_meta=meaning)

    def _job_ids(self) -> list[str]:
        """Ids and keys the master knows; what was known last when it does not answer at once."""
        if time.monotonic() > self._jobs_until:
            try:
                jobs = self._session.call(ListJobs(limit=JOBS_OFFERED), COMPLETION_S).jobs
                self._jobs = [name for job in jobs for name in (job.id, job.key)]
            except TitanError:
                pass
            self._jobs_until = time.monotonic() + JOBS_FRESH_S
        return self._jobs

    def _files(self) -> list[str]:
        """What lies in perm_files, when that folder is on this machine."""
        if not self._perm_files.is_dir():
            return []
        return sorted(path.name for path in self._perm_files.rglob("*") if path.is_file() and path.name[0] != ".")
