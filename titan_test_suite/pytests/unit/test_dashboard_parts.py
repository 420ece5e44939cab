"""The dashboard's pure parts: what is run again, the history, the state that is shown, topics, options."""

from __future__ import annotations

import pytest
from flask import Flask
from msgspec.structs import replace
from werkzeug.exceptions import TooManyRequests

from dashboard import reruns
from dashboard.broker import MAX_STREAMS, Broker, TooManyStreams
from dashboard.cluster_state import MAX_RUNS, ClusterState
from dashboard.history import History, percentile
from dashboard.log_assembler import LogAssembler
from dashboard.options import Options, parse
from dashboard.pipeline_model import of_specs, render, sketch
from dashboard.pipelines import MAX_FILES, check
from dashboard.trust import FAILURE_WINDOW_S, MAX_FAILURES, Trust, safe_next
from titan_sdk.errors import ConfigError, InvalidName, NotFound
from titan_sdk.messages import (
    ApproveSpec,
    ClusterChanges,
    EventInfo,
    EventList,
    ExecutionInfo,
    FlowSpec,
    JobInfo,
    JobSpec,
    RunOptions,
    RunSummary,
    StateName,
    WorkerInfo,
)
from titan_sdk.titan_yaml_parser import parse_pipeline

#      a
#     / \
#    b   c
#     \ / \
#      d   e
DIAMOND = [
    JobSpec(id="a", file="x"),
    JobSpec(id="b", file="x", parents=("a",)),
    JobSpec(id="c", file="x", parents=("a",)),
    JobSpec(id="d", file="x", parents=("b", "c")),
    JobSpec(id="e", file="x", parents=("c",)),
]
FORMER = reruns.Former("r1", "n", DIAMOND, RunOptions(params={"day": "7"}, agent_run_id="a", open=True, idle_s=3))


def shape(request):
    return {spec.id: spec.parents for spec in request.jobs}


def test_a_job_runs_again():
    assert shape(reruns.one(FORMER, "d")) == {"d": ()}
    assert reruns.one(FORMER, "d").idempotency_key != reruns.one(FORMER, "d").idempotency_key
    again = reruns.one(FORMER, "d").options
    assert again == RunOptions(params={"day": "7"}, agent_run_id="a", rerun_of="r1")
    with pytest.raises(NotFound):
        reruns.one(FORMER, "z")


def test_a_gate_stays_where_a_trigger_rule_goes():
    ask = ApproveSpec(message="Ship it?")
    specs = [
        JobSpec(id="a", file="x"),
        JobSpec(id="b", file="x", parents=("a",), flow=FlowSpec(trigger="all_done", approve=ask)),
        JobSpec(id="c", file="x", parents=("a",), flow=FlowSpec(trigger="all_done")),
    ]
    alone = [reruns.one(reruns.Former("r", "n", specs), job_id).jobs[0].flow for job_id in ("b", "c")]
    assert alone == [FlowSpec(approve=ask), None]


def job(key: str, state: StateName, **fields) -> JobInfo:
    run_id, _, job_id = key.partition("/")
    return JobInfo(key=key, id=job_id, run_id=run_id, file="x.py", state=state, **fields)


def test_the_history_counts_starts_and_ends_once():
    history = History()
    running = job("r/a", "RUNNING", attempt=1, submitted_at=1000, started_at=1250)
    for _ in range(3):
        history.job_changed(running)
    history.job_changed(job("r/a", "COMPLETED", attempt=1, submitted_at=1000, started_at=1250, ended_at=2000))
    history.job_changed(job("r/b", "DEAD", attempt=1, parents=("a",), submitted_at=1000, started_at=9, ended_at=10))
    workers = [WorkerInfo(worker_id="w", host="h", port=1, state="alive", capabilities=(), slots=4, busy=1)]
    sample = history.sample(5000, {"PENDING": 3, "WAITING": 1, "DELAYED": 1}, workers)
    assert (sample["started"], sample["completed"], sample["failed"]) == (2, 1, 1)
    assert (sample["queued"], sample["waiting"], sample["slots"], sample["busy"]) == (3, 2, 4, 1)
    assert (sample["wait_p50"], sample["run_p50"]) == (250, 750)
    assert history.sample(10_000, {}, [])["started"] == 0


def test_the_history_is_filled_from_what_ended_before():
    history = History()
    history.backfill([job("r/a", "COMPLETED", started_at=1, ended_at=90_000), job("r/b", "RUNNING")], 100_000)
    assert [each["completed"] for each in history.samples] == [1, 0, 0]
    assert percentile([], 0.5) is None and percentile([1, 2, 3, 4], 0.95) == 4


