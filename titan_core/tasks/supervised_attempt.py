"""One job in the hands of its supervisor: its process, its output and its log.

One of the launcher's own modules: see zygote.py for what these may import.
"""

from __future__ import annotations

import os
import time

from titan_core.tasks.process_tree import TreeEnd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from titan_core.tasks.cgroups import JobGroup
    from titan_core.tasks.job_log import JobLog, RotatingLog

_READ_BYTES = 64 * 1024
"""What a pipe holds."""
_READS_AT_ONCE = 16
"""Of a job that floods its output, before its supervisor looks at other things."""
_ANNOUNCE_S = 0.05
"""A job that ends within this time is told of in one message."""
_OUTPUT_EVERY_S = 0.02
LEFTOVER_S = 0.5
"""For what a job left in the background to end by itself, as a ``tee`` that has yet to write what it was given."""


class Attempt:
    """The job under way. ``output`` is the reading end of its pipe, -1 once everybody has closed the other one."""

    def __init__(
        self,
        serial: int,
        pid: int,
        source: bytes | None,
        log: JobLog | RotatingLog,
        output: int,
        timeout_s: float | None,
        grace_s: float,
        leads: bool,
        group: JobGroup | None = None,
    ) -> None:
        self._leads = leads
        self._group = group
        self.serial = serial
        self.pid = pid
        self.source = source
        self.output = output
        self.grace_s = grace_s
        self.timeout_s = timeout_s
        self.started_at = epoch_ms()
        now = time.monotonic()
        self.timeout_at = None if timeout_s is None else now + timeout_s
        self.leftover_at: float | None = None
        """When to end what is left in the background, once the main process has ended."""
        self.ending: TreeEnd | None = None
        self.advance_at = 0.0
        self.status: int | None = None
        """The main process's wait status, once it has ended."""
        self.children_left = True
        self.cause = "exit"
        self.reason = ""
        self.announced = False
        self._log = log
        self._told_size = 0
        self._tell_at = now + _ANNOUNCE_S

    def end(self, cause: str, reason: str, grace_s: float) -> None:
        """Begin to end the whole tree, or shorten the grace of an end that has begun. The first cause counts."""
        if self.status is None and self.ending is None:
            self.cause, self.reason = cause, reason
        if self.ending is None:
            self.ending = TreeEnd(
                grace_s,
                group=self.pid,
                leader=self.pid if self._leads and self.status is None else 0,
                control=self._group,
            )
        else:
            self.ending.hurry(grace_s)
        self.advance_at = self.ending.advance()

    def read_output(self) -> bool:
        """Write what the job has said to its log; False when it can say no more."""
        for _ in range(_READS_AT_ONCE):
            try:
                chunk = os.read(self.output, _READ_BYTES)
            except BlockingIOError:
                return True
            if not chunk:
                return False
            self._log.write(chunk)
            if len(chunk) < _READ_BYTES:
                return True
        return True

    @property
    def size(self) -> int:
        """Bytes in the log's file."""
        return self._log.size

    def _memory_ran_out(self) -> str:
        """Take leave of the control group: its processes are gone."""
        if self._group is None:
            return ""
        ran_out = self._group.out_of_memory()
        self._group.remove()
        return f"out of memory: all of its {self._group.memory >> 20} MB were used" if ran_out else ""

    def news_at(self) -> float | None:
        """When the worker is to hear of this job's start or its output, None when there is nothing to hear."""
        return self._tell_at if not self.announced or self.size != self._told_size else None

    def told(self, now: float) -> None:
        """The worker has been told of the start, and of the output so far."""
        self.announced = True
        self._told_size = self.size
        self._tell_at = now + _OUTPUT_EVERY_S

    def close(self) -> tuple[str, int, bytes, int]:
        """Take in the rest of the output, and close everything: (reason, log size, last bytes, where they begin)."""
        if self.output >= 0:
            # Whoever still holds the pipe is none of the job's, and is not waited for.
            printed = -1
            while printed != self._log.printed and self.read_output():
                printed = self._log.printed
            os.close(self.output)
        tail, offset = self._log.close()
        reason = "; ".join(text for text in (self.reason, self._memory_ran_out(), self._log.error) if text)
        return reason, self.size, tail, offset


def epoch_ms() -> int:
    return time.time_ns() // 1_000_000
