"""A worker: its parts, wired together, started, drained and stopped in order."""

from __future__ import annotations

import errno
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import psutil

from titan_core.config import WorkerSettings
from titan_core.filesys.content_store import ContentStore
from titan_core.filesys.workspace_manager import WorkspaceManager
from titan_core.protocol.classic_jobs import ClassicJobs
from titan_core.protocol.classic_master import ClassicMaster, ClassicRegistration
from titan_core.protocol.master_link import MasterLink
from titan_core.protocol.rpc_worker_server import ClassicCommands, RpcWorkerServer
from titan_core.protocol.trust import PeerTrust
from titan_core.protocol.worker_housekeeping import WorkerHousekeeping
from titan_core.protocol.worker_state import WorkerState
from titan_core.tasks.alarms import Alarms
from titan_core.tasks.attempt import Attempt, Phase
from titan_core.tasks.attempt_reporter import AttemptReporter
from titan_core.tasks.cgroups import make_roots, remove_roots
from titan_core.tasks.content_fetcher import ContentFetcher
from titan_core.tasks.job_environment import JobEnvironment
from titan_core.tasks.job_launch import JobLaunch
from titan_core.tasks.job_runner import GPU_VARIABLE, JobRunner, gpu_names
from titan_core.tasks.launch import LaunchEvent
from titan_core.tasks.launcher import LEFTOVER_GRACE_S, Launcher
from titan_core.tasks.process_registry import ProcessRegistry
from titan_core.tasks.repair_kit import RepairKits
from titan_core.tasks.resource_limits import MEMORY_IS_LIMITED
from titan_core.tasks.result_spool import ResultSpool
from titan_core.tasks.script_executor_handler import ScriptExecutorHandler
from titan_core.tasks.service_handler import ServiceHandler
from titan_sdk.classic_jobs import DEFAULT_WORKER_PORT
from titan_sdk.errors import ConfigError, NotFound
from titan_sdk.messages import CHILD_WORKERS, JobSpec, Lease, Outcome, Register, Registered, StreamLogs, Usage
from titan_sdk.settings import read_token
from titan_sdk.sizes import counted

log = logging.getLogger(__name__)

REPORT_S: Final = 10.0
"""For the master to answer for the last results of a worker that leaves; what it does not answer for stays spooled."""
SETTLE_S: Final = 5.0
"""Beyond a job's grace, for its last processes to be gone."""
HURRIED_GRACE_S: Final = 1.0
CHILD_PORTS: Final = 200
"""Ports tried for a worker that is to have any, from DEFAULT_WORKER_PORT on."""
MAX_PORT: Final = 65535
_MAX_MACHINE: Final = 255
GOODBYE_S: Final = 5.0
JOIN_S: Final = 5.0


