"""The worker's end of the launcher: asks its supervisors to run jobs, hears how they go, and replaces what is lost."""

from __future__ import annotations

import itertools
import logging
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from titan_core.tasks.alarms import EXIT_FAILED
from titan_core.tasks.cgroups import Roots
from titan_core.tasks.launch import TAIL_BYTES, Exited, LaunchEvent, LaunchRequest, Output, Started
from titan_core.tasks.launcher_wire import Decoder, encode
from titan_core.tasks.process_registry import MARK, ProcessRegistry
from titan_sdk.messages import Lease

log = logging.getLogger(__name__)

PROGRAM: Final = Path(__file__).resolve().with_name("launcher_main.py")
RETRY_S: Final = 0.2
"""Before a launcher or supervisor that never became ready is started again; doubles up to MAX_RETRY_S."""
MAX_RETRY_S: Final = 5.0
SUPERVISORS_END_S: Final = 8.0
"""For supervisors to end their jobs once their launcher has died: more than the grace they give then."""
LEFTOVER_GRACE_S: Final = 1.0
"""SIGTERM to SIGKILL for processes of a launcher that is gone: nobody waits for their results."""
_RECEIVE_BYTES: Final = 64 * 1024


class _Slot:
    """One slot: the socket to its supervisor, and the attempt it was given last. Guarded by the launcher's lock."""

    __slots__ = (
        "decoder",
        "end",
        "failures",
        "lost",
        "number",
        "pid",
        "ready",
        "request",
        "sent",
        "serial",
        "sock",
        "started_at",
        "supervise_at",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.sock: socket.socket | None = None
        self.decoder = Decoder()
        self.ready = False
        self.pid = 0
        """Of the supervisor that was ready last; 0: none of this launcher process was."""
        self.failures = 0
        self.supervise_at = 0.0
        """When to ask for a supervisor again, after one that never became ready; 0: nothing to ask for."""
        self.serial = 0
        self.request: LaunchRequest | None = None
        self.sent = False
        self.started_at = 0
        self.end: tuple[str, float] | None = None
        """Reason and grace of the last request to end it."""
        self.lost = False
        """The supervisor went away with the attempt; told of once there is a new one, for only then all is gone."""


class Launcher:
    """Starts the launcher process, and runs one job at a time in each of its slots. Any thread may call.

    ``on_event`` is called on the launcher's thread, for each request: Started and Output perhaps, Exited at last and
    once. It must not block. A supervisor or launcher process that dies is replaced; what it ran is ended first.

    Args:
        slots: numbered from 0.
        registry: begun; notes every process.
        preload: modules that the warm interpreter imports, so that jobs find them imported.
        groups: where control groups for jobs can be made.
    """

    def __init__(
        self,
        slots: int,
        *,
        on_event: Callable[[LaunchEvent], None],
        registry: ProcessRegistry,
        preload: Sequence[str] = (),
        groups: Roots | None = None,
    ) -> None:
        self._slots = [_Slot(number) for number in range(slots)]
        self._on_event = on_event
        self._registry = registry
        self._preload = tuple(preload)
        self._groups = groups or {}
        self._serials = itertools.count(1)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._environment: Mapping[str, str] = {}
        """The launcher process's, the mark in it."""
        self._control: socket.socket | None = None
        self._control_decoder = Decoder()
        self._stopping = threading.Event()
        self._wake_read, self._wake_write = -1, -1
        self._thread = threading.Thread(target=self._run, name="launcher", daemon=True)

    # --- for the worker -------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._wake_read, self._wake_write = os.pipe()
        self._launch()
        self._thread.start()

    def run(self, slot: int, request: LaunchRequest) -> None:
        """Run a job in a slot that is free: one whose last request has Exited."""
        with self._lock:
            place = self._slots[slot]
            place.serial = next(self._serials)
            place.request = request
            place.sent = place.lost = False
            place.started_at = 0
            place.end = None
            self._send_request(place)

    def end(self, slot: int, lease: Lease, reason: str, grace_s: float) -> None:
        """End the slot's job and all its descendants: SIGTERM, and SIGKILL after ``grace_s``. May be repeated.

        Nothing happens when the slot has another job by now than that of ``lease``.
        """
        with self._lock:
            place = self._slots[slot]
            if place.request is None or place.request.lease != lease:
                return
            place.end = (reason, grace_s)
            if place.sent and place.sock is not None:
                _send(place.sock, encode("end", place.serial, reason, grace_s))

    def stop(self, timeout_s: float) -> None:
        """End every job, and the launcher's processes. Nothing is told of it."""
        if not self._thread.is_alive():
            return
        end = time.monotonic() + timeout_s
        self._stopping.set()
        os.write(self._wake_write, b"x")
        self._thread.join(timeout_s)
        self._close_sockets()  # the end of these is the end of the worker to all of them
        process = self._process
        if process is not None:
            try:
                code = process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.error("the launcher did not end within %g s and is killed", timeout_s)
                process.kill()
                code = process.wait()
            if code:  # it did not see to the end of the others
                self._end_left(0.0)
        for fd in (self._wake_read, self._wake_write):
            os.close(fd)

    # --- requests, with the lock held -----------------------------------------------------------------------------

    def _send_request(self, slot: _Slot) -> None:
        """Hand the request to the slot's supervisor; without one, the next supervisor gets it."""
        request = slot.request
        if request is None or slot.sent or slot.sock is None or self._control is None:
            return
        slot.sent = True
        changed, removed = _difference(self._environment, request.env)
        _send(
            slot.sock,
            encode(
                "run",
                slot.serial,
                tuple(request.argv),
                request.warm,
                changed,
                removed,
                request.cwd,
                request.log_path,
                request.log_bytes,
                request.log_files,
                request.timeout_s,
                request.grace_s,
                request.leads,
                request.memory,
                request.millicpus,
                self._groups if request.memory or request.millicpus else {},
            ),
        )
        if slot.end is not None:
            _send(slot.sock, encode("end", slot.serial, *slot.end))

    def _supervise(self, slot: _Slot) -> socket.socket:
        """Ask the launcher for a supervisor for this slot; the socket to it. When that fails, its end is seen there."""
        assert self._control is not None
        mine, theirs = socket.socketpair()
        with theirs:
            slot.sock = mine
            slot.decoder = Decoder()
            slot.ready = False
            slot.supervise_at = 0.0
            try:
                socket.send_fds(self._control, [encode("supervise", slot.pid)], [theirs.fileno()])
            except OSError:
                return mine
        self._send_request(slot)
        return mine

    # --- the launcher process -------------------------------------------------------------------------------------

    def _launch(self) -> None:
        # Scripts are forked, not exec'd: what shows in /proc as their environment is the launcher's.
        self._environment = {**os.environ, MARK: self._registry.mark}
        mine, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-u", str(PROGRAM), str(theirs.fileno()), *self._preload],
                    stdin=subprocess.DEVNULL,
                    cwd="/",
                    env=self._environment,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
            except OSError:
                mine.close()
                raise
        self._registry.note_launcher(self._process.pid)
        with self._lock:
            self._control = mine
            self._control_decoder = Decoder()
            for slot in self._slots:
                slot.pid = 0
                self._supervise(slot)

    def _run(self) -> None:
        try:
            wait_s = RETRY_S
            while not self._stopping.is_set():
                was_ready = self._serve()
                if self._stopping.is_set():
                    return
                self._clean_up(was_ready)
                wait_s = 0.0 if was_ready else min(max(RETRY_S, wait_s * 2), MAX_RETRY_S)
                while not self._stopping.wait(wait_s):
                    try:
                        self._launch()
                        break
                    except OSError as error:
                        wait_s = min(max(RETRY_S, wait_s * 2), MAX_RETRY_S)
                        log.error("no launcher process can be started: %s", error)
        except Exception:
            log.exception("the launcher's thread failed; the worker ends")
            os._exit(EXIT_FAILED)

    def _clean_up(self, was_ready: bool) -> None:
        """A launcher process is gone: end what is left of it, and begin a new registry."""
        assert self._process is not None
        code = self._process.wait()
        log.error("the launcher process ended with code %s; another one is started", code)
        self._close_sockets()
        self._end_left(LEFTOVER_GRACE_S)
        self._registry.begin()
        if not was_ready and self._preload:
            log.error("it was never ready, so nothing is preloaded from now on (%s)", ", ".join(self._preload))
            self._preload = ()

    def _end_left(self, grace_s: float) -> None:
        left = self._registry.end_left(grace_s)
        if left:
            log.error("processes of the lost launcher cannot be ended: %s", [process.pid for process in left])

    def _close_sockets(self) -> None:
        with self._lock:
            if self._control is not None:
                self._control.close()
                self._control = None
            for slot in self._slots:
                if slot.sock is not None:
                    self._lose(slot)

    # --- what they say, on the launcher's thread ------------------------------------------------------------------

    def _serve(self) -> bool:
        """Until the launcher process and its supervisors are gone, or ``stop``; whether one ever was ready."""
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        by_fd: dict[int, _Slot] = {}
        assert self._control is not None
        control = self._control
        poll.register(control, select.POLLIN)
        for slot in self._slots:
            if slot.sock is not None:
                by_fd[slot.sock.fileno()] = slot
                poll.register(slot.sock, select.POLLIN)
        give_up_at: float | None = None
        was_ready = False
        while not self._stopping.is_set():
            for fd, _ in poll.poll(self._wait_ms(give_up_at)):
                if fd in by_fd:
                    slot = by_fd[fd]
                    sock = slot.sock
                    assert sock is not None
                    if self._receive(slot, sock):
                        was_ready = was_ready or slot.ready
                        continue
                    poll.unregister(fd)
                    del by_fd[fd]
                    with self._lock:
                        self._lose(slot)
                elif fd == control.fileno() and not self._receive_control(control):
                    poll.unregister(control)
                    give_up_at = time.monotonic() + SUPERVISORS_END_S
                    with self._lock:
                        self._control = None  # no request goes to a supervisor that is about to leave
                        control.close()
            if give_up_at is not None:
                if not by_fd or time.monotonic() >= give_up_at:
                    return was_ready
                continue
            for slot in self._slots:
                if slot.sock is None and time.monotonic() >= slot.supervise_at:
                    with self._lock:
                        sock = self._supervise(slot)
                    by_fd[sock.fileno()] = slot
                    poll.register(sock, select.POLLIN)
        return was_ready

    def _wait_ms(self, give_up_at: float | None) -> float | None:
        due = [slot.supervise_at for slot in self._slots if slot.sock is None] if give_up_at is None else [give_up_at]
        return max(0.0, min(due) - time.monotonic()) * 1000 + 1 if due else None

    def _receive_control(self, control: socket.socket) -> bool:
        """Hear the launcher process itself; False at its end."""
        try:
            data = control.recv(_RECEIVE_BYTES)
        except OSError:
            data = b""
        for kind, *rest in self._control_decoder.feed(data):
            if kind == "not_preloaded":
                log.error("the module %s cannot be preloaded: %s", *rest)
        return bool(data)

    def _lose(self, slot: _Slot) -> None:
        """The slot's supervisor is gone. With the lock held."""
        assert slot.sock is not None
        slot.sock.close()
        slot.sock = None
        if slot.request is not None and slot.sent:
            if slot.ready:
                slot.lost = True
            elif not slot.lost:  # it never began
                slot.sent = False
        slot.failures = 0 if slot.ready else slot.failures + 1
        wait_s = min(RETRY_S * 2 ** (slot.failures - 1), MAX_RETRY_S) if slot.failures else 0.0
        slot.supervise_at = time.monotonic() + wait_s

    def _receive(self, slot: _Slot, sock: socket.socket) -> bool:
        """Hear a supervisor; False at its end."""
        try:
            data = sock.recv(_RECEIVE_BYTES)
        except OSError:
            data = b""
        messages = list(slot.decoder.feed(data))
        over = {serial for kind, serial, *_ in messages if kind == "exited"}
        for kind, first, *rest in messages:
            if kind == "ready":
                self._supervisor_ready(slot, first, *rest)
            else:
                with self._lock:
                    request = slot.request if slot.serial == first else None
                if request is not None:
                    self._tell(slot, request, kind, first in over, *rest)
        return bool(data)

    def _supervisor_ready(self, slot: _Slot, pid: int, started: str) -> None:
        self._registry.note_supervisor(slot.number, pid, started)
        slot.ready = True
        slot.pid = pid
        slot.failures = 0
        with self._lock:
            lost = slot.request if slot.lost else None
            if lost is not None:
                slot.request = None
                slot.lost = False
        if lost is not None:
            log.error("the supervisor of %s was lost", lost.lease.job)
            self._on_event(_lost(slot, lost))

    def _tell(self, slot: _Slot, request: LaunchRequest, kind: str, over: bool, *rest: Any) -> None:
        lease = request.lease
        if kind == "started":
            if over:  # it says all by itself
                return
            pid, started, started_at = rest
            self._registry.note_job(slot.number, pid, started)
            slot.started_at = started_at
            self._on_event(Started(slot.number, lease, pid, started_at))
        elif kind == "output":
            self._on_event(Output(slot.number, lease, *rest))
        else:
            with self._lock:
                slot.request = None
            self._on_event(Exited(slot.number, lease, *rest))


def _difference(base: Mapping[str, str], wanted: Mapping[str, str]) -> tuple[dict[bytes, bytes], tuple[bytes, ...]]:
    """What to change in ``base``, and what to remove from it, to get what is wanted; but the mark stays."""
    different = wanted.items() - base.items()  # of some fifty variables these few are found without a line of Python
    changed = {os.fsencode(name): os.fsencode(value) for name, value in different if name != MARK}
    return changed, tuple(os.fsencode(name) for name in base.keys() - wanted.keys() if name != MARK)


def _send(sock: socket.socket, data: bytes) -> None:
    """To a supervisor, which always reads; of one that is gone the launcher's thread hears anyway."""
    try:
        sock.sendall(data)
    except OSError:
        pass


def _lost(slot: _Slot, request: LaunchRequest) -> Exited:
    """What is known of an attempt whose supervisor died: what it had printed by then."""
    size, tail, offset = 0, b"", 0
    try:
        with open(request.log_path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            offset = max(0, size - TAIL_BYTES)
            file.seek(offset)
            tail = file.read(size - offset)
    except OSError:
        pass
    now = int(time.time() * 1000)
    times = (slot.started_at, now)
    return Exited(
        slot.number, request.lease, None, "supervisor_lost", "its supervisor died", size, tail, offset, *times
    )
