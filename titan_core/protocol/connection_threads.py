"""The threads that serve connections, one connection at a time each; a few stay for the next one."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Final

MAX_IDLE: Final = 4
"""Threads that wait for another connection. Clients with a connection for each request come again at once, and to start
a thread costs as much as to serve them; what more there are after a burst end."""
IDLE_S: Final = 10.0
"""After which a thread that nobody needs ends."""
_IDLE_NAME: Final = "peer-idle"


class ConnectionThreads:
    """Runs tasks on daemon threads named after them, as many at once as are asked for."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._tasks: queue.SimpleQueue[tuple[str, Callable[[], None]] | None] = queue.SimpleQueue()
        self._idle = 0
        """Threads that wait for a task, less those that one was put for."""
        self._alive = 0
        self._stopped = False

    def run(self, name: str, task: Callable[[], None]) -> None:
        """Run ``task``, which raises nothing, at once on a thread of that ``name``.

        Raises:
            RuntimeError: the system gives no more threads.
        """
        with self._changed:
            claimed = self._idle > 0
            if claimed:
                self._idle -= 1
            else:
                self._alive += 1
        if claimed:
            self._tasks.put((name, task))
            return
        try:
            threading.Thread(target=self._serve, args=(name, task), name=name, daemon=True).start()
        except RuntimeError:
            with self._changed:
                self._alive -= 1
            raise

    def stop(self) -> None:
        """End those that wait, and the others after their task."""
        with self._changed:
            self._stopped = True
            while self._idle:
                self._idle -= 1
                self._tasks.put(None)

    def join(self, deadline_s: float) -> bool:
        """Wait until all have ended; False when some did not in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._alive, deadline_s)

    def _serve(self, name: str, task: Callable[[], None]) -> None:
        thread = threading.current_thread()
        next_task: tuple[str, Callable[[], None]] | None = (name, task)
        while next_task is not None:
            thread.name, task = next_task
            task()
            thread.name = _IDLE_NAME
            next_task = None
            del task  # and with it the connection
            next_task = self._next()
        with self._changed:
            self._alive -= 1
            self._changed.notify_all()

    def _next(self) -> tuple[str, Callable[[], None]] | None:
        with self._changed:
            if self._stopped or self._idle >= MAX_IDLE:
                return None
            self._idle += 1
        try:
            return self._tasks.get(timeout=IDLE_S)
        except queue.Empty:
            pass
        with self._changed:
            if self._idle:
                self._idle -= 1
                return None
        return self._tasks.get()  # claimed in the last moment
