"""Graphs that build themselves, on real clusters: jobs that submit jobs, runs that grow, budgets, reruns."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from titan_sdk.client import TitanClient
from titan_sdk.errors import BudgetExceeded, Conflict, JobFailed, NotFound, SubmissionRefused, WaitTimeout
from titan_sdk.handles import RunHandle
from titan_sdk.job import TitanJob
from titan_sdk.messages import Budget, RunInfo
from titan_sdk.waiting import wait
from titan_test_suite.pytests.cluster import Cluster, wait_until
from titan_test_suite.pytests.integration.test_titan_cli_shell import Cli


@pytest.fixture
def client(shared_cluster: Cluster) -> Iterator[TitanClient]:
    with TitanClient("127.0.0.1", shared_cluster.port, token=shared_cluster.token) as client:
        yield client


def script(folder: Path, job_id: str, source: str, **fields: object) -> TitanJob:
    path = folder / f"{job_id}.py"
    path.write_text(source, encoding="utf-8")
    return TitanJob(job_id, path, **fields)  # type: ignore[arg-type]


SPAWN = """
import sys
from titan_sdk import TitanClient, TitanJob
level = int(sys.argv[1])
with TitanClient() as client:
    if level:
        run = client.submit_dag(f"level-{level}", [
            TitanJob(f"{sys.argv[2]}.{n}", __file__, args=[level - 1, f"{sys.argv[2]}.{n}"]) for n in (1, 2)
        ])
        print("submitted", run.run_id)
"""


def test_a_job_that_spawns_children_that_spawn_children_shows_its_tree(client: TitanClient, tmp_path: Path) -> None:
    run = client.submit_dag("root", [script(tmp_path, "top", SPAWN, args=[2, "top"])], agent_run_id="agent-tree")
    run.wait(60)
    tree = wait_until(lambda: [each for each in [run.tree()] if all(r.finished for r in each.runs)], 60)[0]
    assert [each.name for each in tree.runs] == ["root", "level-2", "level-1", "level-1"]
    assert tree.total == 4
    assert {each.agent_run_id for each in tree.runs} == {"agent-tree"}
    (child,) = run.children()
    assert [handle.job_id for handle in child.jobs()] == ["top.1", "top.2"]
    assert child == run.job("top").children()[0]
    below = [each.run_id for each in child.children()]
    assert below == [each.run_id for each in tree.runs[2:]]
    parents = {each.parent: each.run_id for each in tree.runs[2:]}
    assert parents.keys() == {f"{child.run_id}/top.1", f"{child.run_id}/top.2"}
    assert client.run(parents[f"{child.run_id}/top.1"]).job("top.1.1").children() == []
    agent = next(each for each in client.agent_runs() if each.agent_run_id == "agent-tree")
    assert (agent.runs, agent.finished, agent.states) == (4, True, {"COMPLETED": 7})
    assert [each.run_id for each in client.runs(agent_run_id="agent-tree")][::-1][0] == run.run_id


BOMB = """
import sys
from titan_sdk import BudgetExceeded, TitanClient, TitanJob
with TitanClient() as client:
    try:
        for n in range(5):
            client.submit_job(TitanJob(f"{sys.argv[1]}.{n}", __file__, args=[f"{sys.argv[1]}.{n}"]))
    except BudgetExceeded as error:
        print("refused:", error)
"""


def test_a_budget_stops_an_agent_that_multiplies(client: TitanClient, tmp_path: Path) -> None:
    run = client.submit_dag("bomb", [script(tmp_path, "bomb", BOMB, args=["bomb"])], budget=Budget(max_jobs=12))
    run.wait(60)
    runs = wait_until(lambda: [each for each in [run.tree().runs] if all(r.finished for r in each)], 60)[0]
    assert sum(each.total for each in runs) == 12
    assert {state for each in runs for state in each.states} == {"COMPLETED"}
    logs = [client.fetch_logs(job.key) for each in runs for job in client.run(each.run_id).jobs()]
    text = f"the budget of run {run.run_id} is 12 jobs, of which 12 are used, and this would be 1 more"
    assert any(f"refused: {text}" in log for log in logs)


SLEEP_BELOW = """
import time
from titan_sdk import TitanClient, TitanJob
with TitanClient() as client:
    client.submit_job(TitanJob("below", {path!r}))
