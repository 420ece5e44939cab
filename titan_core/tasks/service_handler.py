"""Services on this worker: when they are ready, whether they are well, what they take, and which port is theirs."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from msgspec.structs import replace

from titan_core.tasks.alarms import Alarms
from titan_core.tasks.attempt import Attempt
from titan_core.tasks.line_scanner import LineScanner
from titan_core.tasks.ports import foreign_listeners, free_port, http_problem, in_use_by, open_address
from titan_core.tasks.tree_usage import TreeUsage
from titan_sdk.errors import Unavailable
from titan_sdk.messages import JobSpec, Lease, Outcome, Usage

log = logging.getLogger(__name__)

FIRST_LOOK_S: Final = 0.02
LONGEST_LOOK_S: Final = 1.0
"""Between two looks at a service that is not ready yet; the time doubles from FIRST_LOOK_S."""
TELL_AFTER_S: Final = 1.0
"""What keeps a service from being ready for so long is told to the master; less is how long it takes to start."""
_LOOKERS: Final = 8
"""Threads that look; a look at a service that hangs takes up to ports.CHECK_S."""
_REMEMBERED_PORTS: Final = 1000

Fail = Callable[[Lease, Outcome, str], None]
"""Ends an attempt that has failed as a service, for a reason; ``timed_out`` when it was never ready."""


@dataclass(eq=False)
class _Watch:
    """A service whose main process runs. Only one look at it is under way at a time."""

    attempt: Attempt
    pid: int
    lines: LineScanner | None
    started: float = field(default_factory=time.monotonic)
    wait_s: float = FIRST_LOOK_S
    address: str = ""
    ready: bool = False
    failures: int = 0
    trouble: str = ""
    """Why it is not ready, as far as anybody can tell."""
    told: str = ""
    over: bool = False


class ServiceHandler:
    """Watches the services of this worker from their start to their end. Any thread may call.

    A service with a ready line is ready once it has printed it, one with a health path when that answers, one with a
    port when it listens there, and any other when it runs. A port that somebody else listens on makes nobody ready. One
    that is not ready in time, or not well so many times in a row, is ended as failed.
    """

    def __init__(self, fail: Fail) -> None:
        self._fail = fail
        self._alarms = Alarms("services")
        self._pool = ThreadPoolExecutor(_LOOKERS, "health")
        self._lock = threading.Lock()
        self._watches: dict[Lease, _Watch] = {}
        self._ports: dict[str, int] = {}
        self._usage = TreeUsage()

    def start(self) -> None:
        self._alarms.start()

    def stop(self) -> None:
        self._alarms.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def join(self, deadline_s: float) -> None:
        self._alarms.join(deadline_s)

    # --- ports ----------------------------------------------------------------------------------------------------

    def with_port(self, lease: Lease, spec: JobSpec) -> JobSpec:
        """The job with a free port when it asks for one: the one it had here last time, if that is free.

        Raises:
            Unavailable: there is none.
        """
        if spec.service is None or not spec.service.auto_port:
            return spec
        with self._lock:
            taken = {watch.attempt.spec.port for watch in self._watches.values()}
            try:
                port = free_port(self._ports.pop(lease.job, 0), taken)
            except OSError as error:
                raise Unavailable(f"no port is free: {error.strerror}") from None
            self._ports[lease.job] = port
            if len(self._ports) > _REMEMBERED_PORTS:
                del self._ports[next(iter(self._ports))]
        return replace(spec, port=port)

    # --- what the runner tells ------------------------------------------------------------------------------------

    def started(self, attempt: Attempt, pid: int) -> None:
        """The service's main process runs."""
        pattern = attempt.spec.upkeep.ready_line
        lines = None
        if pattern and attempt.sandbox is not None:
            lines = LineScanner(attempt.sandbox.log, re.compile(pattern.encode()))
        watch = _Watch(attempt, pid, lines)
        with self._lock:
            self._watches[attempt.lease] = watch
        if lines is None and not attempt.spec.port:
            watch.ready = True
            attempt.owner.ready(attempt)
        else:
            self._look_later(watch, FIRST_LOOK_S)

    def ended(self, attempt: Attempt, failed: bool) -> str:
        """Its processes are gone. Why it was not ready, when it ``failed`` before it was, and a reason is known."""
        with self._lock:
            watch = self._watches.pop(attempt.lease, None)
            self._usage.forget(attempt.lease)
        if watch is None:
            return ""
        watch.over = True
        port = attempt.spec.port
        if watch.ready or not failed or not port:
            return ""
        return in_use_by(port, foreign_listeners(port)) or watch.trouble

    def usage(self) -> tuple[Usage, ...]:
        """What each service's process tree takes now; for one thread, at intervals of its liking."""
        with self._lock:
            roots = {lease: watch.pid for lease, watch in self._watches.items()}
        return self._usage.sample(roots)

    # --- looking --------------------------------------------------------------------------------------------------

    def _look_later(self, watch: _Watch, delay_s: float) -> None:
        self._alarms.call_later(delay_s, partial(self._submit, watch))

    def _submit(self, watch: _Watch) -> None:
        if not watch.over:
            try:
                self._pool.submit(self._look, watch)
            except RuntimeError:  # the worker stops
                pass

    def _look(self, watch: _Watch) -> None:
        try:
            if watch.over:
                return
            if watch.ready:
                self._check_health(watch)
            else:
                self._check_ready(watch)
        except Exception:
            log.exception("looking at %s failed", watch.attempt.lease.job)
            self._look_later(watch, LONGEST_LOOK_S)

    def _check_ready(self, watch: _Watch) -> None:
        attempt, upkeep = watch.attempt, watch.attempt.spec.upkeep
        trouble = self._why_not_ready(watch)
        if watch.over:
            return
        if not trouble:
            watch.ready = True
            attempt.owner.ready(attempt)
            if attempt.spec.port and attempt.spec.kind == "service":
                self._look_later(watch, upkeep.interval_s)
            return
        watch.trouble = trouble
        if trouble != watch.told and time.monotonic() - watch.started >= TELL_AFTER_S:
            watch.told = trouble
            log.info("%s is not ready: %s", attempt.lease.job, trouble)
            attempt.owner.not_ready(attempt, f"not ready yet: {trouble}")
        rest_s = watch.started + upkeep.start_s - time.monotonic()
        if rest_s <= 0:
            watch.over = True
            self._fail(attempt.lease, "timed_out", f"not ready within {upkeep.start_s:g} s: {trouble}")
            return
        watch.wait_s = min(2 * watch.wait_s, LONGEST_LOOK_S)
        self._look_later(watch, min(watch.wait_s, rest_s))

    def _why_not_ready(self, watch: _Watch) -> str:
        """Empty when it is ready."""
        spec = watch.attempt.spec
        if watch.lines is not None:
            found = watch.lines.found()
            return "" if found else f"no line that matches {spec.upkeep.ready_line!r} was printed"
        port = spec.port
        watch.address = open_address(port, watch.pid)
        if not watch.address:
            return f"port {port} was not opened"
        others = foreign_listeners(port, watch.pid)
        if others:
            return in_use_by(port, others)
        return http_problem(watch.address, port, spec.upkeep.health_path) if spec.upkeep.health_path else ""

    def _check_health(self, watch: _Watch) -> None:
        spec, upkeep = watch.attempt.spec, watch.attempt.spec.upkeep
        if not watch.address:
            watch.address = open_address(spec.port, watch.pid)
        if watch.address and upkeep.health_path:
            problem = http_problem(watch.address, spec.port, upkeep.health_path)
        else:
            watch.address = open_address(spec.port, watch.pid)
            problem = "" if watch.address else f"port {spec.port} accepts no connection"
        if watch.over:
            return
        watch.failures = watch.failures + 1 if problem else 0
        if problem:
            log.warning("%s is not well (%d of %d): %s", spec.id, watch.failures, upkeep.failures, problem)
        if watch.failures >= upkeep.failures:
            watch.over = True
            times = "once" if watch.failures == 1 else f"{watch.failures} times in a row"
            self._fail(watch.attempt.lease, "failed", f"not well {times}: {problem}")
            return
        self._look_later(watch, upkeep.interval_s)
