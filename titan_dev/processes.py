"""A cluster as child processes: started, watched, its output prefixed, stopped in order. Standard library only."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from titan_dev.environment import ROOT

HOST = "127.0.0.1"
LINE_BYTES = 64 * 1024
"""Longest piece of a line that is handed on at once; a longer line comes in pieces, so memory stays bounded."""
LOOK_S = 0.05
"""Between two looks at a port or at what ended, while a cluster starts."""
REGISTERED = "registered with the master"
"""In what a worker says when it can work."""
AGAIN_S = 0.5
"""Between two signals to who is to hurry: two that come close together are one to the kernel, which means no hurry."""
KILLED_S = 5.0
"""Seconds within which the kernel has ended a process that was killed."""


@dataclass(frozen=True)
class Exited:
    """A process of the cluster ended. ``code`` is minus the signal's number when a signal ended it."""

    name: str
    code: int


class Member:
    """One process of the cluster, in a session of its own so that a Ctrl-C reaches only who handles it."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: dict[str, str],
        on_line: Callable[[str, str], None],
        on_exit: Callable[[Exited], None],
    ) -> None:
        self.name = name
        self._command = list(command)
        self._environment = environment
        self._on_line = on_line
        self._on_exit = on_exit
        self._process: subprocess.Popen[bytes] | None = None
        self._reader = threading.Thread(target=self._read, name=f"output-of-{name}", daemon=True)
        self._waiter = threading.Thread(target=self._wait, name=f"end-of-{name}", daemon=True)

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=self._environment,
            start_new_session=True,
        )
        self._reader.start()
        self._waiter.start()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        with self._process.stdout as stream:
            while line := stream.readline(LINE_BYTES):
                self._on_line(self.name, line.decode("utf-8", "replace").rstrip("\r\n"))

    def _wait(self) -> None:
        assert self._process is not None
        code = self._process.wait()
        self._reader.join(1.0)  # its last words first; but a child of its may hold the pipe open for ever
        self._on_exit(Exited(self.name, code))


@dataclass(frozen=True)
class Dashboard:
    """Where a cluster's dashboard listens, and the code that logs in to it once."""

    port: int
    login_code: str


