"""titan-mcp driven by the official client over real stdio, against a real cluster."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

mcp = pytest.importorskip("mcp")

from titan_sdk.messages import ListRuns, WatchRun  # noqa: E402 - after what says whether there is anything to test
from titan_test_suite.pytests.cluster import ROOT, Cluster  # noqa: E402

PROGRAM = str(ROOT / "titan_sdk" / "mcp_server.py")
READING = {
    "cluster_stats", "list_workers", "list_runs", "get_run", "wait_for_run", "list_jobs", "get_job", "explain_job",
    "tail_logs", "list_services", "list_events", "get_value", "list_approvals",
}  # fmt: skip
WRITING = {"submit_script", "submit_pipeline", "rerun", "cancel", "stop", "restart_service", "set_value"}

PIPELINE = """\
name: two-steps
jobs:
  - id: first
    file: steps/first.py
  - id: second
    file: second.sh
    depends_on: [first]
"""


class Session:
    """One server, as an agent sees it."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def tools(self) -> dict[str, Any]:
        return {tool.name: tool for tool in (await self._client.list_tools()).tools}

    async def __call__(self, tool: str, **arguments: Any) -> Any:
        """What the tool answers; it must not fail."""
        result = await self._client.call_tool(tool, arguments)
        assert not result.is_error, result.content[0].text
        return json.loads(result.content[0].text) if result.content[0].text[:1] in "{[" else result.content[0].text

    async def refused(self, tool: str, **arguments: Any) -> str:
        result = await self._client.call_tool(tool, arguments)
        assert result.is_error
        text: str = result.content[0].text
        return text


def talk(cluster: Cluster, what: Callable[[Session], Awaitable[None]], *options: str, **env: str) -> None:
    async def run() -> None:
        server = mcp.StdioServerParameters(
            command=sys.executable, args=[PROGRAM, *options], env=cluster.environment(**env), cwd=str(cluster.root)
        )
        async with mcp.Client(server) as client:
            await what(Session(client))

    asyncio.run(asyncio.wait_for(run(), 100))


def test_it_looks_and_changes_nothing_unless_told_otherwise(shared_cluster: Cluster) -> None:
    key = shared_cluster.run("print('one'); print('two'); raise SystemExit(3)", id="broken", retries=0)
    shared_cluster.wait_state(key)
    shared_cluster.run("", id="homeless", requirement=("GPU",))

    async def look(ask: Session) -> None:
        tools = await ask.tools()
        assert set(tools) == READING and all(tool.annotations.read_only_hint for tool in tools.values())
        assert all(tool.description for tool in tools.values())
        assert (await ask("cluster_stats"))["active_workers"] == 1
        assert len((await ask("list_workers"))["workers"]) == 1
        assert (await ask("get_run", run_id=key))["jobs"][0]["state"] == "DEAD"
        assert (await ask("get_job", job_id="broken"))["exit_code"] == 3
        assert (await ask("tail_logs", job_id=key, max_bytes=5)) == {
            "attempt": 1, "text": "\ntwo\n"[-5:], "bytes_before": 3, "finished": True,
        }  # fmt: skip
        assert "GPU" in json.dumps(await ask("explain_job", job_id="homeless"))
        assert [job["key"] for job in (await ask("list_jobs", states=["DEAD"], limit=1))["jobs"]] == [key]
        assert len((await ask("list_runs", limit=1))["runs"]) == 1
        assert not (await ask("wait_for_run", run_id="homeless", timeout_s=0.05))["ended"]
        assert any(event["kind"] == "worker-joined" for event in (await ask("list_events"))["events"])
        assert (await ask("get_value", key="nothing"))["value"] is None
        assert (await ask("list_services")) == {"services": [], "total": 0}
        assert "NotFound: no job nowhere" in await ask.refused("get_job", job_id="nowhere")
        assert "job_id" in await ask.refused("get_job")
        await ask.refused("cancel", id=key)

    talk(shared_cluster, look)


