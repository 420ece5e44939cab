"""The supervisor of one slot: runs one job at a time, owns its output, and leaves nothing of it behind.

From the worker: ("run", serial, argv, warm, changed, removed, cwd, log_path, log_bytes, log_files, timeout_s, grace_s,
leads, memory), where ``changed`` and ``removed`` say how the environment differs from the launcher's, and ("end",
serial, reason, grace_s).
To the worker: ("ready", pid, started), ("started", serial, pid, started, started_at), ("output", serial, size) and
("exited", serial, exit_code, cause, reason, log_size, tail, tail_offset, started_at, ended_at).

One of the launcher's own modules: see zygote.py for what these may import.
"""

from __future__ import annotations

import os
import select
import sys
import time

from titan_core.tasks.cgroups import JobGroup, Roots
from titan_core.tasks.job_log import JobLog, RotatingLog
from titan_core.tasks.launcher_wire import Decoder, encode
from titan_core.tasks.process_table import find_process
from titan_core.tasks.process_tree import group_is_left, reap
from titan_core.tasks.resource_limits import Inherited, limit_memory
from titan_core.tasks.script_cache import MAX_SOURCE_BYTES, ScriptCache
from titan_core.tasks.supervised_attempt import LEFTOVER_S, Attempt, epoch_ms
from titan_core.tasks.warm_python import WarmJob, whole_environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import Any, NoReturn
else:
    import _signal

_RECEIVE_BYTES = 32 * 1024
"""At a time; a request is some 4 KiB, and reads of 128 KiB and more cost the C library a mapping each."""
_ABANDONED_GRACE_S = 3.0
"""The longest grace when the worker or the launcher is gone: nobody waits for the result."""
_LONGEST_WAIT_MS = 24 * 3600 * 1000.0
"""One poll takes 24 days at most; a day is well below it."""
_SEND_DEADLINE_MS = 1000
"""For the last words of a supervisor to a worker that does not read."""
_DEFAULTED = (
    _signal.SIGPIPE, _signal.SIGXFSZ, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGQUIT, _signal.SIGINT,
)  # fmt: skip
"""What is ignored here and must not be in a program."""


