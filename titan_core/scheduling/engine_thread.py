"""The frame of every thread of the engine: a name, a start, a stop, a join with a deadline, and no silent death."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final, NoReturn

logger = logging.getLogger(__name__)

EXIT_FAILED: Final = 70
"""Exit code of a process that ended because it could not go on (EX_SOFTWARE of sysexits.h)."""

Fail = Callable[[str], None]
"""Ends the process, saying why; called inside an ``except`` block when there is an exception to tell of."""


def end_process(why: str) -> NoReturn:
    """End at once. What is durable is safe, and what is not was never acknowledged: a restart is the way on.

    Nothing is cleaned up on purpose: whatever this process still believes must not reach the disk or a peer.
    """
    logger.critical("%s; the process ends", why, exc_info=sys.exc_info()[1])
    os._exit(EXIT_FAILED)


class EngineThread(ABC):
    """A thread that runs ``_run`` until ``stop``; an exception that leaves ``_run`` ends the process."""

    def __init__(self, name: str, fail: Fail = end_process) -> None:
        self.name = name
        self._fail = fail
        # A daemon, so that a program that breaks down without stopping it can end; programs that end in order join it.
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    @abstractmethod
    def stop(self) -> None:
        """Ask it to end; returns at once, and may be called before ``start`` and more than once."""

    def join(self, deadline: float) -> bool:
        """Wait for its end until the monotonic ``deadline``; False when it still runs then."""
        if self._thread.ident is None:
            return True
        self._thread.join(max(0.0, deadline - time.monotonic()))
        return not self._thread.is_alive()

    @property
    def current(self) -> bool:
        """Whether the caller runs on this thread."""
        return threading.get_ident() == self._thread.ident

    @abstractmethod
    def _run(self) -> None: ...

    def _main(self) -> None:
        try:
            self._run()
        except BaseException:
            self._fail(f"thread {self.name} died")