def test_a_pipeline_from_submission_to_its_logs(shared_cluster: Cluster, tmp_path: Path) -> None:
    async def work(ask: Session) -> None:
        tools = await ask.tools()
        assert set(tools) == READING | WRITING
        assert tools["cancel"].annotations.destructive_hint and not tools["rerun"].annotations.destructive_hint
        files = {"steps/first.py": "print('first')", "second.sh": "echo second"}
        run = await ask("submit_pipeline", pipeline_yaml=PIPELINE, files=files)
        assert run["agent_run_id"] == "agent-7" and run["jobs_left_in_budget"] == 3
        ended = await ask("wait_for_run", run_id=run["run_id"], timeout_s=60)
        assert ended["ended"] and [job["state"] for job in ended["jobs"]] == ["COMPLETED"] * 2
        assert (await ask("tail_logs", job_id=run["jobs"][1]))["text"] == "second\n"
        script = await ask("submit_script", name="hi.py", source="import sys; print(sys.argv[1:])", args=["a b"])
        await ask("wait_for_run", run_id=script["run_id"], timeout_s=60)
        assert (await ask("tail_logs", job_id=script["jobs"][0]))["text"] == "['a b']\n"
        again = await ask("rerun", run_id=script["run_id"])
        assert (await ask("wait_for_run", run_id=again["run_id"], timeout_s=60))["ended"]
        refused = await ask.refused("submit_pipeline", pipeline_yaml=PIPELINE, files=files)
        assert "2 more would be over the 5 jobs" in refused and "--max-jobs" in refused
        sleeper = await ask("submit_script", name="sleep.sh", source="sleep 600")
        assert (await ask("cancel", id=sleeper["run_id"])) == f"{sleeper['run_id']} is cancelled"
        assert (await ask("wait_for_run", run_id=sleeper["run_id"]))["jobs"][0]["state"] == "CANCELLED"
        await ask("set_value", key="note", value="hällo", ttl_s=600)
        assert (await ask("get_value", key="note")) == {"value": "hällo", "bytes": 6}

    talk(shared_cluster, work, "--allow-writes", "--max-jobs", "5", "--agent-run-id", "agent-7")
    runs = shared_cluster.client.call(ListRuns()).runs
    assert [run.agent_run_id for run in runs].count("agent-7") == 4, "everything that one server submits"


def test_only_what_failed_is_run_again(shared_cluster: Cluster, tmp_path: Path) -> None:
    there = tmp_path / "there"
    pipeline = "jobs:\n  - {id: one, file: one.sh}\n  - {id: two, file: two.sh, depends_on: [one], retries: 0}\n"

    async def work(ask: Session) -> None:
        files = {"one.sh": "echo one", "two.sh": f"test -e {there} && echo two"}
        run = await ask("submit_pipeline", pipeline_yaml=pipeline, files=files)
        ended = await ask("wait_for_run", run_id=run["run_id"], timeout_s=60)
        assert [job["state"] for job in ended["jobs"]] == ["DEAD", "COMPLETED"], "what failed comes first"
        there.touch()
        again = await ask("rerun", run_id=run["run_id"], failed_only=True)
        assert again["jobs_left_in_budget"] == 97
        ended = await ask("wait_for_run", run_id=again["run_id"], timeout_s=60)
        assert {job["key"].split("/")[1] for job in ended["jobs"] if job["state"] == "COMPLETED"} >= {"two"}

    talk(shared_cluster, work, "--allow-writes")


def test_a_pipeline_keeps_its_options_also_when_all_of_it_runs_again(shared_cluster: Cluster) -> None:
    pipeline = (
        "fail_fast: true\nparams:\n  day:\n"
        "jobs:\n  - {id: bad, file: bad.sh, retries: 0}\n  - {id: say, file: say.sh, args: ['${params.day}']}\n"
    )

    async def work(ask: Session) -> None:
        files = {"bad.sh": "exit 1", "say.sh": "echo $1"}
        refused = await ask.refused("submit_pipeline", pipeline_yaml=pipeline, files=files)
        assert "day" in refused
        first = await ask("submit_pipeline", pipeline_yaml=pipeline, files=files, params={"day": "monday"})
        assert (await ask("wait_for_run", run_id=first["run_id"], timeout_s=60))["ended"]
        again = await ask("rerun", run_id=first["run_id"])
        assert (await ask("wait_for_run", run_id=again["run_id"], timeout_s=60))["ended"]
        for run in (first, again):
            options = shared_cluster.client.call(WatchRun(id=run["run_id"])).options
            assert options is not None and options.fail_fast and options.params == {"day": "monday"}
        refused = await ask.refused(
            "submit_pipeline", pipeline_yaml=f"every: 1h\n{pipeline}", files=files, params={"day": "x"}
        )
        assert "has a schedule" in refused

    talk(shared_cluster, work, "--allow-writes")