def test_the_state_keeps_executions_failures_and_what_runs():
    state = ClusterState()
    attempts = [ExecutionInfo(attempt=1, worker="w", started_at=5, ended_at=6, outcome="failed", exit_code=1)]
    attempts.append(ExecutionInfo(attempt=2, worker="v", started_at=9))
    retried = job("r/a", "RUNNING", attempt=2, executions=attempts)
    assert len(state.apply(ClusterChanges(feed="f", version=1, jobs=[retried]))) == 2
    assert state.apply(ClusterChanges(feed="f", version=2, jobs=[retried])) == []
    assert state.overview()["running_total"] == 1
    dead = job("r/a", "DEAD", attempt=2, executions=retried.executions)
    waited = job("r/b", "DEAD")
    state.apply(ClusterChanges(feed="f", version=3, jobs=[dead, waited]))
    shown = state.overview()
    assert shown["running_total"] == 0 and [each["id"] for each in shown["failures"]] == ["a"]


def test_events_are_kept_once_and_forgotten_with_their_journal():
    state = ClusterState()
    happened = [EventInfo(seq=seq, at=seq, kind="scale-up", subject=f"s{seq % 2}", text="") for seq in range(1, 5)]
    assert len(state.take_events(EventList(events=happened, last=4))) == 4
    assert state.take_events(EventList(events=happened, last=4)) == []
    assert [each["seq"] for each in state.events_of("s1")] == [1, 3]
    assert [each["seq"] for each in state.take_events(EventList(events=happened[:1], last=1))] == [1]
    assert len(state.events_of()) == 1


def test_the_state_is_bounded():
    state = ClusterState()
    runs = [RunSummary(run_id=f"r{number}", name="", finished=True) for number in range(MAX_RUNS + 5)]
    state.apply(ClusterChanges(feed="f", version=1, runs=runs))
    assert len(state.runs) == MAX_RUNS and state.newest_runs(1)[0]["run_id"] == f"r{MAX_RUNS + 4}"


def test_an_event_goes_to_those_who_asked_for_its_topic():
    broker = Broker()
    topics: list[tuple[str, bool]] = []
    broker.on_topic = lambda topic, on: topics.append((topic, on))
    one = broker.open(["runs"], lambda: [b"first"])
    two = broker.open(["runs", "log:x"], list)
    broker.publish("runs", "runs", {"n": 1})
    broker.publish("nobody", "x", object())  # not even encoded
    events = one.events()
    assert [next(events) for _ in range(3)] == [b"retry: 1000\n\n", b"first", b'event: runs\ndata: {"n":1}\n\n']
    broker.forget(one)
    broker.forget(two)
    broker.forget(two)
    assert sorted(topics) == [("log:x", False), ("log:x", True), ("runs", False), ("runs", True)]


def test_browsers_are_bounded_and_end_when_the_dashboard_does():
    broker = Broker()
    streams = [broker.open([], list) for _ in range(MAX_STREAMS)]
    with pytest.raises(TooManyStreams):
        broker.open([], list)
    broker.close()
    assert list(streams[0].events()) == [b"retry: 1000\n\n"]
    with pytest.raises(TooManyStreams):
        broker.open([], list)


@pytest.mark.parametrize("target", ["//evil", "/\\evil", "https://evil", "javascript:1", "", "/a\nb", "x"])
def test_a_login_leads_nowhere_else(target):
    assert safe_next(target) == "/"


def test_options(tmp_path):
    home = {"TITAN_HOME": str(tmp_path)}
    options = parse(["--master", "other:9191", "--port", "0"], home | {"TITAN_DASHBOARD_LOGIN": "c" * 20})
    assert (options.master_host, options.master_port, options.port) == ("other", 9191, 0)
    assert options.loopback and options.login_code == "c" * 20
    assert parse(["--host", "0.0.0.0", "--insecure"], home).loopback is False
    for bad in (["--host", "0.0.0.0"], ["--port", "70000"], ["--master", "x:y"], ["--udp-advertise", "nowhere"]):
        with pytest.raises(ConfigError):
            parse(bad, home)
    with pytest.raises(ConfigError):
        parse([], home | {"TITAN_DASHBOARD_LOGIN": "short"})