class Cluster:
    """A master, workers and perhaps a dashboard on this machine.

    Args:
        port: the master's. worker_ports: one worker for each.
        environment: of all processes.
        on_line: gets (name, line) of everything they print, on the reading threads.
        master_arguments, worker_arguments: handed on.
        dashboard: started last, when there is to be one.
    """

    def __init__(
        self,
        port: int,
        worker_ports: Sequence[int],
        environment: dict[str, str],
        on_line: Callable[[str, str], None],
        master_arguments: Sequence[str] = (),
        worker_arguments: Sequence[str] = (),
        dashboard: Dashboard | None = None,
    ) -> None:
        self.port = port
        self._dashboard_port = dashboard.port if dashboard else 0
        self.events: queue.SimpleQueue[Exited | None] = queue.SimpleQueue()
        """What ended; ``None``, put here by a signal handler, asks to stop, and asked again to hurry."""

        self._registered = threading.Semaphore(0)

        def heard(name: str, line: str) -> None:
            if name.startswith("worker") and REGISTERED in line:
                self._registered.release()
            on_line(name, line)

        def member(name: str, program: str, *arguments: str, **variables: str) -> Member:
            command = [sys.executable, "-u", str(ROOT / program), *arguments]
            return Member(name, command, environment | variables, heard, self.events.put)

        # The address that is looked at here, whatever TITAN_HOST says: it may be another master's.
        address = ("--host", HOST, "--port", str(port))
        self._master = member("master", "titan_core/TitanMaster.py", *address, *master_arguments)
        self._workers = [
            member(f"worker {n}", "titan_core/TitanWorker.py", str(worker_port), HOST, str(port), *worker_arguments)
            for n, worker_port in enumerate(worker_ports, 1)
        ]
        self._dashboards = []
        if dashboard:
            # The code is in its environment alone: every user can read a command line, and jobs a worker's environment.
            address = ("--port", str(dashboard.port), "--master", f"{HOST}:{port}")
            code = {"TITAN_DASHBOARD_LOGIN": dashboard.login_code}
            self._dashboards = [member("dashboard", "perm_files/server_dashboard.py", *address, **code)]

    @staticmethod
    def names(workers: int, dashboard: bool = False) -> list[str]:
        names = ["master", *(f"worker {number}" for number in range(1, workers + 1))]
        return [*names, "dashboard"] if dashboard else names

    def start(self, timeout_s: float = 30.0) -> bool:
        """Start the master, then the workers, until all can work. False: something else is in ``events``.

        Raises:
            TimeoutError: the master runs, but nobody listens at its port, or a worker does not register with it.
        """
        deadline = time.monotonic() + timeout_s
        self._master.start()
        while not is_listening(self.port):
            if self._interrupted(f"the master does not listen at port {self.port}", deadline):
                return False
        for worker in self._workers:
            worker.start()
        for _ in self._workers:
            while not self._registered.acquire(timeout=LOOK_S):
                if self._interrupted("not all workers have registered with the master", deadline):
                    return False
        for each in self._dashboards:
            each.start()
            while not is_listening(self._dashboard_port):
                if self._interrupted(f"the dashboard does not listen at port {self._dashboard_port}", deadline):
                    return False
        return True

    def _interrupted(self, late: str, deadline: float) -> bool:
        """Whether something is in ``events`` soon; raises TimeoutError, saying what is ``late``, after the deadline."""
        try:
            self.events.put(self.events.get(timeout=LOOK_S))
            return True
        except queue.Empty:
            if time.monotonic() > deadline:
                raise TimeoutError(late) from None
            return False

    def stop(self, deadline_s: float) -> bool:
        """Let the workers drain and end, then the master. Whether all of them ended by themselves.

        A ``None`` in ``events`` meanwhile makes them hurry. What is not gone after ``deadline_s`` seconds is killed.
        """
        deadline = time.monotonic() + deadline_s
        clean, hurry = True, False
        for group in ([*self._dashboards, *self._workers], [self._master]):
            for member in group:
                for _ in range(2 if hurry else 1):
                    member.signal(signal.SIGTERM)
            while any(member.running for member in group):
                rest = max(0.0, deadline - time.monotonic())
                try:
                    event = self.events.get(timeout=min(rest, AGAIN_S) if hurry else rest)
                except queue.Empty:
                    if time.monotonic() < deadline:
                        for member in group:
                            member.signal(signal.SIGTERM)
                        continue
                    clean = False
                    for member in group:
                        member.signal(signal.SIGKILL)
                    deadline = time.monotonic() + KILLED_S
                    continue
                if event is None:
                    hurry = True
                    for member in group:
                        member.signal(signal.SIGTERM)
        return clean


def is_listening(port: int) -> bool:
    """Whether somebody accepts connections at this port of this machine."""
    try:
        socket.create_connection((HOST, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens at now."""
    held = []
    try:
        for _ in range(count):
            held.append(socket.create_server((HOST, 0)))
        return [int(each.getsockname()[1]) for each in held]
    finally:
        for each in held:
            each.close()


def _private(path: Path) -> int:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    os.fchmod(handle, 0o600)
    return handle


class Painter:
    """Prints lines with a coloured prefix, one at a time, from any thread."""

    COLOURS = (36, 32, 33, 35, 34, 96, 92, 93, 95, 94)

    def __init__(self, names: Sequence[str], log: Path | None = None) -> None:
        self._width = max(len(name) for name in names)
        self._colour = {name: self.COLOURS[i % len(self.COLOURS)] for i, name in enumerate(names)}
        self._coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self._lock = threading.Lock()
        if log:
            log.parent.mkdir(parents=True, exist_ok=True)
        # For this user alone: jobs' lines may be in it, and the address that logs in to the dashboard is.
        self._log = os.fdopen(_private(log), "w", encoding="utf-8") if log else None

    def line(self, name: str, text: str) -> None:
        plain = f"{name:<{self._width}} | "
        prefix = f"\x1b[{self._colour.get(name, 1)}m{plain}\x1b[0m" if self._coloured else plain
        with self._lock:
            print(f"{prefix}{text}", flush=True)
            if self._log:
                self._log.write(f"{plain}{text}\n")
                self._log.flush()

    def close(self) -> None:
        if self._log:
            self._log.close()
