"""Which processes a worker runs, on disk: what is left of them after a crash is ended at the next start.

A process is told by its pid and the moment it started (process_table.py), and by a mark that jobs carry in their
environment. What fits neither is not ours, whatever pid it has.
"""

from __future__ import annotations

import logging
import os
import secrets
import select
import signal
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

from titan_core.tasks.process_table import Process, all_processes, find_process, send_signals

log = logging.getLogger(__name__)

MARK: Final = "TITAN_LAUNCHER"
"""Variable in the environment of every job; its value belongs to one run of one worker's launcher."""
_RECORD_BYTES: Final = 96
"""A line of the file: a pid of at most ten digits and a start time as ps writes it take half of that."""
_SETTLE_S: Final = 5.0
"""For killed processes to be gone from the table; one that waits for a broken disk may take for ever."""
_LOOK_S: Final = 0.02


class ProcessRegistry:
    """A file of one line per process; lines are overwritten in place, so that a job costs one small write.

    Line 0 is the mark, then come the launcher and, for each slot, its supervisor and its job. Not for use by several
    threads at once. Nothing is fsynced: processes do not outlive the machine.
    """

    def __init__(self, path: Path, slots: int) -> None:
        self._path = path
        self._slots = slots
        self._fd = -1
        self.mark = ""

    def open(self) -> list[Process]:
        """Read what an earlier worker wrote, and begin a new file. The answer is what is left of that worker's.

        Raises:
            OSError: the file cannot be written.
        """
        left = self._read()
        self.begin()
        return left

    def begin(self) -> None:
        """A new launcher with a new mark; what was noted before is forgotten."""
        self.close()
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self.mark = secrets.token_hex(12)
        self._write(0, self.mark)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def note_launcher(self, pid: int) -> None:
        process = find_process(pid)
        if process is not None:
            self._write(1, f"{pid} {process.started}")

    def note_supervisor(self, slot: int, pid: int, started: str) -> None:
        self._write(2 + 2 * slot, f"{pid} {started}")

    def note_job(self, slot: int, pid: int, started: str) -> None:
        """``started`` is empty for a process that had ended when it was looked at."""
        self._write(3 + 2 * slot, f"{pid} {started}" if started else "")

    def left(self) -> list[Process]:
        """What runs of that which was noted, with all that belongs to it."""
        return self._read()

    def _write(self, line: int, text: str) -> None:
        record = text.encode()[: _RECORD_BYTES - 1].ljust(_RECORD_BYTES - 1) + b"\n"
        try:
            os.pwrite(self._fd, record, line * _RECORD_BYTES)
        except OSError as error:  # a disk that is full must not keep jobs from running
            log.warning("%s: %s", self._path, error)

    def _read(self) -> list[Process]:
        try:
            text = self._path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return []
        lines = [text[at : at + _RECORD_BYTES].strip(" \0\n") for at in range(0, len(text), _RECORD_BYTES)]
        mark = lines[0] if lines else ""
        noted = set()
        for line in lines[1:]:
            pid, _, started = line.partition(" ")
            if pid.isdecimal() and started:
                noted.add((int(pid), started))
        return find_leftovers(mark, noted)


def find_leftovers(mark: str, noted: Collection[tuple[int, str]]) -> list[Process]:
    """Live processes that were noted (pid and start) or carry the mark, and everything below or in a group of those."""
    table = {pid: process for pid, process in all_processes().items() if not process.zombie}
    ours = {pid for pid, process in table.items() if (pid, process.started) in noted}
    if mark:
        ours |= {pid for pid in table if pid not in ours and _carries(pid, mark)}
    ours -= {os.getpid()}
    groups = {table[pid].group for pid in ours} - {os.getpgrp()}
    before = -1
    while len(ours) != before:
        before = len(ours)
        ours |= {pid for pid, process in table.items() if process.parent in ours or process.group in groups}
        ours -= {os.getpid()}
    return [table[pid] for pid in ours]


def end_processes(processes: Iterable[Process], grace_s: float) -> list[Process]:
    """SIGTERM, a grace, then SIGKILL, to processes that need not be our children; those that are left in the end."""
    left = [process for process in processes if send_signals(process, signal.SIGTERM, signal.SIGCONT)]
    left = _wait_gone(left, grace_s)
    for process in left:
        send_signals(process, signal.SIGKILL)
    return _wait_gone(left, _SETTLE_S)


def _wait_gone(processes: list[Process], timeout_s: float) -> list[Process]:
    end = time.monotonic() + timeout_s
    left = [process for process in processes if _lives(process)]
    while left and (rest := end - time.monotonic()) > 0:
        _wait_for_end(left[0], rest)
        left = [process for process in left if _lives(process)]
    return left


def _wait_for_end(process: Process, timeout_s: float) -> None:
    """Until this process ends or the time is over; without pidfds, a moment."""
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    except (AttributeError, OSError):
        time.sleep(min(_LOOK_S, timeout_s))
        return
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        if poll.poll(timeout_s * 1000) and _lives(process):  # a zombie that its parent has yet to take in
            time.sleep(min(_LOOK_S, timeout_s))
    finally:
        os.close(fd)


def _lives(process: Process) -> bool:
    now = find_process(process.pid)
    return now is not None and now.started == process.started and not now.zombie


def _carries(pid: int, mark: str) -> bool:
    """Whether a process has the mark in its environment; never where that cannot be read (macOS, other users)."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as environ:
            return f"{MARK}={mark}".encode() in environ.read().split(b"\0")
    except OSError:
        return False