class Supervisor:
    """One slot's supervisor, in a process of its own, with the worker's socket and what else zygote.py gives it."""

    def __init__(self, worker: int, launcher_alive: int, wake: tuple[int, int], preloaded: frozenset[str]) -> None:
        self._worker = worker
        self._launcher_alive = launcher_alive
        self._wake = wake
        self._preloaded = preloaded
        self._decoder = Decoder()
        self._cache = ScriptCache()
        self._unsent = b""
        self._waits_to_send = False
        self._attempt: Attempt | None = None
        self._worker_gone = False
        self._abandoned = ""
        """Why this process ends as soon as its job has ended."""
        self._poll = select.poll()

    def serve(self) -> WarmJob:
        """Until the worker or the launcher is gone; then it does not return. It returns in a process of a script."""
        os.set_blocking(self._worker, False)
        for fd in (self._worker, self._launcher_alive, self._wake[0]):
            self._poll.register(fd, select.POLLIN)
        self._say("ready", os.getpid(), _start_of(os.getpid()))
        while True:
            for fd, events in self._poll.poll(self._wait_ms()):
                if fd == self._wake[0]:
                    os.read(fd, 4096)
                    self._reap()
                elif fd == self._worker:
                    if events & select.POLLOUT:
                        self._send()
                    if events & ~select.POLLOUT and (job := self._receive()) is not None:
                        return job
                elif fd == self._launcher_alive:
                    self._abandon(fd, "the launcher process has died")
                elif self._attempt is not None and not self._attempt.read_output():
                    self._output_ended(self._attempt)
            if self._attempt is not None:
                self._care(self._attempt)
            if self._attempt is None and self._abandoned:
                self._leave()

    def _wait_ms(self) -> float | None:
        """How long until something is due, in ms; None when nothing is."""
        attempt = self._attempt
        if attempt is None:
            return None
        due = attempt.news_at()
        if attempt.ending is not None:
            due = attempt.advance_at if due is None else min(due, attempt.advance_at)
        else:
            for at in (attempt.timeout_at, attempt.leftover_at):
                if at is not None and (due is None or at < due):
                    due = at
        if due is None:
            return None
        return min(max(0.0, due - time.monotonic()) * 1000 + 0.5, _LONGEST_WAIT_MS)

    # --- the connection to the worker ---

    def _receive(self) -> WarmJob | None:
        try:
            data = os.read(self._worker, _RECEIVE_BYTES)
        except BlockingIOError:
            return None
        except ConnectionError:
            data = b""
        if not data:
            self._abandon(self._worker, "the worker is gone")
            self._worker_gone = True
            self._unsent = b""
            return None
        for kind, serial, *rest in self._decoder.feed(data):
            if kind == "run":
                job = self._run(serial, *rest)
                if job is not None:
                    return job
            elif self._attempt is not None and self._attempt.serial == serial:
                reason, grace_s = rest
                self._attempt.end("ended", reason, grace_s)
        return None

    def _say(self, *message: Any) -> None:
        self._unsent += encode(*message)
        self._send()

    def _send(self) -> None:
        """Send what the worker takes. It is little, and bounded: output is told of again only when that was taken."""
        if self._worker_gone:
            self._unsent = b""
            return
        try:
            self._unsent = self._unsent[os.write(self._worker, self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:  # gone; reading says so too
            self._unsent = b""
        if bool(self._unsent) != self._waits_to_send:
            self._waits_to_send = not self._waits_to_send
            self._poll.modify(self._worker, select.POLLIN | (select.POLLOUT if self._waits_to_send else 0))

    def _abandon(self, fd: int, reason: str) -> None:
        self._poll.unregister(fd)
        self._abandoned = self._abandoned or reason
        if self._attempt is not None:
            self._attempt.end("supervisor_lost", reason, min(self._attempt.grace_s, _ABANDONED_GRACE_S))

    def _leave(self) -> NoReturn:
        poll = select.poll()
        poll.register(self._worker, select.POLLOUT)
        while self._unsent and poll.poll(_SEND_DEADLINE_MS):
            self._send()
        os._exit(0)

    # --- the beginning of a job ---

    def _run(
        self,
        serial: int,
        argv: tuple[str, ...],
        warm: bool,
        changed: dict[bytes, bytes],
        removed: tuple[bytes, ...],
        cwd: str,
        log_path: str,
        log_bytes: int,
        log_files: int,
        timeout_s: float | None,
        grace_s: float,
        leads: bool,
        memory: int,
        millicpus: int,
        groups: Roots,
    ) -> WarmJob | None:
        """Start a job. Returns it in the process of a script, once forked; None here."""
        log: JobLog | RotatingLog | None = None
        group: JobGroup | None = None
        output = write = pid = -1
        doing = f"its log {log_path} cannot be written"
        try:
            log = RotatingLog(log_path, log_bytes, log_files) if log_files else JobLog(log_path, log_bytes)
            folder = _real_folder(argv[2]) if warm else ""
            doing = f"its working directory {cwd} cannot be used"
            os.chdir(cwd)
            if groups:
                group = self._group(serial, memory, millicpus, groups)
            doing = f"{argv[0]} cannot be started"
            output, write = os.pipe()
            os.set_blocking(output, False)
            source = self._readable_source(argv[2]) if warm else None
            if source is not None:
                code = self._cache.code_for(source)
                ours = (self._worker, self._launcher_alive, *self._wake, log.fd, output, write)
                job = WarmJob(
                    argv, changed, removed, folder=folder, source=source, code=code, output=write, close=ours, keep=self
                )
                # A request to end would be lost on a child that ignores it as we do: it waits until the child does not.
                _signal.pthread_sigmask(_signal.SIG_BLOCK, (_signal.SIGTERM,))
                try:
                    pid = os.fork()
                    if pid == 0:
                        if group is not None:
                            group.add(0)
                        if memory:
                            limit_memory(0, memory)
                        return job
                finally:
                    if pid:
                        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGTERM,))
            else:
                to_log = [(os.POSIX_SPAWN_DUP2, write, 1), (os.POSIX_SPAWN_DUP2, write, 2)]
                env = whole_environment(changed, removed)
                with Inherited(memory):
                    pid = os.posix_spawn(argv[0], argv, env, file_actions=to_log, setsid=True, setsigdef=_DEFAULTED)
                if group is not None:
                    group.add(pid)  # what it has started by now, in no time, is limited by the other means alone
                if memory:
                    limit_memory(pid, memory)
        except (OSError, ValueError) as error:
            why = f"{doing}: {getattr(error, 'strerror', None) or error}"
        os.chdir("/")
        if write >= 0:
            os.close(write)
        if pid > 0 and log is not None:
            self._attempt = Attempt(serial, pid, source, log, output, timeout_s, grace_s, leads, group)
            self._poll.register(output, select.POLLIN)
            return None
        if output >= 0:
            os.close(output)
        if log is not None:
            log.close()
        if group is not None:
            group.remove()
        self._say("exited", serial, None, "launch_error", why, 0, b"", 0, 0, epoch_ms())
        return None

    def _group(self, serial: int, memory: int, millicpus: int, groups: Roots) -> JobGroup | None:
        """A control group for the job; None when it cannot be had, which the other limits make up for."""
        try:
            return JobGroup(groups, f"job-{os.getpid()}-{serial}", memory, millicpus)
        except OSError:
            return None

    def _readable_source(self, script: str) -> bytes | None:
        """The source of a script to be forked; None when a new interpreter is to run it."""
        try:
            if self._preloaded and not self._preloaded.isdisjoint(_importable(os.path.realpath(script))):
                return None
            fd = os.open(script, os.O_RDONLY | os.O_CLOEXEC)
            try:
                size = os.fstat(fd).st_size
                source = os.read(fd, size + 1) if size <= MAX_SOURCE_BYTES else None
            finally:
                os.close(fd)
        except OSError:
            return None
        return source

    # --- the end of a job ---

    def _output_ended(self, attempt: Attempt) -> None:
        self._poll.unregister(attempt.output)
        os.close(attempt.output)
        attempt.output = -1

    def _reap(self) -> None:
        ended, children_left = reap()
        attempt = self._attempt
        if attempt is None:
            return
        for pid, status in ended:
            if pid == attempt.pid:
                attempt.status = status
        attempt.children_left = children_left
        if attempt.ending is not None and children_left:
            attempt.advance_at = attempt.ending.advance()

    def _care(self, attempt: Attempt) -> None:
        """Do what is due."""
        if attempt.status is not None and not self._anything_left(attempt):
            self._finish(attempt)
            return
        now = time.monotonic()
        if attempt.ending is not None:
            if now >= attempt.advance_at:
                attempt.advance_at = attempt.ending.advance()
        elif attempt.status is None:
            if attempt.timeout_at is not None and now >= attempt.timeout_at:
                attempt.end("timeout", f"ran longer than {attempt.timeout_s:g} s", attempt.grace_s)
        elif attempt.leftover_at is None:
            attempt.leftover_at = now + LEFTOVER_S
        elif now >= attempt.leftover_at:
            attempt.end("exit", "", attempt.grace_s)
        news_at = attempt.news_at()
        if news_at is not None and now >= news_at and not self._unsent:
            if not attempt.announced:
                self._announce(attempt)
            if attempt.size:
                self._unsent += encode("output", attempt.serial, attempt.size)
            attempt.told(now)
            self._send()

    def _anything_left(self, attempt: Attempt) -> bool:
        return attempt.children_left or (sys.platform != "linux" and group_is_left(attempt.pid))

    def _announce(self, attempt: Attempt) -> None:
        started = _start_of(attempt.pid) if attempt.status is None else ""
        self._unsent += encode("started", attempt.serial, attempt.pid, started, attempt.started_at)

    def _finish(self, attempt: Attempt) -> None:
        assert attempt.status is not None
        self._attempt = None
        if attempt.output >= 0:
            self._poll.unregister(attempt.output)
        reason, size, tail, offset = attempt.close()
        if attempt.source is not None and os.WIFEXITED(attempt.status):
            self._cache.note_harmless(attempt.source)
        if not attempt.announced:
            self._announce(attempt)
        code = os.waitstatus_to_exitcode(attempt.status)
        times = (attempt.started_at, epoch_ms())
        self._say("exited", attempt.serial, code, attempt.cause, reason, size, tail, offset, *times)


def _real_folder(script: str) -> str:
    """The folder of a script without links in its path, as the interpreter puts it into sys.path. Changes the working
    directory: the kernel knows at once what ``realpath`` asks for step by step."""
    try:
        if not os.path.islink(script):
            os.chdir(os.path.dirname(script))
            return os.getcwd()
    except OSError:
        pass
    return os.path.dirname(os.path.realpath(script))


def _start_of(pid: int) -> str:
    process = find_process(pid)
    return process.started if process is not None else ""


def _importable(script: str) -> list[str]:
    """Names of modules that the script's folder may hold."""
    return [name.partition(".")[0] for name in os.listdir(os.path.dirname(script))]
