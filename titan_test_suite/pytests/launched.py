"""A launcher without a worker, for tests: gives it requests, keeps its events, waits for ends."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import psutil

from titan_core.tasks.launch import Exited, LaunchEvent, LaunchRequest, Output, Started
from titan_core.tasks.launcher import Launcher
from titan_core.tasks.process_registry import ProcessRegistry
from titan_sdk.messages import Lease

STOP_S = 20.0


class Launched:
    """A launcher with its registry, everything it writes below ``folder``. A context manager: started, and stopped."""

    def __init__(self, folder: Path, *, slots: int = 1, preload: Sequence[str] = ()) -> None:
        self.folder = folder
        self.registry = ProcessRegistry(folder / "processes")
        self.launcher = Launcher(slots, on_event=self._heard, registry=self.registry, preload=preload)
        self._events: dict[Lease, list[LaunchEvent]] = {}
        self._changed = threading.Condition()
        self._epochs = itertools.count(1)

    def __enter__(self) -> Launched:
        self.registry.begin()
        self.launcher.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.launcher.stop(STOP_S)
        self.registry.close()

    # --- jobs -----------------------------------------------------------------------------------------------------

    def lease(self) -> Lease:
        return Lease(job=f"run/job-{next(self._epochs)}", attempt=1, epoch=1)

    def run(self, request: LaunchRequest, slot: int = 0) -> Lease:
        with self._changed:
            self._events[request.lease] = []
        self.launcher.run(slot, request)
        return request.lease

    def request(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | str | None = None,
        log_path: Path | str | None = None,
        **fields,
    ) -> LaunchRequest:
        lease = self.lease()
        return LaunchRequest(
            lease=lease,
            argv=tuple(argv),
            cwd=str(cwd or self.folder),
            env=dict(os.environ) if env is None else env,
            log_path=str(log_path or self.log_path(lease)),
            **fields,
        )

    def python(self, source: str, *args: str, slot: int = 0, warm: bool = True, **fields) -> Lease:
        """Run a script of this text; forked from the warm interpreter, or by an interpreter of its own."""
        lease = self.lease()
        script = self.folder / f"{lease.job.rpartition('/')[2]}.py"
        script.write_text(source, encoding="utf-8")
        request = self.request((sys.executable, "-u", str(script), *args), warm=warm, **fields)
        return self.run(request, slot)

    def shell(self, command: str, *, slot: int = 0, **fields) -> Lease:
        return self.run(self.request(("/bin/sh", "-c", command), **fields), slot)

    def end(self, lease: Lease, reason: str = "asked to", grace_s: float = 5.0, slot: int = 0) -> None:
        self.launcher.end(slot, lease, reason, grace_s)

    def log_path(self, lease: Lease) -> Path:
        return self.folder / f"{lease.job.rpartition('/')[2]}.log"

    def log(self, lease: Lease) -> bytes:
        path = self.log_path(lease)
        return path.read_bytes() if path.exists() else b""

    # --- events ---------------------------------------------------------------------------------------------------

    def _heard(self, event: LaunchEvent) -> None:
        with self._changed:
            self._events[event.lease].append(event)
            self._changed.notify_all()

    def events(self, lease: Lease) -> list[LaunchEvent]:
        with self._changed:
            return list(self._events[lease])

    def exited(self, lease: Lease, deadline: float = 20.0) -> Exited:
        """How it ended, once it has. Raises AssertionError when it does not."""
        event = self._wait(lease, Exited, deadline)
        assert isinstance(event, Exited)
        return event

    def started(self, lease: Lease, deadline: float = 20.0) -> Started:
        event = self._wait(lease, Started, deadline)
        assert isinstance(event, Started)
        return event

    def printed(self, lease: Lease, text: bytes, deadline: float = 20.0) -> None:
        """Wait until its log holds ``text``."""
        end = time.monotonic() + deadline
        with self._changed:
            while text not in self.log(lease):
                rest = end - time.monotonic()
                assert rest > 0, f"{text!r} is not in its log: {self.log(lease)!r}; {self._events[lease]}"
                assert not any(isinstance(event, Exited) for event in self._events[lease]), self._events[lease]
                self._changed.wait(min(rest, 0.05))  # a log may grow a moment after, or before, it is told of

    def _wait(self, lease: Lease, kind: type, deadline: float) -> LaunchEvent:
        def look() -> LaunchEvent | None:
            return next((event for event in self._events[lease] if isinstance(event, kind)), None)

        with self._changed:
            found = self._changed.wait_for(look, deadline)
            assert found is not None, f"no {kind.__name__} within {deadline:g} s: {self._events[lease]}"
            return found

    def output_sizes(self, lease: Lease) -> list[int]:
        return [event.size for event in self.events(lease) if isinstance(event, Output)]

    # --- processes ------------------------------------------------------------------------------------------------

    @property
    def process(self) -> psutil.Process:
        """The launcher process that runs now."""
        popen = self.launcher._process
        assert popen is not None
        return psutil.Process(popen.pid)

    def supervisor_of(self, lease: Lease) -> psutil.Process:
        """The parent of a running job."""
        parent = psutil.Process(self.started(lease).pid).parent()
        assert parent is not None
        return parent
