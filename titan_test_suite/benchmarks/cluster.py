"""Clusters to measure: the real programs on free ports, with a home and a journal of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

import psutil

from titan_sdk.connection import RpcClient

ROOT: Final = Path(__file__).resolve().parents[2]
START_S: Final = 120.0
"""For a program to be ready, a master that restores 100,000 jobs included."""
STOP_S: Final = 60.0
"""For all programs to end when asked; after that they are killed."""

_PROCESS_CLOCK: Final = 2
"""Kind of clock in Linux's id for the processor time of a process, which is what clock_getcpuclockid(3) makes."""


class ProgramFailed(Exception):
    """A program of the cluster did not do its part; the text has the last it printed."""


class Program:
    """A process whose output goes to a file, and is looked through for the line that says it is ready."""

    def __init__(self, name: str, argv: Sequence[str], *, env: dict[str, str], cwd: Path, ready: str) -> None:
        self.name = name
        self._log = cwd / f"{name}.log"
        self._pattern = re.compile(ready)
        self._ready = threading.Event()
        self._match: re.Match[str] | None = None
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd=cwd,
            env=env,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"output-of-{name}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_ready(self) -> re.Match[str]:
        """The match of the line that says so.

        Raises:
            ProgramFailed: it ended, or START_S passed, without one.
        """
        self._ready.wait(START_S)
        if self._match is None:
            raise ProgramFailed(f"{self.name} is not ready:\n{self._log.read_text()[-4000:]}")
        return self._match

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self, deadline: float) -> None:
        """Wait for its end until the monotonic ``deadline``, then kill its group."""
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
        self._reader.join(5.0)

    def cpu_seconds(self) -> float:
        """User and system time of this process alone, so far; in nanosecond steps where the system has such a clock."""
        if sys.platform == "linux":
            return time.clock_gettime(~self.pid << 3 | _PROCESS_CLOCK)
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def rss(self) -> int:
        """Resident bytes."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream, self._log.open("a") as log:
            for line in stream:
                if self._match is None:
                    self._match = self._pattern.search(line)
                    if self._match is not None:
                        self._ready.set()
                log.write(line)
        self._ready.set()


class Cluster:
    """One master and its workers below ``root``. Leaving the ``with`` block ends them all."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = 0
        self._master: Program | None = None
        self._workers: list[Program] = []
        self._clients: list[RpcClient] = []
        (root / "home").mkdir(parents=True, mode=0o700)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    @property
    def master(self) -> Program:
        assert self._master is not None, "start_master first"
        return self._master

    @property
    def workers(self) -> Sequence[Program]:
        return self._workers

    @property
    def token(self) -> str:
        return (self.root / "home" / "token").read_text().strip()

    def start_master(self, *options: str) -> float:
        """Start the master, at the same port when there was one before; seconds until it was ready."""
        begin = time.perf_counter()
        arguments = ["--port", str(self.port), "--data-dir", "titan_data", "--perm-files", "perm_files", *options]
        self._master = self._start("master", "TitanMaster.py", arguments, r"ready on \S*:(\d+)")
        self.port = int(self._master.wait_ready()[1])
        return time.perf_counter() - begin

    def kill_master(self) -> None:
        """As for want of memory or power."""
        self.master.signal(signal.SIGKILL)
        self.master.end(time.monotonic() + STOP_S)

    def start_worker(self, name: str, *options: str) -> None:
        """Start a worker of four slots with a workspace of its own, and wait until it is registered."""
        arguments = ["--port", "0", "--master-port", str(self.port), "--workspace", f"workspace-{name}", *options]
        worker = self._start(name, "TitanWorker.py", arguments, "registered")
        self._workers.append(worker)
        worker.wait_ready()

    def client(self) -> RpcClient:
        """A connection of its own, closed with the cluster."""
        client = RpcClient("127.0.0.1", self.port, token=self.token)
        client.connect()
        self._clients.append(client)
        return client

    def stop(self) -> None:
        """End clients, workers and the master, in this order. Jobs that still run are ended with their worker."""
        for client in self._clients:
            client.close()
        deadline = time.monotonic() + STOP_S
        for group in (self._workers, [self._master] if self._master else []):
            for program in group:
                program.signal(signal.SIGTERM)
            for program in group:
                program.end(deadline)

    def _start(self, name: str, program: str, arguments: Sequence[str], ready: str) -> Program:
        env = {name: value for name, value in os.environ.items() if not name.startswith("TITAN_")}
        env["TITAN_HOME"] = str(self.root / "home")
        argv = [sys.executable, "-u", str(ROOT / "titan_core" / program), *arguments]
        return Program(name, argv, env=env, cwd=self.root, ready=ready)
