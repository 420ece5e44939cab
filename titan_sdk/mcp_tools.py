"""What an agent may look at: the tools of ``titan-mcp`` that change nothing. Each answer is bounded."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

import msgspec
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

from titan_sdk.client import TitanClient
from titan_sdk.errors import PipelineError, Problem, RemoteError, TitanError, WaitTimeout
from titan_sdk.messages import ExplainJob, GetJob, GetLogs, JobInfo, ListRuns, RunInfo

P = ParamSpec("P")
R = TypeVar("R")

MAX_ITEMS: Final = 200
"""Jobs, runs or events in one answer: some 100 KB of JSON."""
MAX_LOG_BYTES: Final = 64 * 1024
MAX_WAIT_S: Final = 300.0
"""For one call; clients give up on calls that take much longer."""
MAX_PROBLEMS: Final = 20

LOOKS: Final = ToolAnnotations(read_only_hint=True, open_world_hint=False)


def clear_errors(tool: Callable[P, R]) -> Callable[P, R]:
    """What the cluster, or the SDK, says no to becomes the tool's error, in words for whoever asked."""

    @wraps(tool)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return tool(*args, **kwargs)
        except (TitanError, TypeError, ValueError) as error:
            raise ToolError(in_words(error)) from error

    return call


def in_words(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}"
    problems: tuple[Problem, ...] = error.problems if isinstance(error, (RemoteError, PipelineError)) else ()
    shown = [f"- {problem}" for problem in problems[:MAX_PROBLEMS] if str(problem) not in text]
    more = [f"- and {len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
    return "\n".join([text, *shown, *more])


def plain(value: object) -> Any:
    """A message as JSON has it, without what has its default."""
    return msgspec.to_builtins(value)


def limited(limit: int) -> int:
    return max(1, min(limit, MAX_ITEMS))


def shown_run(info: RunInfo) -> dict[str, Any]:
    """A run with the jobs that fit; those that failed first."""
    jobs = sorted(info.jobs, key=lambda job: job.state not in ("DEAD", "CANCELLED"))
    found: dict[str, Any] = plain(info)
    found["jobs"] = [_short(job) for job in jobs[:MAX_ITEMS]]
    if info.total > MAX_ITEMS:
        found["jobs_left_out"] = info.total - MAX_ITEMS
    return found


def _short(job: JobInfo) -> dict[str, Any]:
    names = ("key", "state", "kind", "reason", "exit_code", "ready", "attempt", "worker", "parents", "url")
    return {name: value for name, value in plain(job).items() if name in names}


class ReadTools:
    """Bound to one client."""

    def __init__(self, client: TitanClient) -> None:
        self._client = client

    def install(self, server: MCPServer) -> None:
        for tool in (
            self.cluster_stats, self.list_workers, self.list_runs, self.get_run, self.wait_for_run, self.list_jobs,
            self.get_job, self.explain_job, self.tail_logs, self.list_services, self.list_events, self.get_value,
            self.list_approvals,
        ):  # fmt: skip
            server.add_tool(clear_errors(tool), annotations=LOOKS)

    def cluster_stats(self) -> dict[str, Any]:
        """The cluster at a glance: workers, their load, queued and running jobs."""
        return self._client.stats()

    def list_workers(self) -> dict[str, Any]:
        """The workers: address, state, capabilities, slots, and which jobs they run."""
        workers = self._client.workers()
        return {"workers": [plain(worker) for worker in workers[:MAX_ITEMS]], "total": len(workers)}

    def list_runs(self, limit: int = 20) -> dict[str, Any]:
        """The newest runs, with the number of their jobs by state."""
        found: dict[str, Any] = plain(self._client._caller.call(ListRuns(limit=limited(limit))))
        return found

    def get_run(self, run_id: str) -> dict[str, Any]:
        """A run and its jobs, failed ones first. run_id: of the run, or of a job of it."""
        return shown_run(self._client.run(run_id).info())

    def wait_for_run(self, run_id: str, timeout_s: float = 60.0) -> dict[str, Any]:
        """Wait until every job of a run has ended, then give the run; as it is when the time is over (300 s at most).

        ended says which it was.
        """
        run = self._client.run(run_id)
        try:
            return {"ended": True, **shown_run(run.wait(max(0.0, min(timeout_s, MAX_WAIT_S)), check=False))}
        except WaitTimeout:
            return {"ended": False, **shown_run(run.info())}

    def list_jobs(self, states: list[str] | None = None, limit: int = 50) -> dict[str, Any]:
        """The newest jobs, in any state or in these.

        states: WAITING, HELD, DELAYED, PENDING, RUNNING, COMPLETED, DEAD, CANCELLED, SKIPPED.
        """
        return {"jobs": [_short(job) for job in self._client.jobs(states or (), limited(limit))]}

    def get_job(self, job_id: str) -> dict[str, Any]:
        """All that is known of a job, every attempt among that. job_id: its key run/job, or its id (the latest run)."""
        found: dict[str, Any] = plain(self._client._caller.call(GetJob(id=job_id)))
        return found

    def explain_job(self, job_id: str) -> dict[str, Any]:
        """Why a job is where it is; of one that waits for a worker, what keeps each of them from taking it."""
        found = self._client._caller.call(ExplainJob(id=job_id))
        reasons = [plain(reason) for reason in found.workers[:MAX_ITEMS]]
        return {"job": found.job.key, "state": found.job.state, "summary": found.summary, "workers": reasons}

    def tail_logs(self, job_id: str, max_bytes: int = 8192, attempt: int = 0) -> dict[str, Any]:
        """The end of what a job printed, stdout and stderr. attempt: 0 is the latest. max_bytes: 65536 at most."""
        size = max(1, min(max_bytes, MAX_LOG_BYTES))
        chunk = self._client._caller.call(GetLogs(id=job_id, offset=-size, attempt=attempt))
        data = chunk.data[-size:]
        return {
            "attempt": chunk.attempt,
            "text": data.decode("utf-8", "replace"),
            "bytes_before": max(0, chunk.offset + len(chunk.data) - len(data)),
            "finished": chunk.finished,
        }

    def list_services(self) -> dict[str, Any]:
        """The services that have not ended: status, address, restarts, uptime, use of CPU and memory."""
        services = self._client.services()
        shown = [{**plain(service), "job": _short(service.job)} for service in services[:MAX_ITEMS]]
        return {"services": shown, "total": len(services)}

    def list_events(self, limit: int = 50) -> dict[str, Any]:
        """What happened to the cluster lately, and why: workers that came and went, scaling, crash loops."""
        return {"events": [plain(event) for event in self._client.events(newest=limited(limit)).events]}

    def list_approvals(self, id: str = "") -> dict[str, Any]:
        """What waits for somebody's approval: the jobs, and what is asked. id: of a run or job; empty: all."""
        waiting = self._client.approvals(id)
        return {"approvals": [plain(each) for each in waiting[:MAX_ITEMS]], "total": len(waiting)}

    def get_value(self, key: str) -> dict[str, Any]:
        """A value of the key-value store that jobs share, as text; value is null when there is none."""
        value = self._client.kv_get(key)
        if value is None:
            return {"value": None}
        return {"value": value[:MAX_LOG_BYTES].decode("utf-8", "replace"), "bytes": len(value)}
