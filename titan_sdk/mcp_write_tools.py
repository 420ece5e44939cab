"""What an agent may do when it was allowed to: the tools of ``titan-mcp`` that start, end and change things."""

from __future__ import annotations

import tempfile
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations
from msgspec.structs import replace

from titan_sdk.approving import who
from titan_sdk.client import TitanClient
from titan_sdk.errors import InvalidName, PipelineError, TitanError
from titan_sdk.handles import RunHandle
from titan_sdk.job import TitanJob
from titan_sdk.mcp_tools import clear_errors, plain
from titan_sdk.messages import DEFAULT_OPTIONS, ApprovalInfo, Budget, GetSpecs, RunOptions, SubmitRun
from titan_sdk.names import check_relative_path
from titan_sdk.titan_yaml_parser import parse_pipeline

MAX_SOURCE_CHARS: Final = 1024 * 1024
"""Of everything that one call brings along."""

STARTS: Final = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=True)
ENDS: Final = ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=False)


class BudgetSpent(TitanError):
    """This server may not submit so many jobs any more."""


class ApprovalTools:
    """Bound to one client. A gate is meant for a person, so these are allowed apart from all others."""

    def __init__(self, client: TitanClient, agent_run_id: str) -> None:
        self._client = client
        self._by = f"{who()} by agent {agent_run_id}"

    def install(self, server: MCPServer) -> None:
        for tool in (self.approve, self.reject):
            server.add_tool(clear_errors(tool), annotations=ENDS)

    def approve(self, job_id: str, comment: str = "") -> dict[str, Any]:
        """Let a job run that waits for approval. Only when a person has told you to."""
        return self._shown(self._client.approve(job_id, comment, by=self._by))

    def reject(self, job_id: str, comment: str = "") -> dict[str, Any]:
        """Refuse a job that waits for approval: it ends, and what depends on it. Only when a person has told you to."""
        return self._shown(self._client.reject(job_id, comment, by=self._by))

    def _shown(self, decided: ApprovalInfo) -> dict[str, Any]:
        found: dict[str, Any] = plain(decided)
        return found


