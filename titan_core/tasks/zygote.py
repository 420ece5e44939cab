"""The launcher process: a small warm interpreter that forks one supervisor per slot, and a new one for each lost.

It runs neither jobs nor threads. What it and its supervisors import is what every forked job finds in its memory, so
they keep to built-in modules and a few small extension modules, import none of Titan's packages but each other, and
forget them all in ``sys.modules`` before the first fork: a job sees what a new interpreter would have, and then the
modules that the worker was told to preload.

From the worker: ("supervise", pid) with a socket for the new supervisor, which takes the place of the one with that
pid; 0: of none. To the worker: ("not_preloaded", module, why).
The end of that connection is the end of the worker: the supervisors see the same of theirs, end their jobs, and end.
"""

from __future__ import annotations

import _socket
import gc
import os
import select
import sys
import time

from titan_core.tasks import warm_python
from titan_core.tasks.c_library import become_subreaper
from titan_core.tasks.launcher_wire import Decoder, encode
from titan_core.tasks.process_table import all_processes, descendants
from titan_core.tasks.process_tree import TreeEnd, reap
from titan_core.tasks.supervisor import Supervisor
from titan_core.tasks.warm_python import WarmJob

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Collection, Sequence
    from typing import Any
else:
    import _signal

_RECEIVE_BYTES = 64 * 1024
_FDS_PER_MESSAGE = 16
"""More than the kernel puts into one read: it never joins messages that carry descriptors."""
_ORPHAN_GRACE_S = 1.0
"""SIGTERM to SIGKILL for what a lost supervisor left: nobody waits for its results any more."""
_SUPERVISORS_END_S = 12.0
"""For supervisors to end their jobs after the worker's end, before they are ended: more than any grace they give."""


def run(control_fd: int, preload: Sequence[str], native_modules: Collection[str]) -> WarmJob:
    """The whole life of the launcher process; it does not return. It returns in the processes of scripts.

    ``native_modules``: names that were in sys.modules before anything of Titan's was.
    """
    _settle_signals()
    become_subreaper()
    control = _socket.socket(fileno=control_fd)
    os.set_inheritable(control_fd, False)
    for name in [name for name in sys.modules if name not in native_modules]:
        del sys.modules[name]
    for path in [path for path in sys.path_importer_cache if path not in sys.path]:
        del sys.path_importer_cache[path]
    for name in preload:
        try:
            __import__(name)
        except BaseException as error:
            control.send(encode("not_preloaded", name, f"{type(error).__name__}: {error}"))
    preloaded = frozenset(name.partition(".")[0] for name in sys.modules if name not in native_modules)
    warm_python.modules_before = frozenset(sys.modules)
    gc.collect()
    gc.freeze()
    return Zygote(control, preloaded).serve()


def _settle_signals() -> None:
    """Defaults for all, whatever the worker was started with; those that end a terminal's processes are not for us."""
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    kept = (_signal.SIGPIPE, _signal.SIGXFSZ)  # an interpreter ignores these
    for number in _signal.valid_signals():
        if number not in kept and _signal.getsignal(number) == _signal.SIG_IGN:
            _signal.signal(number, _signal.SIG_DFL)
    for number in (_signal.SIGTERM, _signal.SIGHUP, _signal.SIGQUIT, _signal.SIGINT):
        _signal.signal(number, _signal.SIG_IGN)
    _signal.signal(_signal.SIGCHLD, _nothing)


def _nothing(number: int, frame: Any) -> None:
    """A handler, so that a signal writes to the wakeup descriptor."""


class Zygote:
    """Forks supervisors on request, and ends what a lost one left before it forks the next."""

    def __init__(self, control: _socket.socket, preloaded: frozenset[str]) -> None:
        self._control = control
        self._preloaded = preloaded
        self._decoder = Decoder()
        self._received: list[int] = []
        self._wanted: list[tuple[int, int]] = []
        """The worker's sockets for new supervisors, and the pids of those before them."""
        self._supervisors: set[int] = set()
        self._orphans: TreeEnd | None = None
        self._look_at = 0.0
        self._worker_gone_at = 0.0
        # Supervisors hold the reading end: when this process ends, they see it.
        self._alive = os.pipe()
        self._wake = wakeup_pipe()

    def serve(self) -> WarmJob:
        poll = select.poll()
        poll.register(self._control.fileno(), select.POLLIN)
        poll.register(self._wake[0], select.POLLIN)
        while True:
            wait = max(0.0, self._look_at - time.monotonic()) * 1000 + 1 if self._look_at else None
            for fd, _ in poll.poll(wait):
                if fd == self._wake[0]:
                    os.read(fd, 4096)
                elif not self._receive():
                    poll.unregister(fd)
                    self._worker_gone_at = time.monotonic()
            job = self._care()
            if job is not None:
                return job

    def _receive(self) -> bool:
        """Take in what the worker says; False at the end of the connection."""
        try:
            data, ancillary, _, _ = self._control.recvmsg(_RECEIVE_BYTES, _socket.CMSG_SPACE(4 * _FDS_PER_MESSAGE))
        except ConnectionError:
            return False
        for level, kind, fds in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                received = [int.from_bytes(fds[i : i + 4], sys.byteorder) for i in range(0, len(fds), 4)]
                for fd in received:
                    os.set_inheritable(fd, False)
                self._received += received
        for _, before in self._decoder.feed(data):
            self._wanted.append((self._received.pop(0), before))
        return bool(data)

    def _care(self) -> WarmJob | None:
        """Reap, end orphans, fork what is wanted, and end when there is nothing left to live for."""
        self._look_at = 0.0
        ended, children_left = reap()
        lost = [pid for pid, _ in ended if pid in self._supervisors]
        self._supervisors.difference_update(lost)
        if lost and children_left and self._orphans is None and self._has_orphans():
            self._orphans = TreeEnd(_ORPHAN_GRACE_S, spare=self._supervisors)
        if self._orphans is not None:
            if self._has_orphans():
                self._look_at = self._orphans.advance()
                return None
            self._orphans = None
        if self._worker_gone_at:
            if not children_left:
                os._exit(0)
            self._look_at = self._worker_gone_at + _SUPERVISORS_END_S
            if time.monotonic() >= self._look_at:
                self._orphans = TreeEnd(0.0)
                self._look_at = self._orphans.advance()
            return None
        # A dying supervisor's socket closes a moment before it can be reaped, and what it ran is seen only then.
        for wanted in [wanted for wanted in self._wanted if wanted[1] not in self._supervisors]:
            self._wanted.remove(wanted)
            job = self._fork(wanted[0])
            if job is not None:
                return job
        return None

    def _has_orphans(self) -> bool:
        return bool(descendants(os.getpid(), all_processes(), self._supervisors))

    def _fork(self, fd: int) -> WarmJob | None:
        try:
            pid = os.fork()
        except OSError:  # the worker sees the end of the socket, and asks again
            os.close(fd)
            return None
        if pid:
            self._supervisors.add(pid)
            os.close(fd)
            return None
        for mine in (self._alive[1], *self._wake, *(wanted for wanted, _ in self._wanted)):
            os.close(mine)
        self._control.close()
        become_subreaper()
        return Supervisor(fd, self._alive[0], wakeup_pipe(), self._preloaded).serve()


def wakeup_pipe() -> tuple[int, int]:
    """A pipe that becomes readable whenever this process gets a signal it handles, in place of the one before."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    _signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    return read, write