time.sleep(600)
"""


def sleeping_tree(folder: Path) -> TitanJob:
    path = folder / "sleeper.py"
    path.write_text("import time; time.sleep(600)", encoding="utf-8")
    return script(folder, "above", SLEEP_BELOW.format(path=str(path)))


def test_the_wall_time_of_a_budget_ends_the_tree(client: TitanClient, tmp_path: Path) -> None:
    run = client.submit_dag("slow", [sleeping_tree(tmp_path)], budget=Budget(wall_s=3))
    with pytest.raises(JobFailed, match=f"the wall time of 3 s that run {run.run_id} was given is over"):
        run.wait(60)
    (child,) = run.children()
    with pytest.raises(JobFailed, match="is over"):
        child.wait(60)


def test_a_run_is_cancelled_with_its_children(client: TitanClient, tmp_path: Path) -> None:
    run = client.submit_dag("deep", [sleeping_tree(tmp_path)])
    child = wait_until(run.children, 60)[0]
    assert run.cancel(children=True)
    for each in (run, child):
        info = each.wait(60, check=False)
        assert [job.state for job in info.jobs] == ["CANCELLED"]


GROW = """
import sys
from titan_sdk import TitanClient, TitanJob
with TitanClient() as client:
    run = client.current_run()
    numbers = run.add([TitanJob(f"part-{n}", __file__.replace("plan", "part")) for n in range(3)], idempotency_key="p")
    run.add(TitanJob("join", __file__.replace("plan", "part"), parents=["plan", *(h.job_id for h in numbers)]))
