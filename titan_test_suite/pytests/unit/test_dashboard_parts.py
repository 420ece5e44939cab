"""The dashboard's pure parts: what is run again, the history, the state that is shown, topics, options."""

from __future__ import annotations

import pytest

from dashboard import reruns
from dashboard.broker import MAX_STREAMS, Broker, TooManyStreams
from dashboard.cluster_state import MAX_RUNS, ClusterState
from dashboard.history import History, percentile
from dashboard.options import parse
from dashboard.trust import safe_next
from titan_sdk.errors import ConfigError, NotFound
from titan_sdk.messages import (
    ClusterChanges,
    EventInfo,
    EventList,
    ExecutionInfo,
    JobInfo,
    JobSpec,
    RunSummary,
    StateName,
    WorkerInfo,
)

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


def shape(request):
    return {spec.id: spec.parents for spec in request.jobs}


@pytest.mark.parametrize(
    ("completed", "job", "expected"),
    [
        ({"a", "b"}, "", {"c": (), "d": ("c",), "e": ("c",)}),
        ({"a", "b"}, "c", {"c": (), "d": ("c",), "e": ("c",)}),
        ({"a", "b", "c", "e"}, "d", {"d": ()}),
        ({"a", "c"}, "b", {"b": (), "d": ("b",)}),
        (set(), "e", {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c"), "e": ("c",)}),
    ],
)
def test_what_did_not_complete_runs_again_with_what_it_needs(completed, job, expected):
    assert shape(reruns.rest("n", DIAMOND, completed, job)) == expected


def test_a_run_or_a_job_runs_again():
    assert shape(reruns.whole("n", DIAMOND)) == {spec.id: spec.parents for spec in DIAMOND}
    assert shape(reruns.one("n", DIAMOND, "d")) == {"d": ()}
    assert reruns.whole("n", DIAMOND).idempotency_key != reruns.whole("n", DIAMOND).idempotency_key
    with pytest.raises(NotFound):
        reruns.one("n", DIAMOND, "z")
    with pytest.raises(NotFound):
        reruns.rest("n", DIAMOND, {spec.id for spec in DIAMOND})


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
