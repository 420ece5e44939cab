"""From a job and its sandbox to what the launcher is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from titan_core.filesys.workspace_manager import Sandbox
from titan_core.tasks.job_environment import JobEnvironment
from titan_core.tasks.launch import LaunchRequest
from titan_core.tasks.script_executor_handler import ScriptExecutorHandler
from titan_sdk.messages import JobSpec, Lease

WorkerCommand = Callable[[JobSpec], tuple[str, ...]]
"""The command that starts the worker which a job of kind ``worker`` asks for."""


class JobLaunch:
    """Makes LaunchRequests of every kind of job.

    Args:
        grace_s: between TERM and KILL when the launcher ends an attempt of its own accord (timeout, the worker's end).
        log_bytes: what is kept of an attempt's output.
        service_log: bytes of a file and number of files that are kept of a service's; 0 files: as of any attempt.
    """

    def __init__(
        self,
        environment: JobEnvironment,
        scripts: ScriptExecutorHandler,
        worker_command: WorkerCommand,
        *,
        grace_s: float,
        log_bytes: int,
        service_log: tuple[int, int] = (0, 0),
    ) -> None:
        self._environment = environment
        self._scripts = scripts
        self._worker_command = worker_command
        self._grace_s = grace_s
        self._log_bytes = log_bytes
        self._service_log = service_log

    def request(self, lease: Lease, spec: JobSpec, sandbox: Sandbox) -> LaunchRequest:
        """What runs this attempt.

        Raises:
            LaunchFailed: nothing here can run its file.
        """
        env = self._environment.of(lease, spec, sandbox)
        if spec.kind != "worker":
            request = self._scripts.launch_request(
                lease,
                spec,
                script=sandbox.script,
                cwd=sandbox.cwd,
                log=sandbox.log,
                env=env,
                grace_s=self._grace_s,
                log_bytes=self._log_bytes,
            )
            size, files = self._service_log
            if spec.kind == "service" and files:
                request = replace(request, log_bytes=size, log_files=files)
            return request
        return LaunchRequest(
            lease=lease,
            argv=self._worker_command(spec),
            cwd=str(sandbox.cwd),
            env=env,
            log_path=str(sandbox.log),
            timeout_s=spec.timeout_s,
            grace_s=self._grace_s,
            log_bytes=self._log_bytes,
            leads=True,
        )