def test_what_its_jobs_submit_is_bounded_too(shared_cluster: Cluster) -> None:
    source = (
        "import sys\n"
        "if len(sys.argv) > 1: sys.exit()\n"
        "from titan_sdk import BudgetExceeded, TitanClient, TitanJob\n"
        "with TitanClient() as client:\n"
        "    for number in range(9):\n"
        "        try:\n"
        "            client.submit_job(TitanJob(f'more-{number}', __file__, args=['end'], retries=0))\n"
        "        except BudgetExceeded:\n"
        "            print('stopped at', number)\n"
        "            break\n"
    )

    async def work(ask: Session) -> None:
        run = await ask(
            "submit_script", name="breeds.py", source=f"import sys\nif len(sys.argv) > 1: sys.exit()\n{source}"
        )
        assert (await ask("wait_for_run", run_id=run["run_id"], timeout_s=60))["ended"]
        assert (await ask("tail_logs", job_id="breeds"))["text"] == "stopped at 2\n"

    talk(shared_cluster, work, "--allow-writes", "--max-jobs", "3")


def test_what_is_wrong_is_said_and_no_file_of_this_machine_leaves_it(shared_cluster: Cluster, tmp_path: Path) -> None:
    secret = tmp_path / "secret.py"
    secret.write_text("SECRET")

    async def work(ask: Session) -> None:
        wrong = await ask.refused("submit_pipeline", pipeline_yaml="jobs:\n  - id: a\n    fil: a.py\n")
        assert "line 3" in wrong and "fil" in wrong and "did you mean file" in wrong.replace("'", "")
        for file in (str(secret), "../" * 20 + str(secret).lstrip("/")):
            text = f"jobs:\n  - id: a\n    file: {file}\n"
            refused = await ask.refused("submit_pipeline", pipeline_yaml=text)
            assert "PipelineError: pipeline.yaml: line 3: a: file: " in refused
        for name in ("../a.py", "/tmp/a.py", ""):
            assert "InvalidName" in await ask.refused("submit_script", name=name, source="")
            assert "InvalidName" in await ask.refused("submit_pipeline", pipeline_yaml="", files={name: ""})
        assert "limit of 1048576" in await ask.refused("submit_script", name="a.py", source="#" * 2**20 + "#")

    talk(shared_cluster, work, TITAN_MCP_ALLOW_WRITES="1")


def test_a_gate_is_decided_on_only_when_that_was_allowed(shared_cluster: Cluster) -> None:
    gated = (
        "jobs:\n  - id: asked\n    file: a.sh\n    approve: go on?\n"
        "  - id: asked-too\n    file: a.sh\n    approve: and here?\n"
    )

    async def submit(ask: Session) -> None:
        assert not {"approve", "reject"} & set(await ask.tools())
        await ask("submit_pipeline", pipeline_yaml=gated, files={"a.sh": "echo went on"})
        waiting = (await ask("list_approvals"))["approvals"]
        assert {each["message"] for each in waiting} == {"go on?", "and here?"}

    async def decide(ask: Session) -> None:
        assert set(await ask.tools()) == READING | {"approve", "reject"}
        assert "agent-9" in (await ask("approve", job_id="asked", comment="yes"))["by"]
        await ask("reject", job_id="asked-too")
        ended = await ask("wait_for_run", run_id="asked", timeout_s=60)
        assert {job["key"].split("/")[1]: job["state"] == "COMPLETED" for job in ended["jobs"]} == {
            "asked": True, "asked-too": False,
        }  # fmt: skip
        assert (await ask("tail_logs", job_id="asked"))["text"] == "went on\n"

    talk(shared_cluster, submit, "--allow-writes")
    talk(shared_cluster, decide, "--allow-approvals", "--agent-run-id", "agent-9")


def test_it_starts_without_a_master_and_says_when_there_is_none(cluster: Cluster) -> None:
    cluster.port = 1

    async def look(ask: Session) -> None:
        assert "ConnectFailed: cannot reach 127.0.0.1:1" in await ask.refused("cluster_stats")

    talk(cluster, look)


def test_its_command_line(cluster: Cluster) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, PROGRAM, *arguments], env=cluster.environment(), capture_output=True, text=True,
            timeout=60, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    assert "--allow-writes" in run("--help").stdout
    bad = run("--agent-run-id", "a/b")
    assert bad.returncode == 2 and "agent run id" in bad.stderr and not bad.stdout
    ended = run()
    assert ended.returncode == 0 and not ended.stdout, "the end of its input is its end"