class WorkerNode:
    """Everything of one worker process. ``open``, ``start``, ``drain``, ``stop``, in this order and once each.

    Args:
        program: the file that starts a worker, for jobs that ask for another one.
        on_leave: called when the master wants the worker to end. on_refused: called when it never takes it.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        program: Path,
        on_leave: Callable[[str], None],
        on_refused: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._program = program
        self._on_leave = on_leave
        self._on_refused = on_refused
        self._hurried = threading.Event()
        self._leaving = False

    # --- life -----------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Take the port and the state folder, and put the parts together. Nothing runs yet.

        Raises:
            ConfigError: the port is taken, or a folder cannot be used.
        """
        settings = self._settings
        trust = PeerTrust(insecure=settings.insecure)
        self._take_port(trust)
        trust.announce()
        try:
            self._workspace = WorkspaceManager(settings.workspace)
            self._workspace.open()
            contents = ContentStore(self._state.contents, durable=False)
            contents.open()
            spool = ResultSpool(self._state.spool)
            spooled = spool.open()
            self._registry = ProcessRegistry(self._state.processes)
            self._end_leftovers()
            self._wire(contents, spool)
        except OSError as error:
            raise ConfigError(f"the workspace {settings.workspace} cannot be used: {error}") from None
        self._reporter.recover(spooled)

    def _take_port(self, trust: PeerTrust) -> None:
        """Listen, and take the folder of that port: on the first port that has both, of those to be tried.

        Raises:
            ConfigError: none of them has; says what is wrong with the last one.
        """
        settings = self._settings
        tries = settings.port_tries if settings.port else 1
        for port in range(settings.port, min(settings.port + tries, MAX_PORT + 1)):
            last = port == min(settings.port + tries - 1, MAX_PORT)
            try:
                self._server = RpcWorkerServer((settings.host, port), trust=trust)
            except (OSError, OverflowError, UnicodeError) as error:
                if last or getattr(error, "errno", None) != errno.EADDRINUSE:
                    reason = getattr(error, "strerror", None) or str(error)
                    tried = f" (nor on any from {settings.port} on)" if port != settings.port else ""
                    raise ConfigError(f"cannot listen on {settings.host}:{port}{tried}: {reason}") from None
                continue
            self.port = self._server.port
            self._state = WorkerState(settings.workspace / f"worker-{self.port}")
            try:
                self._state.open()
                return
            except ConfigError:
                self._server.stop_accepting(JOIN_S)
                if last:
                    raise

    def _wire(self, contents: ContentStore, spool: ResultSpool) -> None:
        settings = self._settings
        self._alarms = Alarms("alarms")
        self._link = MasterLink(settings.master_host, settings.master_port, token=self._token, owner=self)
        self._groups = make_roots(f"titan-{self._state.worker_id}")
        self._launcher = Launcher(
            settings.slots + CHILD_WORKERS,
            on_event=self._on_launch_event,
            registry=self._registry,
            preload=settings.preload,
            groups=self._groups,
        )
        environment = JobEnvironment(
            os.environ,
            worker_id=self._state.worker_id,
            shared=self._workspace.shared,
            master_host=settings.master_host,
            master_port=settings.master_port,
            home=settings.home,
            token=settings.token,
        )
        scripts = ScriptExecutorHandler(preload=settings.preload)
        launch = JobLaunch(
            environment,
            scripts,
            self._worker_command,
            grace_s=settings.grace_seconds,
            log_bytes=settings.log_bytes,
            # An original master is sent lines from one file.
            service_log=(settings.service_log_bytes, 0 if settings.classic else settings.service_log_files),
        )
        self._fetcher = ContentFetcher(contents, self._link)
        self._services = ServiceHandler(self._service_failed)
        self._runner = JobRunner(
            settings.slots,
            launcher=self._launcher,
            workspace=self._workspace,
            contents=contents,
            fetcher=self._fetcher,
            make_request=launch.request,
            services=self._services,
            children=CHILD_WORKERS,
            devices=gpu_names(settings.gpus, os.environ),
            repair_kits=RepairKits(contents, self._fetcher, self._link),
        )
        self._reporter = AttemptReporter(self._link, self._runner, spool, self._alarms, grace_s=settings.grace_seconds)
        self._housekeeping = WorkerHousekeeping(
            self._workspace,
            contents,
            self._runner,
            max_age_s=settings.sandbox_days * 24 * 3600,
            max_count=settings.sandbox_count,
            max_bytes=settings.sandbox_total_bytes,
            cache_bytes=settings.cache_bytes,
        )
        self._classic_master = ClassicMaster(settings.master_host, settings.master_port)
        self._classic_jobs = ClassicJobs(
            self._runner, self._classic_master, self._alarms, grace_s=settings.grace_seconds
        )
        self._commands = ClassicCommands(
            self._classic_jobs, contents, self._state.folder / "staged", on_kill=self._on_leave
        )
        self._registration = ClassicRegistration(
            self._classic_master, self.port, settings.capabilities, settings.permanent
        )

    def start(self) -> None:
        """Run the launcher, serve classic masters, and register with the master."""
        self._alarms.start()
        self._services.start()
        self._launcher.start()
        self._housekeeping.start()
        self._server.serve_with(self._commands)
        if self._settings.classic:
            self._registration.start()
        else:
            self._link.start()

    def hurry(self) -> None:
        """While draining: wait for nothing more, and end what runs with little grace."""
        log.info("hurrying: what still runs is ended and handed back to the master")
        self._hurried.set()
        self._runner.wake()

    def drain(self, reason: str) -> None:
        """Take nothing new, let jobs finish for a while, hand back the rest, and tell the master goodbye. Blocks."""
        self._leaving = True
        self._runner.drain(f"the worker leaves: {reason}")
        # A service does not finish; the sooner it is given back, the sooner it runs elsewhere.
        attempts = self._runner.attempts()
        goes_back = [each for each in attempts if each.spec.kind != "run" or each.phase is Phase.PREPARING]
        log.info("leaving: %s%s", reason, self._waiting_for(len(attempts) - len(goes_back)))
        for attempt in goes_back:
            self._hand_back(attempt, self._grace(attempt.spec))
        self._wait_idle(self._settings.drain_seconds)
        rest = self._runner.attempts()
        for attempt in rest:
            self._hand_back(attempt, HURRIED_GRACE_S if self._hurried.is_set() else self._settings.grace_seconds)
        if rest:
            self._runner.wait_idle(self._settings.grace_seconds + SETTLE_S)
        if self._settings.classic:
            self._classic_jobs.stop(REPORT_S)
        elif self._link.wait_connected(GOODBYE_S if self._link.registering else 0.0):
            if self._reporter.wait_reported(REPORT_S):
                self._link.deregister(reason, GOODBYE_S)
            else:
                log.warning("the master has not answered for every result; they are kept for the next start")

    def stop(self) -> None:
        """End every thread and process of this worker."""
        # What brings work first, then what does it, then what reports it.
        self._server.stop_accepting(JOIN_S)
        self._housekeeping.stop()
        self._registration.stop()
        self._link.stop()
        self._fetcher.stop()
        self._runner.stop()
        self._launcher.stop(self._settings.grace_seconds + SETTLE_S)
        remove_roots(self._groups)
        self._services.stop()
        self._alarms.stop()
        self._classic_master.stop()
        end = time.monotonic() + JOIN_S
        self._server.close_connections(max(0.1, end - time.monotonic()))
        for thread in (self._registration, self._link, self._services, self._alarms, self._housekeeping):
            thread.join(max(0.1, end - time.monotonic()))
        self._reporter.streamer.close()
        self._registry.close()
        self._state.close()

    def _end_leftovers(self) -> None:
        """What an earlier process of this worker ran and could not end."""
        left = self._registry.left()
        if left:
            log.warning("ending %d processes that an earlier run of this worker left behind", len(left))
            stubborn = [process.pid for process in self._registry.end_left(LEFTOVER_GRACE_S)]
            if stubborn:
                log.error("processes that cannot be ended: %s", stubborn)
        self._registry.begin()

    def _wait_idle(self, timeout_s: float) -> bool:
        return self._runner.wait_idle(timeout_s, unless=self._hurried.is_set)

    def _waiting_for(self, jobs: int) -> str:
        """What a person who waits for the end of this worker wants to know; empty when nothing runs."""
        if not jobs:
            return ""
        seconds = self._settings.drain_seconds
        what = f"waiting up to {seconds:g} s for {counted(jobs, 'job')} to finish"
        return f"; {what} (Ctrl-C again: end and hand back at once)"

    def _hand_back(self, attempt: Attempt, grace_s: float) -> None:
        self._runner.end(attempt.lease, "handed_back", "its worker left", grace_s)

    def _grace(self, spec: JobSpec) -> float:
        """A worker that is a job drains too, and needs the time for it."""
        if spec.kind == "worker":
            return self._settings.drain_seconds + self._settings.grace_seconds + SETTLE_S
        return self._settings.grace_seconds

    # --- what the link asks ---------------------------------------------------------------------------------------

    def registration(self) -> Register:
        settings = self._settings
        psutil.cpu_percent()  # the first heartbeat tells how busy it was since now
        return Register(
            worker_id=self._state.worker_id,
            boot_id=self._state.boot_id,
            port=self.port,
            capabilities=settings.capabilities,
            slots=settings.slots,
            permanent=settings.permanent,
            holding=self._reporter.holding(),
            machine=socket.gethostname()[:_MAX_MACHINE],
            cores=os.cpu_count() or 0,
            memory_free=psutil.virtual_memory().available,
            cpus=settings.cpus or float(os.cpu_count() or 0),
            memory=settings.memory or psutil.virtual_memory().total,
            gpus=settings.gpus,
            limits=self._limits(),
            job=_own_job(os.environ),
        )

    def registered(self, answer: Registered) -> None:
        self._reporter.connected(answer.stale)

    def disconnected(self) -> None:
        self._reporter.disconnected()

    def refused(self, reason: str) -> None:
        self._on_refused(reason)

    def dispatch(self, lease: Lease, spec: JobSpec) -> None:
        self._reporter.dispatch(lease, spec)

    def cancel(self, lease: Lease, reason: str, grace_s: float) -> None:
        for attempt in self._runner.attempts():
            if attempt.lease == lease and attempt.spec.kind == "worker":
                grace_s = max(grace_s, self._grace(attempt.spec))
        if not self._runner.end(lease, "cancelled", reason, grace_s):
            raise NotFound(f"attempt {lease.attempt} of {lease.job} does not run here")

    def decommission(self, reason: str) -> None:
        self._on_leave(reason)

    def usage(self) -> tuple[Usage, ...]:
        return self._services.usage()

    def _service_failed(self, lease: Lease, outcome: Outcome, reason: str) -> None:
        self._runner.end(lease, outcome, reason, self._settings.grace_seconds)

    def stream_logs(self, request: StreamLogs) -> None:
        self._reporter.streamer.watch(request.targets, request.ttl_s)

    # --- parts ----------------------------------------------------------------------------------------------------

    def _on_launch_event(self, event: LaunchEvent) -> None:
        self._runner.on_launch_event(event)

    def _token(self) -> str:
        return self._settings.token if self._settings.token is not None else read_token(self._settings.home)

    def _limits(self) -> tuple[str, ...]:
        """What jobs are kept to, for people."""
        limits = ["memory of each process (RLIMIT_DATA)"] if MEMORY_IS_LIMITED else []
        if self._settings.gpus:
            limits.append(f"gpus ({GPU_VARIABLE})")
        for version in sorted({version for version, _ in self._groups.values()}):
            names = [f"{name}s" if name == "cpu" else name for name, root in self._groups.items() if root[0] == version]
            limits.append(f"{' and '.join(names)} of each job (cgroup v{version})")
        return tuple(limits)

    def _worker_command(self, spec: JobSpec) -> tuple[str, ...]:
        """What starts the worker that a job of kind ``worker`` asks for: this one's like, but for port and skills."""
        settings = self._settings
        address = (settings.master_host, str(settings.master_port))
        port = spec.port or DEFAULT_WORKER_PORT
        return (
            *(sys.executable, "-u", str(self._program)),
            *(str(port), *address, ",".join(spec.requirement), "false"),
            *("--workspace", str(settings.workspace), "--home", str(settings.home), "--host", settings.host),
            *("--port-tries", str(1 if spec.port else CHILD_PORTS)),
            # What of the machine is this worker's to set apart is not the other's too.
            *("--gpus", "0", "--cpus", f"{settings.cpus:g}", "--memory", str(settings.memory)),
            *("--slots", str(settings.slots), "--log-level", settings.log_level),
            *("--log-bytes", str(settings.log_bytes)),
            *("--service-log-bytes", str(settings.service_log_bytes)),
            *("--service-log-files", str(settings.service_log_files)),
            *("--grace-seconds", str(settings.grace_seconds), "--drain-seconds", str(settings.drain_seconds)),
            *(("--preload", ",".join(settings.preload)) if settings.preload else ()),
            *(("--insecure",) if settings.insecure else ()),
            *(("--classic",) if settings.classic else ()),
            *spec.args,
        )


def _own_job(environ: Mapping[str, str]) -> str:
    """The key of the job that this process was started by; empty when a person started it."""
    run_id, job_id = environ.get("TITAN_RUN_ID", ""), environ.get("TITAN_JOB_ID", "")
    return f"{run_id}/{job_id}" if run_id and job_id else ""
