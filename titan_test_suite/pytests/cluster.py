"""Real masters and workers for tests: started as a person starts them, each with a log of its own, and all ended.

Every process that a cluster starts, directly or not, carries MARKER with the cluster's own value in its environment;
that is how the teardown finds what a program left behind, and how two test runs on one machine keep apart.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import psutil

from titan_sdk.connection import RpcClient
from titan_sdk.messages import (
    CHUNK_BYTES,
    FINAL_STATES,
    Accepted,
    GetJob,
    GetLogs,
    JobInfo,
    JobSpec,
    ListWorkers,
    RunInfo,
    SubmitRun,
    UploadChunk,
    WatchRun,
    WorkerInfo,
)

ROOT: Final = Path(__file__).resolve().parents[2]
MARKER: Final = "TITAN_TEST_CLUSTER"
START_S: Final = 30.0
"""A program that is not ready by then is broken, on the slowest machine too."""
END_S: Final = 30.0
_PATIENCE_S: Final = 0.5
"""For a program to end on the first SIGTERM, before the second."""
_POLL_S: Final = 0.01
_LOG_SHOWN: Final = 16 * 1024
"""Bytes of each program's log that a failed test shows."""

_READY = re.compile(rb"ready on \S*:(\d+)")

T = TypeVar("T")


def wait_until(condition: Callable[[], T], deadline: float = 10.0, what: str = "") -> T:
    """The first true value of ``condition``, looked at again and again.

    Raises:
        AssertionError: it was not true within ``deadline`` seconds.
    """
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline:g} s: {what or condition!r}; last value {value!r}")
        time.sleep(_POLL_S)


class Program:
    """A process of ours under test. Its stdout and stderr go to ``log_path``."""

    def __init__(self, name: str, argv: Sequence[str], *, env: dict[str, str], cwd: Path, log_path: Path) -> None:
        self.name = name
        self.argv = list(argv)
        self.log_path = log_path
        with log_path.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                self.argv,
                env=env,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __repr__(self) -> str:
        return f"<{self.name} pid {self.pid} {'running' if self.running else f'ended {self._process.returncode}'}>"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def log_text(self) -> str:
        """What this process (not an earlier one with the same log file) has written so far."""
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode("utf-8", "replace")

    def wait_for_line(self, pattern: str, deadline: float = START_S) -> re.Match[str]:
        """The first match in its log. Raises AssertionError when it ends, or the deadline passes, without one."""
        compiled = re.compile(pattern)

        def look() -> re.Match[str] | bool | None:
            running = self.running
            return compiled.search(self.log_text()) or not running

        found = wait_until(look, deadline, f"{self.name} writes {pattern!r}")
        assert isinstance(found, re.Match), f"{self!r} without {pattern!r}:\n{self.log_text()}"
        return found

    def wait_ready(self, deadline: float = START_S) -> int:
        """The port in its ready line."""
        return int(self.wait_for_line(_READY.pattern.decode(), deadline)[1])

    def signal(self, number: int) -> None:
        """To this process alone."""
        self._process.send_signal(number)

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> int:
        """SIGKILL this process alone, as for want of memory; what it leaves behind is its successor's task."""
        self.signal(signal.SIGKILL)
        return self.wait()

    def terminate(self, deadline: float = END_S) -> int:
        """SIGTERM, and its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(deadline)

    def wait(self, deadline: float = END_S) -> int:
        """Its exit code, negative for a signal. Raises AssertionError when it does not end."""
        try:
            return self._process.wait(deadline)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self!r} did not end within {deadline:g} s:\n{self.log_text()}") from None

    def kill_group(self) -> None:
        """SIGKILL to the whole process group, whether its leader still runs or not."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait(END_S)