class WriteTools:
    """Bound to one client. All runs bear the ``agent_run_id``, and have ``max_jobs`` jobs at most together."""

    def __init__(self, client: TitanClient, agent_run_id: str, max_jobs: int) -> None:
        self._client = client
        self._agent_run_id = agent_run_id
        self._max_jobs = max_jobs
        self._submitted = 0
        self._lock = threading.Lock()

    def install(self, server: MCPServer) -> None:
        starting: list[Callable[..., Any]] = [self.submit_script, self.submit_pipeline, self.rerun, self.set_value]
        ending: list[Callable[..., Any]] = [self.cancel, self.stop, self.restart_service]
        for tools, hints in ((starting, STARTS), (ending, ENDS)):
            for tool in tools:
                server.add_tool(clear_errors(tool), annotations=hints)

    def submit_script(
        self,
        name: str,
        source: str,
        args: list[str] | None = None,
        requirement: str = "GENERAL",
        priority: int = 1,
        retries: int = 0,
        timeout_s: float | None = None,
        env: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """Run a script on the cluster; answers at once with the run's id. wait_for_run and tail_logs tell the rest.

        name: of the file, as report.py or clean.sh; how it is run follows from its extension. requirement: a
        capability that its worker must have, as GPU. timeout_s: an attempt that takes longer is ended.
        """
        self._check_size(source)
        with tempfile.TemporaryDirectory(prefix="titan-mcp-") as folder:
            path = _place(Path(folder), name)
            path.write_text(source, encoding="utf-8")
            job = TitanJob(
                Path(name).stem, name, base_dir=folder, args=args or [], requirement=requirement, priority=priority,
                retries=retries, timeout=timeout_s, env=env,
            )  # fmt: skip
            return self._submit(job.job_id, [job])

    def submit_pipeline(
        self, pipeline_yaml: str, files: dict[str, str] | None = None, params: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Submit a pipeline: its YAML (a name, and jobs with id, file, depends_on ...), and its files by relative path.

        params: values of parameters that the pipeline has; those without a default must be given.
        Accepted whole or refused whole, with everything that is wrong and where.
        """
        self._check_size(pipeline_yaml, *(files or {}).values())
        with tempfile.TemporaryDirectory(prefix="titan-mcp-") as folder:
            for name, text in (files or {}).items():
                path = _place(Path(folder), name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            try:
                pipeline = parse_pipeline(pipeline_yaml.encode(), Path(folder) / "pipeline.yaml", params or {})
            except PipelineError as error:  # where it lay for a moment is of no interest
                raise PipelineError(error.problems, "pipeline.yaml") from None
            if pipeline.schedule is not None:
                raise InvalidName("this pipeline has a schedule; only a person makes those, with titan-cli deploy")
            return self._submit(pipeline.name, pipeline.jobs, pipeline.params, pipeline.options)

    def rerun(self, run_id: str, failed_only: bool = False) -> dict[str, Any]:
        """Run a run again, as a new run. failed_only: only what did not complete, and what depends on that.

        With failed_only it keeps its options, else its parameters, and it belongs to this agent run.
        """
        if failed_only:
            run = self._client.run(run_id)
            self._spend(sum(job.state != "COMPLETED" for job in run.info().jobs))
            again = run.rerun(failed=True)
            return self._answer(again.run_id, [job.key for job in again.jobs()])
        found = self._client._caller.call(GetSpecs(id=run_id))
        before = self._client.run(run_id).info().options or DEFAULT_OPTIONS
        wanted = RunOptions(params=before.params, fail_fast=before.fail_fast)
        self._spend(len(found.jobs))
        request = SubmitRun(
            name=found.name,
            jobs=found.jobs,
            idempotency_key=f"mcp-{uuid.uuid4()}",
            options=self._options(len(found.jobs), wanted),
        )
        accepted = self._client._caller.call(request)
        return self._answer(accepted.run_id, accepted.jobs)

    def set_value(self, key: str, value: str, ttl_s: float | None = None) -> str:
        """Keep a text in the key-value store that jobs share; ttl_s: seconds until it is gone."""
        self._client.kv.set(key, value, ttl=ttl_s)
        return f"{key} is set"

    def cancel(self, id: str) -> str:
        """Cancel a job, or with a run's id all its jobs, running ones too."""
        return f"{id} is cancelled" if self._client.cancel(id) else f"{id} had ended before"

    def stop(self, id: str) -> str:
        """Stop a service (it has completed then), or a job, or all of a run."""
        return f"{id} is stopped" if self._client.stop(id) else f"{id} had ended before"

    def restart_service(self, name: str) -> dict[str, Any]:
        """Start a service again at once; one that has ended is started anew."""
        return {"restarted": self._client.service(name).restart()}

    def _submit(
        self,
        name: str,
        jobs: Sequence[TitanJob],
        params: Mapping[str, str] | None = None,
        wanted: RunOptions | None = None,
    ) -> dict[str, Any]:
        self._spend(len(jobs))
        options = self._options(len(jobs), replace(wanted or DEFAULT_OPTIONS, params=dict(params or {})))
        run: RunHandle = self._client.submit_dag(name, jobs, options=options)
        return self._answer(run.run_id, [job.key for job in run.jobs()])

    def _options(self, jobs: int, wanted: RunOptions) -> RunOptions:
        """Of a run whose jobs have been counted: what they submit themselves is bounded by what is left, too."""
        left = self._max_jobs - self._submitted
        return replace(wanted, agent_run_id=self._agent_run_id, budget=Budget(max_jobs=jobs + left))

    def _answer(self, run_id: str, jobs: Sequence[str]) -> dict[str, Any]:
        return {
            "run_id": run_id,
            "jobs": list(jobs),
            "agent_run_id": self._agent_run_id,
            "jobs_left_in_budget": self._max_jobs - self._submitted,
        }

    def _spend(self, jobs: int) -> None:
        with self._lock:
            left = self._max_jobs - self._submitted
            if jobs > left:
                raise BudgetSpent(
                    f"{jobs} more would be over the {self._max_jobs} jobs that this server may submit, of which {left} "
                    f"are left; whoever started it can allow more with --max-jobs"
                )
            self._submitted += jobs

    def _check_size(self, *texts: str) -> None:
        size = sum(map(len, texts))
        if size > MAX_SOURCE_CHARS:
            raise InvalidName(f"{size} characters are over the limit of {MAX_SOURCE_CHARS} for one call")


def _place(folder: Path, name: str) -> Path:
    """Raises InvalidName for a path that leads out of the folder."""
    return folder / check_relative_path(name)
