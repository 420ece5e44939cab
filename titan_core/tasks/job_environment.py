"""What a job finds in its environment, beside what the worker was started with."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from titan_core.filesys.workspace_manager import Sandbox
from titan_core.tasks import job_flow
from titan_sdk.errors import LaunchFailed
from titan_sdk.messages import JobSpec, Lease

_OF_ONE_WORKER: Final = (
    "TITAN_WORKER_PORT", "TITAN_WORKER_HOST", "TITAN_CAPABILITIES", "TITAN_PERMANENT", "TITAN_PORT_TRIES", "TITAN_CPUS",
    "TITAN_MEMORY", "TITAN_GPUS",
)  # fmt: skip
"""Settings that make a worker the one it is; a worker that is started as a job must not take them over."""


class JobEnvironment:
    """Makes the environments of jobs.

    Args:
        base: the worker's own environment.
        worker_id: of the worker.
        shared: the folder where jobs find each other's files.
        master_host, master_port, home, token: with which the SDK in a job reaches the master; no token: it is in home.
    """

    def __init__(
        self,
        base: Mapping[str, str],
        *,
        worker_id: str,
        shared: Path,
        master_host: str,
        master_port: int,
        home: Path,
        token: str | None,
    ) -> None:
        self._base = {name: value for name, value in base.items() if name not in _OF_ONE_WORKER}
        self._base |= {
            "TITAN_WORKER_ID": worker_id,
            "TITAN_SHARED_DIR": str(shared),
            "TITAN_HOST": master_host,
            "TITAN_PORT": str(master_port),
            "TITAN_HOME": str(home),
        }
        if token is not None:
            self._base["TITAN_TOKEN"] = token

    def of(self, lease: Lease, spec: JobSpec, sandbox: Sandbox) -> dict[str, str]:
        """The whole environment of an attempt; what the job asked for goes before what the worker has.

        Raises:
            LaunchFailed: the job asks for what this worker's locale has no bytes for.
            OSError: what it is given of other jobs cannot be written to its folder.
        """
        for name, value in spec.env.items():
            _check_encodable(name, f"{name}={value}")
        env = self._base | spec.env
        if spec.flow is not None and spec.flow.given is not None:
            for name, value in job_flow.variables(spec.flow.given, sandbox.job_dir).items():
                _check_encodable(name, f"{name}={value}")
                env[name] = value
        if spec.port:
            env["PORT"] = str(spec.port)
        env["TITAN_JOB_ID"] = spec.id
        env["TITAN_RUN_ID"] = lease.job.partition("/")[0]
        env["TITAN_ATTEMPT"] = str(lease.attempt)
        env["TITAN_JOB_DIR"] = str(sandbox.job_dir)
        env["TITAN_OUTPUT"] = f"{sandbox.job_dir}/{job_flow.OUTPUTS}"
        return env


def _check_encodable(name: str, text: str) -> None:
    try:
        os.fsencode(text)
    except UnicodeEncodeError as error:
        raise LaunchFailed(
            f"the variable {name!r} holds {text[error.start]!r}, which the encoding of this worker's locale"
            f" ({sys.getfilesystemencoding()}) cannot say; start the worker with a UTF-8 locale"
        ) from None
