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
from collections.abc import Collection
from pathlib import Path
from typing import Final

from titan_core.tasks.process_table import Process, all_processes, find_process, send_signals

log = logging.getLogger(__name__)

MARK: Final = "TITAN_LAUNCHER"
"""Variable in the environment of the launcher and of every job; its value belongs to one run of one launcher."""
_RECORD_BYTES: Final = 96
"""A line of the file: a pid of at most ten digits and a start time as ps writes it take half of that."""
_SETTLE_S: Final = 5.0
"""For killed processes to be gone from the table; one that waits for a broken disk may take for ever."""
_LOOK_S: Final = 0.02
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class ProcessRegistry:
    """A file of one line per process; lines are overwritten in place, so that a job costs one small write.

    Line 0 is the mark and the machine's boot, then come the launcher and, for each slot, its supervisor and its job.
    What another worker left in the file is there until ``begin``. Not for use by several threads at once. Nothing is
    fsynced: processes do not outlive the machine.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self.mark = ""

    def begin(self) -> None:
        """A new launcher with a new mark; what was noted before is forgotten.

        Raises:
            OSError: the file cannot be written.
        """
        self.close()
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self.mark = secrets.token_hex(12)
        self._write(0, f"{self.mark} {_boot_id()}")

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
        """What runs of that which was noted, with all that belongs to it.

        Raises:
            OSError: the file cannot be read.
        """
        return find_leftovers(*self._read())

    def end_left(self, grace_s: float) -> list[Process]:
        """End what is left, with all that it starts meanwhile; what cannot be ended.

        Raises:
            OSError: the file cannot be read.
        """
        return end_leftovers(*self._read(), grace_s)

    def _write(self, line: int, text: str) -> None:
        record = text.encode()[: _RECORD_BYTES - 1].ljust(_RECORD_BYTES - 1) + b"\n"
        try:
            os.pwrite(self._fd, record, line * _RECORD_BYTES)
        except OSError as error:  # a disk that is full must not keep jobs from running
            log.warning("%s: %s", self._path, error)

    def _read(self) -> tuple[str, set[tuple[int, str]]]:
        """The mark, and the pid and start of each process that was noted since the machine booted."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return "", set()
        records = [data[at : at + _RECORD_BYTES] for at in range(0, len(data), _RECORD_BYTES)]
        lines = [record.decode("ascii", "replace").strip(" \0\n") for record in records]
        mark, _, boot = lines[0].partition(" ") if lines else ("", "", "")
        noted = set()
        if boot == _boot_id():  # start times count from there
            for line in lines[1:]:
                pid, _, started = line.partition(" ")
                if pid.isdecimal() and started:
                    noted.add((int(pid), started))
        return mark, noted


def find_leftovers(mark: str, noted: Collection[tuple[int, str]]) -> list[Process]:
    """Live processes that were noted (pid and start) or carry the mark, and everything below or in a group of those.

    Never this process.
    """
    if not mark and not noted:
        return []
    table = {pid: process for pid, process in all_processes().items() if not process.zombie}
    table.pop(os.getpid(), None)
    ours = {pid for pid, process in table.items() if (pid, process.started) in noted}
    if mark:
        ours |= {pid for pid in table if pid not in ours and _carries(pid, mark)}
    before = -1
    while len(ours) != before:
        before = len(ours)
        groups = {table[pid].group for pid in ours} - {os.getpgrp()}
        ours |= {pid for pid, process in table.items() if process.parent in ours or process.group in groups}
    return [table[pid] for pid in ours]


def end_leftovers(mark: str, noted: Collection[tuple[int, str]], grace_s: float) -> list[Process]:
    """SIGTERM, a grace, then SIGKILL, to all of find_leftovers, and to what it starts meanwhile; what is left then."""
    kill_at = time.monotonic() + grace_s
    known = set(noted)
    asked: set[tuple[int, str]] = set()
    while True:
        left = find_leftovers(mark, known)
        known.update((process.pid, process.started) for process in left)  # their parents may be gone before them
        now = time.monotonic()
        if not left or now >= kill_at + _SETTLE_S:
            return left
        if now < kill_at:
            for process in left:
                identity = (process.pid, process.started)
                if identity not in asked:
                    asked.add(identity)
                    send_signals(process, signal.SIGTERM, signal.SIGCONT)  # CONT: a stopped one hears it only then
            _wait_for_end(left[0], kill_at - now)
        else:
            # A group dies as one, between two forks of its members; what is in no group of its own dies one by one.
            for group in {process.group for process in left} - {os.getpgrp()}:
                try:
                    os.killpg(group, signal.SIGKILL)
                except (ProcessLookupError, PermissionError):
                    pass
            for process in left:
                send_signals(process, signal.SIGKILL)
            _wait_for_end(left[0], _LOOK_S)


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
        poll.poll(timeout_s * 1000)
    finally:
        os.close(fd)


def _carries(pid: int, mark: str) -> bool:
    """Whether a process has the mark in its environment; never where that cannot be read (macOS, other users)."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as environ:
            return f"{MARK}={mark}".encode() in environ.read().split(b"\0")
    except OSError:
        return False


def _boot_id() -> str:
    """Which boot of the machine this is; empty where start times are dates (process_table.from_ps)."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