"""


def test_a_job_grows_the_run_that_it_belongs_to(client: TitanClient, tmp_path: Path) -> None:
    part = tmp_path / "part.py"
    part.write_text("print('part')", encoding="utf-8")
    source = GROW.replace('__file__.replace("plan", "part")', repr(str(part)))
    run = client.submit_dag("planned", [script(tmp_path, "plan", source)])
    assert [handle.job_id for handle in run.jobs()] == ["plan"]
    wait_until(lambda: run.info().total == 5, 60)
    assert run.job("join").wait(60).state == "COMPLETED"
    info = run.wait(60)
    assert [handle.job_id for handle in run.jobs()] == ["plan", "part-0", "part-1", "part-2", "join"]
    assert [job.id for job in info.jobs] == ["plan", "part-0", "part-1", "part-2", "join"]
    assert {job.state for job in info.jobs} == {"COMPLETED"}
    ended = {job.id: job for job in info.jobs}
    assert ended["join"].started_at >= max(ended[f"part-{n}"].ended_at for n in range(3))


def test_a_run_grows_from_outside_until_it_is_closed(client: TitanClient, tmp_path: Path) -> None:
    with client.open_run("growing", [script(tmp_path, "first", "print(1)")], params={"region": "eu"}) as run:
        assert run.job("first").wait(60).state == "COMPLETED"
        with pytest.raises(WaitTimeout, match="is still open after 0 s, and none of its jobs goes on"):
            run.wait(0)
        (second,) = run.add(
            script(tmp_path, "second", "import os; print(os.environ['TITAN_PARAM_REGION'])", parents="first")
        )
        assert second.result(60) == "eu\n"
        with pytest.raises(SubmissionRefused, match="its parent 'nobody' is not a job of this run"):
            run.add(script(tmp_path, "third", "", parents="nobody"))
        ended: list[RunInfo] = []
        together: list[RunHandle] = []
        waiter = threading.Thread(target=lambda: ended.append(run.wait(60)))
        waiter.start()
        both = threading.Thread(target=lambda: together.extend(wait([run], 60).done))
        both.start()
    waiter.join(60)
    both.join(60)
    assert together == [run]
    assert [job.id for job in ended[0].jobs] == ["first", "second"]
    assert not run.close()
    with pytest.raises(Conflict, match="is closed"):
        run.add(script(tmp_path, "late", ""))
    with pytest.raises(NotFound):
        client.run("run-nobody").add(script(tmp_path, "late", ""))
    with pytest.raises(NotFound, match="no current run"):
        client.current_run()


AFTER = """
import os, titan_sdk
print(os.environ['TITAN_PARAM_N'], titan_sdk.inputs()['good']['left'])
"""


def test_what_failed_is_run_again_and_what_completed_is_not(client: TitanClient, tmp_path: Path) -> None:
    flag, counted = tmp_path / "flag", tmp_path / "counted"
    jobs = [
        script(
            tmp_path, "good", f"import titan_sdk\nopen({str(counted)!r}, 'a').write('x')\ntitan_sdk.output(left=42)"
        ),
        script(tmp_path, "bad", f"import os; assert os.path.exists({str(flag)!r})", retries=0),
        script(tmp_path, "after", AFTER, parents=["good", "bad"]),
    ]
    run = client.submit_dag("rerun-me", jobs, params={"n": 7})
    with pytest.raises(JobFailed):
        run.wait(60)
    flag.touch()
    again = run.rerun(failed=True)
    info = again.wait(60)
    assert [(job.id, job.state) for job in info.jobs] == [("bad", "COMPLETED"), ("after", "COMPLETED")]
    assert info.options is not None
    assert (info.options.rerun_of, info.options.kept) == (run.run_id, {"good": f"{run.run_id}/good"})
    assert again.job("after").logs() == "7 42\n"
    assert info.options.kept_outputs == {}
    assert counted.read_text() == "x"
    with pytest.raises(Conflict, match=r"every job of run .* completed; without --failed all of it runs again"):
        again.rerun(failed=True)
    whole = run.rerun()
    assert [job.id for job in whole.wait(60).jobs] == ["good", "bad", "after"]
    assert counted.read_text() == "xx"
    assert run.rerun(failed=True, idempotency_key="k") == run.rerun(failed=True, idempotency_key="k")


def test_a_master_that_is_killed_between_additions_knows_them(cluster: Cluster, tmp_path: Path) -> None:
    master = cluster.start_master()
    cluster.start_worker()
    with TitanClient("127.0.0.1", cluster.port, token=cluster.token) as client:
        run = client.open_run("long", [script(tmp_path, "j0", "")], budget=Budget(max_jobs=4, max_depth=1))
        for number in range(1, 4):
            run.add(script(tmp_path, f"j{number}", "", parents=f"j{number - 1}"), idempotency_key=f"add-{number}")
            master.kill()
            master = cluster.start_master(port=cluster.port)
        assert run.add(script(tmp_path, "j3", "", parents="j2"), idempotency_key="add-3") == [run.job("j3")]
        with pytest.raises(BudgetExceeded, match="of which 4 are used"):
            run.add(script(tmp_path, "j4", ""))
        assert run.close()
        master.kill()
        cluster.start_master(port=cluster.port)
        info = run.wait(60)
        assert [(job.id, job.state) for job in info.jobs] == [(f"j{n}", "COMPLETED") for n in range(4)]
        assert not info.open


def test_an_open_run_is_closed_when_the_job_that_opened_it_dies(client: TitanClient, tmp_path: Path) -> None:
    source = "import os\nfrom titan_sdk import TitanClient\nTitanClient().open_run('orphan')\nos._exit(3)\n"
    run = client.submit_dag("owner", [script(tmp_path, "owner", source, retries=0)])
    assert run.wait(60, check=False).jobs[0].exit_code == 3
    (orphan,) = run.children()
    assert orphan.wait(60).finished


def test_the_environment_names_the_agent_run(
    client: TitanClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TITAN_HOST", "127.0.0.1")
    monkeypatch.setenv("TITAN_PORT", str(client.port))
    monkeypatch.setenv("TITAN_AGENT_RUN_ID", "agent-env")
    with TitanClient(token=os.environ.get("TITAN_TOKEN", client._token)) as inside:
        run = inside.submit_job(script(tmp_path, "job-of-agent", ""))
        run.wait(60)
    assert [each.run_id for each in client.runs(agent_run_id="agent-env")] == [run.run_id]


def test_the_shell_shows_trees_and_runs_again(cluster: Cluster, tmp_path: Path) -> None:
    cluster.start_master()
    cluster.start_worker()
    cli = Cli(cluster)
    with TitanClient("127.0.0.1", cluster.port, token=cluster.token, agent_run_id="agent-cli") as client:
        top = script(tmp_path, "top", SPAWN, args=[1, "top"])
        run = client.submit_dag("shown", [top], budget=Budget(max_jobs=5, max_depth=1))
        run.wait(60)
        wait_until(lambda: [each.finished for each in run.tree().runs] == [True, True], 60)
        child = run.children()[0].run_id
        lines = [line.strip("│├└─ ") for line in cli("tree", "top").splitlines()]
        assert lines == [
            f"{run.run_id} shown: 1 COMPLETED",
            "top COMPLETED",
            f"{child} level-1: 2 COMPLETED",
            "top.1 COMPLETED",
            "top.2 COMPLETED",
            "budget: 3 of 5 jobs, depth 1",
        ]
        assert "agent-cli" in cli("agents")
        listed = cli("runs", "--agent", "agent-cli")
        assert run.run_id in listed
        assert f"{run.run_id}/top" in listed
        assert "accepted: " in cli("rerun", child)
        assert "every job of run" in cli("rerun", "--failed", run.run_id, code=1)
        opened = client.open_run("held")
        assert "open" in cli("runs")
        assert cli("close", opened.run_id) == f"closed {opened.run_id}\n"
        assert cli("close", opened.run_id) == f"{opened.run_id} was not open\n"
        sleeping = client.submit_dag("deep", [sleeping_tree(tmp_path)])
        wait_until(sleeping.children, 60)
        text = cli("cancel", "--children", sleeping.run_id)
        assert "above" in text
        assert "below" in text
