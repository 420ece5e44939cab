"""Ending everything below this process.

On Linux this process is a sub-reaper: whoever loses its parent becomes its child, so once it has no child left,
nothing is left at all, daemons that called setsid included. Elsewhere what is left is told by the process group.

One of the launcher's own modules: see zygote.py for what these may import.
"""

from __future__ import annotations

import os
import time

from titan_core.tasks.process_table import all_processes, descendants, send_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Collection

    from titan_core.tasks.cgroups import JobGroup
else:
    import _signal

_AGAIN_S = 0.25
"""Between two rounds of SIGKILL when no child's end brings the next one about."""


def reap() -> tuple[list[tuple[int, int]], bool]:
    """Take in every child that has ended, as (pid, wait status), and whether any child is left."""
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended, False
        if pid == 0:
            return ended, True
        ended.append((pid, status))


def group_is_left(group: int) -> bool:
    """Whether a process group has members that are not reaped yet."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says so of a zombie
        return True
    return True


class TreeEnd:
    """SIGTERM to every descendant, a grace, then SIGKILL again and again until the owner finds none left.

    The owner calls ``advance`` at once, whenever children have ended, and at the latest at the time it returned.

    ``spare`` are children that are left alone, with all that is below them; the collection may change. ``group`` is
    ended too, whoever the parents of its members are by now. ``leader``: while it lives, SIGTERM goes to it alone.
    ``control``: the control group that all are in, if any, which can be killed at once.
    """

    def __init__(
        self,
        grace_s: float,
        *,
        spare: Collection[int] = (),
        group: int = 0,
        leader: int = 0,
        control: JobGroup | None = None,
    ) -> None:
        self._control = control
        self._kill_at = time.monotonic() + grace_s
        self._spare = spare
        self._group = group
        self._leader = leader
        self._asked: set[tuple[int, str]] = set()

    def hurry(self, grace_s: float) -> None:
        """Shorten the grace; it is never made longer."""
        self._kill_at = min(self._kill_at, time.monotonic() + grace_s)

    def advance(self) -> float:
        """Do what is due now; the monotonic time at which to call again."""
        table = all_processes()
        members = descendants(os.getpid(), table, self._spare)
        if self._group:
            known = {process.pid for process in members}
            members += [p for p in table.values() if p.group == self._group and p.pid not in known]
        now = time.monotonic()
        if now < self._kill_at:
            led = [process for process in members if process.pid == self._leader]
            members = led or members
            for process in members:
                identity = (process.pid, process.started)
                if identity not in self._asked:
                    self._asked.add(identity)
                    send_signals(process, _signal.SIGTERM, _signal.SIGCONT)  # CONT: a stopped one hears it only then
            return self._kill_at
        if self._control is not None:
            self._control.kill()
        # A group dies as one, between two forks of its members; what is in no group of its own dies one by one.
        for group in {process.group for process in members} - {os.getpgrp()}:
            try:
                os.killpg(group, _signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
        for process in members:
            send_signals(process, _signal.SIGKILL)
        return now + _AGAIN_S
