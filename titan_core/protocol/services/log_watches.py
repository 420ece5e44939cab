"""Who watches which jobs' output live: told to every worker, so that they send it where it is watched."""

from __future__ import annotations

import threading
import time
from typing import Final

from titan_sdk.channel import Channel
from titan_sdk.errors import BadRequest, TitanError, Unavailable
from titan_sdk.messages import LogTarget, Message, Ok, StreamLogs, WatchLogs
from titan_sdk.names import check_port

MAX_WATCHES: Final = 64
MAX_JOBS: Final = 256
"""Of one watch: a person has a few of them open."""
LONGEST_S: Final = 60.0
"""A watch ends after so long unless it is asked for again: one whose asker has died costs nothing for long."""


class LogWatches:
    """Any thread may call. Workers are told the whole set, since any of them may get any of the jobs next."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches: dict[bytes, tuple[float, LogTarget]] = {}
        self._workers: set[Channel] = set()

    def joined(self, worker: Channel) -> None:
        """A worker has registered on this channel."""
        with self._lock:
            self._workers.add(worker)
            message = self._message()
            if message.targets:
                worker.send_request(message, _ignore)

    def left(self, worker: Channel) -> None:
        with self._lock:
            self._workers.discard(worker)

    def watch(self, request: WatchLogs) -> Ok:
        target = request.target
        check_port(target.port)
        if len(target.watch) != 8 or len(target.secret) < 16 or len(target.jobs) > MAX_JOBS:
            raise BadRequest(f"a watch has an id of 8 bytes, a secret of 16 or more, and {MAX_JOBS} jobs at most")
        # The order in which workers are told is the order of the requests; a channel queues, so nothing waits here.
        with self._lock:
            self._watches.pop(target.watch, None)
            if target.jobs:
                if len(self._watches) >= MAX_WATCHES:
                    raise Unavailable(f"{MAX_WATCHES} watches are on already")
                until = time.monotonic() + max(0.0, min(request.ttl_s, LONGEST_S))
                self._watches[target.watch] = (until, target)
            message = self._message()
            for worker in self._workers:
                worker.send_request(message, _ignore)
        return Ok()

    def _message(self) -> StreamLogs:
        """With the lock held."""
        now = time.monotonic()
        self._watches = {watch: each for watch, each in self._watches.items() if each[0] > now}
        longest = max((until - now for until, _ in self._watches.values()), default=0.0)
        return StreamLogs(targets=[target for _, target in self._watches.values()], ttl_s=longest)


def _ignore(answer: Message | TitanError) -> None:
    """A worker that does not stream leaves the watcher to the master's log."""
