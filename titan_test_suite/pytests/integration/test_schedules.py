"""Recurring schedules on a real cluster: through restarts of the master, with long jobs, and from the command lines."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from titan_sdk.client import TitanClient
from titan_sdk.errors import Conflict, NotFound, SubmissionRefused
from titan_sdk.job import TitanJob
from titan_sdk.messages import ListEvents
from titan_sdk.schedules import ScheduleHandle
from titan_test_suite.pytests.cluster import ROOT, Cluster, wait_until

LEDGER = (
    "import os, sys\n"
    "with open(sys.argv[1], 'a') as ledger:\n"
    "    ledger.write(os.environ['TITAN_SCHEDULE'] + ' ' + os.environ['TITAN_DUE_AT'] + '\\n')\n"
)
UNTIL = "import os, sys, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.02)\n"


@pytest.fixture
def client(small_cluster: Cluster):
    with TitanClient("127.0.0.1", small_cluster.port, token=small_cluster.token) as client:
        yield client


def script(folder: Path, source: str, name: str = "job.py") -> str:
    (folder / name).write_text(source)
    return str(folder / name)


def fired(handle: ScheduleHandle) -> list[int]:
    """Due times that became a run, the first one first."""
    return [each.due_at for each in reversed(handle.history()) if each.outcome == "fired" and not each.manual]


def test_it_fires_on_time_through_kills_of_the_master(client: TitanClient, small_cluster: Cluster, tmp_path: Path):
    cluster, ledger = small_cluster, tmp_path / "ledger"
    job = TitanJob("tick", script(tmp_path, LEDGER), args=[str(ledger)])
    handle = client.schedule("tick", [job], every=1, overlap="queue", timezone="Europe/Berlin")
    created = handle.info().created_at
    master = next(program for program in cluster.programs if program.name == "master")
    for _ in range(3):
        two_more(handle)
        master.kill()
        master = cluster.start_master()
    two_more(handle)
    handle.pause()
    wait_until(lambda: not handle.info().active, 30, "all runs ended")

    state, history = handle.info(), handle.history()
    first = created // 1000 * 1000 + 1000
    dues = fired(handle)
    assert all((due - first) % 1000 == 0 for due in dues), "the phase is kept"
    assert dues == sorted(set(dues)), "each due time fires once"
    last = max([each.due_at for each in history] + state.waiting)
    decided = sum(each.count for each in history) + len(state.waiting)
    assert decided == (last - first) // 1000 + 1, "none is forgotten"
    assert state.fired == len(dues) and not state.refused
    assert all(each.at - each.due_at >= 0 for each in history), "none is early"
    assert written(ledger) == dues, "each run ran once"
    told = [line.split() for line in ledger.read_text().splitlines()]
    assert {name for name, _ in told} == {"tick"} and all(due.endswith(("+01:00", "+02:00")) for _, due in told)
    assert all(run.status() == "COMPLETED" for run in handle.runs())


def two_more(handle: ScheduleHandle) -> None:
    seen = handle.info().fired
    wait_until(lambda: handle.info().fired >= seen + 2, 30, "it fires")


@pytest.mark.parametrize("misfire", ["latest", "all"])
def test_due_times_that_pass_while_the_master_is_down(
    client: TitanClient, small_cluster: Cluster, tmp_path: Path, misfire: str
):
    ledger = tmp_path / "ledger"
    job = TitanJob("late", script(tmp_path, LEDGER), args=[str(ledger)])
    handle = client.schedule("late", [job], every=2, misfire=misfire, overlap="queue")
    due = max(wait_until(lambda: written(ledger), 30, "it has run"))
    next(program for program in small_cluster.programs if program.name == "master").kill()
    wait_until(lambda: now_ms() > due + 2 * 2000 + 500, 30, "two due times have passed")
    small_cluster.start_master()
    wait_until(lambda: handle.info().fired >= (2 if misfire == "latest" else 3), 30)
    handle.pause()
    wait_until(lambda: not handle.info().active, 30)
    state, history = handle.info(), handle.history()
    if misfire == "latest":
        assert state.missed and [each.outcome for each in history].count("missed") == 1
        kinds = [each.kind for each in small_cluster.client.call(ListEvents()).events]
        assert "schedule-missed" in kinds and "schedule-fired" in kinds and "schedule-paused" in kinds
    else:
        dues = fired(handle)
        assert not state.missed and dues == list(range(dues[0], dues[-1] + 1, 2000))


def written(ledger: Path) -> list[int]:
    """The due times in it."""
    texts = [line.split()[1] for line in ledger.read_text().splitlines()] if ledger.exists() else []
    return [round(datetime.fromisoformat(text).timestamp() * 1000) for text in texts]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_a_run_that_is_still_going_on(client: TitanClient, tmp_path: Path):
    """All four policies at once, each with a job that runs until it is told to end."""
    path = script(tmp_path, UNTIL)

    def long_job(overlap: str) -> TitanJob:
        return TitanJob(f"long-{overlap}", path, args=[str(tmp_path / f"end-{overlap}")])

    handles = {
        overlap: client.schedule(overlap, [long_job(overlap)], every=1, overlap=overlap)
        for overlap in ("skip", "queue", "cancel", "allow")
    }

    def waiting() -> bool:
        return bool(
            handles["skip"].info().skipped >= 2
            and len(handles["queue"].info().waiting) >= 2
            and handles["cancel"].info().fired >= 2
            and len(handles["allow"].info().active) >= 2
        )

    wait_until(waiting, 60, "each policy shows")
    for handle in handles.values():
        handle.pause()
    assert handles["skip"].info().fired == 1 and len(handles["queue"].info().active) == 1
    assert len(handles["cancel"].info().active) <= 1
    states = {each.state for each in handles["cancel"].history() if each.ended_at}
    assert states == {"CANCELLED"}
    with pytest.raises(Conflict, match="its overlap policy is skip"):
        handles["skip"].trigger()
    for overlap in handles:
        (tmp_path / f"end-{overlap}").touch()
    queued = len(handles["queue"].info().waiting)
    handles["queue"].resume()
    wait_until(lambda: not any(handle.info().active or handle.info().waiting for handle in handles.values()), 60)
    assert queued and all(each.state == "COMPLETED" for each in handles["queue"].history() if each.outcome == "fired")
    for handle in handles.values():
        handle.delete()
    assert client.schedules() == []


def test_schedules_of_the_sdk(client: TitanClient, small_cluster: Cluster, tmp_path: Path):
    job = TitanJob("report", script(tmp_path, "import os\nprint(os.environ['TITAN_PARAM_REGION'])\n"))
    handle = client.schedule("report", [job], cron="0 6 * * 1-5", timezone="Europe/Berlin", params={"region": "eu"})
    assert handle == client.schedule("report") and [each.name for each in client.schedules()] == ["report"]
    assert len(handle.next(7)) == 7 and handle.next(7) == sorted(handle.next(7))
    run = handle.trigger()
    assert run is not None
    run.wait(30)
    assert run.job("report").logs() == "eu\n"
    (firing,) = wait_until(lambda: [each for each in handle.history() if each.state])
    assert firing.manual and firing.state == "COMPLETED" and [each.run_id for each in handle.runs()] == [run.run_id]
    with pytest.raises(SubmissionRefused, match="lifetime run"):
        client.schedule("endless", [TitanJob("web", script(tmp_path, UNTIL), type="service")], every="1h")
    # What it runs is kept by the master, whatever becomes of the file.
    (tmp_path / "job.py").unlink()
    second = handle.trigger()
    assert second is not None
    second.wait(30)
    handle.delete()
    with pytest.raises(NotFound, match="no schedule report"):
        handle.info()


PIPELINE = "name: nightly\nschedule: {cron: '30 3 * * *', timezone: Europe/Berlin}\njobs:\n- {id: say, file: say.py}\n"


def test_the_command_lines(small_cluster: Cluster, tmp_path: Path):
    folder = tmp_path / "pipeline"
    folder.mkdir()
    (folder / "titan.yaml").write_text(PIPELINE)
    (folder / "say.py").write_text("print('said')\n")

    def run(program: str, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, str(ROOT / program), *words],
            env=small_cluster.environment(TZ="UTC"),
            cwd=small_cluster.root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def sdk(*words: str, code: int = 0) -> str:
        return run("titan_sdk/titan_cli.py", *words, code=code)

    def shell(*words: str, code: int = 0) -> str:
        return run("titan_core/TitanCli.py", *words, code=code)

    assert "No schedule yet" in sdk("schedules") and "No schedule yet" in shell("schedules")
    said = sdk("deploy", str(folder))
    assert said.startswith("Scheduled nightly: 30 3 * * * Europe/Berlin, 1 job; next:")
    assert "UTC" in said.splitlines()[1] and len(said.splitlines()) == 4
    assert small_cluster.client.call(ListEvents()).events[-1].kind != "schedule-fired", "nothing is run at once"
    assert "there is no run to wait for; --now makes one" in sdk("deploy", str(folder), "--wait", code=2)
    said = sdk("deploy", str(folder), "--now", "--wait")
    assert said.startswith("Nothing changed: nightly") and "Submitted run-" in said and "COMPLETED" in said
    (folder / "titan.yaml").write_text(PIPELINE.replace("30 3", "45 3"))
    assert sdk("deploy", str(folder)).startswith("Changed the schedule of nightly: 45 3")
    for call in (sdk, shell):
        assert "nightly is paused" in call("pause", "nightly")
        assert "is paused; it fires at none of these" in call("next", "nightly", "2")
        assert "nightly is active; next:" in call("resume", "nightly")
        assert len(call("next", "nightly", "4").splitlines()) == 4
        assert "run-" in call("trigger", "nightly")
        wait_until(lambda: not client_info(small_cluster)["active"], 30, "the run ended")
        assert "45 3 * * * Europe/Berlin" in call("schedules")
        assert "on request" in call("schedules", "nightly")
        assert "no schedule nobody" in call("pause", "nobody", code=1)
    state = json.loads(sdk("schedules", "nightly", "--json"))
    assert state["paused"] is False and state["fired"] == 3 == len(state["history"])
    assert json.loads(shell("schedules", "nightly", "--json"))["schedule"]["fired"] == 3
    assert "nightly is deleted" in sdk("unschedule", "nightly")
    assert "no schedule nightly" in shell("unschedule", "nightly", code=1)


def client_info(cluster: Cluster) -> dict[str, object]:
    with TitanClient("127.0.0.1", cluster.port, token=cluster.token) as client:
        return {"active": client.schedule("nightly").info().active}
