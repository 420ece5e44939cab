"""What a job finds in its environment, beside what the worker was started with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from titan_core.filesys.workspace_manager import Sandbox
from titan_sdk.messages import JobSpec, Lease

OWN_SETTINGS = ("TITAN_WORKER_PORT", "TITAN_WORKER_HOST", "TITAN_CAPABILITIES", "TITAN_PERMANENT")
"""Settings that make a worker this one; a worker that a job starts must not take them over."""


class JobEnvironment:
    """Makes the environments of jobs.

    Args:
        base: the worker's own environment.
        shared: the folder where jobs find each other's files.
        master_host, master_port: where a job reaches the master, to submit jobs of its own.
    """

    def __init__(self, base: Mapping[str, str], shared: Path, master_host: str, master_port: int) -> None:
        self._base = {name: value for name, value in base.items() if name not in OWN_SETTINGS}
        self._base |= {
            "TITAN_SHARED_DIR": str(shared),
            "TITAN_HOST": master_host,
            "TITAN_PORT": str(master_port),
        }

    def of(self, lease: Lease, spec: JobSpec, sandbox: Sandbox) -> dict[str, str]:
        """The whole environment of an attempt; what the job asked for goes before what the worker has."""
        env = self._base | spec.env
        if spec.port:
            env["PORT"] = str(spec.port)
        env["TITAN_JOB_ID"] = spec.id
        env["TITAN_RUN_ID"] = lease.job.partition("/")[0]
        env["TITAN_ATTEMPT"] = str(lease.attempt)
        env["TITAN_JOB_DIR"] = str(sandbox.job_dir)
        return env