ALL_KEYS = """\
name: whole
project: true
jobs:
  - id: first
    file: sub/a.py
    args:
      - --day
      - '7'
    requirement: GPU,EU
    priority: -3
    delay: 1.5
    affinity: true
    approve: Ship it?
    on_failure:
      repair: fix.py
      max: 2
      args:
        - --careful
    retries: 0
    timeout: 60
    cpus: 0.5
    memory: 2GB
    gpus: 1
    env:
      DAY: '7'
    python: python3
    fresh: true
  - id: second
    file: sub/b.py
    type: service
    depends_on:
      - first
    trigger: all_done
    when: params.day == '7'
    approve:
      message: And this?
      timeout: 60
      on_timeout: approve
    port: auto
    restart: on-failure
    health:
      path: /healthz
      failures: 5
    lifetime: run
"""


def test_a_pipeline_goes_through_the_page_and_through_a_run_without_a_loss(tmp_path):
    assert render(sketch(ALL_KEYS) or {}) == ALL_KEYS
    (tmp_path / "fix.py").touch()
    for name in ("a.py", "b.py"):
        (tmp_path / "sub").mkdir(exist_ok=True)
        (tmp_path / "sub" / name).touch()
    pipeline = parse_pipeline(ALL_KEYS.encode(), tmp_path / "pipeline.yaml")
    specs = [replace(job.spec(str(job.filename)), archive="whole.zip") for job in pipeline.jobs]
    assert render(of_specs(pipeline.name, specs)) == ALL_KEYS


def test_handlers_are_jobs_that_come_last():
    found = sketch("finally: [{id: z, file: z.py}]\njobs: [{id: a, file: a.py}]\n")
    assert found is not None and [(job["id"], job["handler"]) for job in found["jobs"]] == [("a", ""), ("z", "finally")]


def test_what_is_wrong_in_a_pipeline_does_not_hide_the_rest():
    found = sketch("jobs:\n  - id: a\n    script: a.py\n    retries: many\n    dependencies: b\n  - nonsense\n")
    assert found is not None and found["name"] == ""
    first, second = found["jobs"]
    assert (first["file"], first["retries"], first["depends_on"], first["line"]) == ("a.py", 3, ["b"], 2)
    assert second["id"] == "" and sketch("a: [") is None


def test_a_topic_that_somebody_came_back_to_is_on():
    broker = Broker()
    told: list[tuple[str, bool]] = []
    first = broker.open(["log:x"], list)
    again: list[bool] = []

    def on_topic(topic: str, on: bool) -> None:
        told.append((topic, on))

    def first_events() -> list[bytes]:
        if not again:  # the page was loaded again, and its former stream ends only now
            again.append(True)
            broker.forget(first)
        return []

    broker.on_topic = on_topic
    broker.open(["log:x"], first_events)
    assert all(on for _, on in told) and broker.has("log:x")


def test_what_a_browser_could_not_be_told_first_leaves_no_stream():
    broker = Broker()

    def fails() -> list[bytes]:
        raise ValueError

    with pytest.raises(ValueError):
        broker.open(["runs"], fails)
    assert broker.count() == 0 and not broker.has("runs")


def test_a_log_with_a_hole_goes_on_behind_it():
    log = LogAssembler(0)
    assert log.add(10, b"beyond") == b"" and log.add(0, b"first") == b"first"
    log.skip(log.next_piece)
    assert log.add(10, b"") == b"beyond" and log.add(16, b" and on") == b" and on"
    assert (log.position, log.waiting, log.next_piece) == (23, 0, -1)


def test_the_right_token_is_taken_whatever_others_try(tmp_path):
    now = [0.0]
    trust = Trust(Options(token="right", home=tmp_path), lambda: 5000, clock=lambda: now[0])
    app = Flask("test")
    trust.install(app)
    with app.test_request_context():
        assert [trust.log_in("wrong") for _ in range(MAX_FAILURES)] == [False] * MAX_FAILURES
        with pytest.raises(TooManyRequests):
            trust.log_in("wrong")
        assert trust.log_in("right")
        now[0] = FAILURE_WINDOW_S + 1
        assert not trust.log_in("wrong")


def test_files_that_exclude_each_other_are_refused():
    text = "name: n\njobs:\n  - id: a\n    file: a.py\n"
    with pytest.raises(InvalidName, match=r"a\.py/b\.py cannot be among"):
        check(text, ["a.py", "a.py/b.py"], [])
    with pytest.raises(InvalidName, match="too many"):
        check(text, [f"{number}.py" for number in range(MAX_FILES + 1)], [])
    assert check(text + "    args: a.py/b.py\n", ["a.py"], ["b.py"]).name == "n"