class Cluster:
    """Masters and workers on free ports, everything they write below ``root``. End it with ``stop``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "home"
        self.data_dir = root / "titan_data"
        self.perm_files = root / "perm_files"
        self.workspace = root / "titan_workspace"
        self.mark = f"{os.getpid()}-{secrets.token_hex(6)}"
        self.port = 0
        self.programs: list[Program] = []
        self._clients: list[RpcClient] = []
        self._client: RpcClient | None = None
        for folder in (self.home, self.perm_files):
            folder.mkdir(parents=True, exist_ok=True)
        self.home.chmod(0o700)

    # --- programs -------------------------------------------------------------------------------------------------

    def environment(self, **extra: str) -> dict[str, str]:
        """The environment of every program: none of the outer TITAN_* settings, a home of its own, the mark."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("TITAN_")}
        env |= {"TITAN_HOME": str(self.home), MARKER: self.mark, "TITAN_PORT": str(self.port or 9090)}
        return env | extra

    def start(self, name: str, argv: Sequence[str], **env: str) -> Program:
        """Any program, in the cluster's environment; argv without the interpreter when it begins with a ``.py``."""
        command = [sys.executable, *argv] if argv[0].endswith(".py") else list(argv)
        program = Program(name, command, env=self.environment(**env), cwd=self.root, log_path=self.root / f"{name}.log")
        self.programs.append(program)
        return program

    def start_master(self, *options: str, port: int | None = None, wait: bool = True, **env: str) -> Program:
        """A master on the cluster's data; the port of the one before, so that it takes its place."""
        chosen = self.port if port is None else port
        argv = [str(ROOT / "titan_core" / "TitanMaster.py"), "--port", str(chosen)]
        argv += ["--data-dir", str(self.data_dir), "--perm-files", str(self.perm_files), *options]
        program = self.start("master", argv, **env)
        if wait:
            self.port = program.wait_ready()
        return program

    def start_worker(
        self,
        *options: str,
        name: str = "worker",
        port: int = 0,
        capabilities: str = "GENERAL",
        permanent: bool = False,
        wait: bool = True,
        **env: str,
    ) -> Program:
        """A worker of the cluster's master; ready means registered. Workers share a workspace unless told otherwise."""
        argv = [str(ROOT / "titan_core" / "TitanWorker.py")]
        argv += [str(port), "127.0.0.1", str(self.port), capabilities, str(permanent).lower()]
        argv += ["--workspace", str(self.workspace), *options]
        program = self.start(name, argv, **env)
        if wait:
            program.wait_for_line(r"registered")
        return program

    # --- clients --------------------------------------------------------------------------------------------------

    @property
    def token(self) -> str:
        return (self.home / "token").read_text().strip()

    def new_client(self, role: str = "client") -> RpcClient:
        """A connection of its own to the master."""
        client = RpcClient("127.0.0.1", self.port, token=self.token, role=role)
        self._clients.append(client)
        return client

    @property
    def client(self) -> RpcClient:
        """The cluster's usual connection; it finds the master again after a restart."""
        if self._client is None:
            self._client = self.new_client()
        return self._client

    def upload(self, data: bytes) -> str:
        """Hand a content to the master; its digest."""
        digest = hashlib.sha256(data).hexdigest()
        offset = 0
        while True:
            piece = data[offset : offset + CHUNK_BYTES]
            state = self.client.call(UploadChunk(sha256=digest, size=len(data), offset=offset, data=piece))
            if state.complete:
                return digest
            offset = state.received

    def job(self, source: str | bytes, *, id: str = "job", file: str = "job.py", **fields: Any) -> JobSpec:
        """The spec of a single-file job, its content uploaded."""
        data = source.encode() if isinstance(source, str) else source
        return JobSpec(id=id, file=file, sha256=self.upload(data), size=len(data), **fields)

    def submit(self, *jobs: JobSpec, name: str = "test", **fields: Any) -> Accepted:
        answer = self.client.call(SubmitRun(name=name, jobs=list(jobs), **fields))
        assert isinstance(answer, Accepted)
        return answer

    def run(self, source: str | bytes, **fields: Any) -> str:
        """Submit a single-file job; its key ``run/job``."""
        spec = self.job(source, **fields)
        return f"{self.submit(spec).run_id}/{spec.id}"

    def info(self, key: str) -> JobInfo:
        return self.client.call(GetJob(id=key))

    def wait_state(self, key: str, *states: str, deadline: float = 20.0) -> JobInfo:
        """The job once it is in one of these states (by default: any final one)."""
        wanted = states or tuple(FINAL_STATES)
        last: list[JobInfo] = []

        def look() -> bool:
            last[:] = [self.info(key)]
            return last[0].state in wanted

        wait_until(look, deadline, f"{key} is {' or '.join(wanted)}")
        return last[0]

    def wait_run(self, run_id: str, deadline: float = 30.0) -> RunInfo:
        """The run once every job of it is final."""
        end = time.monotonic() + deadline
        run = self.client.call(WatchRun(id=run_id))
        while not run.finished and (rest := end - time.monotonic()) > 0:
            run = self.client.call(WatchRun(id=run_id, since=run.version, wait_s=min(rest, 10.0)))
        assert run.finished, f"run {run_id} not finished within {deadline:g} s: {run}"
        return run

    def log(self, key: str, attempt: int = 0) -> bytes:
        """The whole log of an attempt (0: the latest) as the master has it."""
        data = b""
        while True:
            chunk = self.client.call(GetLogs(id=key, offset=len(data), attempt=attempt))
            data += chunk.data
            if not chunk.data:
                return data

    def workers(self) -> list[WorkerInfo]:
        return self.client.call(ListWorkers()).workers

    # --- the end --------------------------------------------------------------------------------------------------

    def processes(self) -> list[psutil.Process]:
        """Every live process that carries the cluster's mark, jobs and their descendants included."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARKER) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def stop(self) -> None:
        """End everything in order: clients, workers, masters; then look for what is left.

        Raises:
            AssertionError: a program did not end when asked, or left a process behind (which is killed).
        """
        for client in self._clients:
            client.close()
        masters = [program for program in self.programs if program.name.startswith("master")]
        others = [program for program in self.programs if program not in masters]
        stubborn = [repr(program) for group in (others, masters) for program in _end(group)]
        for program in self.programs:
            program.kill_group()
        left = self._end_leftovers()
        assert not stubborn, f"did not end on SIGTERM: {stubborn}"
        assert not left, f"left behind: {left}"

    def _end_leftovers(self) -> list[str]:
        end = time.monotonic() + 10.0
        while self.processes() and time.monotonic() < end:
            time.sleep(_POLL_S)
        left = self.processes()
        shown = [_shown(process) for process in left]
        for process in left:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        return shown

    def logs(self) -> str:
        """The end of every program's log, for a person whose test failed."""
        texts = []
        for path in sorted({program.log_path for program in self.programs}):
            with path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _LOG_SHOWN))
                texts.append(f"--- {path.name} ---\n{file.read().decode('utf-8', 'replace')}")
        return "\n".join(texts)


def _end(programs: Sequence[Program]) -> list[Program]:
    """End programs in order, all at once; those that would not."""
    for number in (signal.SIGCONT, signal.SIGTERM):
        for program in programs:
            if program.running:
                program.signal(number)
    end = time.monotonic() + _PATIENCE_S
    while any(program.running for program in programs) and time.monotonic() < end:
        time.sleep(_POLL_S)
    for program in programs:  # the second signal hurries: a test's running jobs are not waited for
        if program.running:
            program.signal(signal.SIGTERM)
    stubborn = []
    for program in programs:
        try:
            program.wait()
        except AssertionError:
            stubborn.append(program)
    return stubborn


def _shown(process: psutil.Process) -> str:
    try:
        return f"{process.pid} (parent {process.ppid()}): {' '.join(process.cmdline()) or process.name()}"
    except psutil.Error:
        return str(process.pid)
