"""Limits that the system keeps a job to.

One of the launcher's own modules: see zygote.py for what these may import.
"""

from __future__ import annotations

import resource
import sys

MEMORY_IS_LIMITED = sys.platform == "linux"
_LEAST_INHERITED = 128 << 20
"""Bytes. A supervisor has less than this, so that it can work for a moment under its job's limit."""


def limit_memory(pid: int, size: int) -> None:
    """Let a process (0: this one), and each that it starts from now on, use at most ``size`` bytes of its own.

    RLIMIT_DATA, not RLIMIT_AS: what a runtime (Java, Node) only reserves is not used, and would count for the latter.
    What is beyond it is refused to the program, which sees a failed allocation: in Python a MemoryError.
    """
    if MEMORY_IS_LIMITED:
        try:
            resource.prlimit(pid, resource.RLIMIT_DATA, (size, size))
        except (OSError, ValueError):  # it has ended, or a lower limit holds already
            pass


class Inherited:
    """For the time of a ``with`` block: what is spawned has the limit from its first instruction on."""

    def __init__(self, size: int) -> None:
        self._size = size if MEMORY_IS_LIMITED and size >= _LEAST_INHERITED else 0
        self._before = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)

    def __enter__(self) -> None:
        if self._size:
            self._before = resource.getrlimit(resource.RLIMIT_DATA)
            soft, hard = self._before
            limits = [self._size] + [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
            resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))

    def __exit__(self, *_: object) -> None:
        if self._size:
            resource.setrlimit(resource.RLIMIT_DATA, self._before)
