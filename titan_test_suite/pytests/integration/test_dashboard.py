"""The dashboard over real HTTP: who is let in, the API, events, live logs under loss, the master's restart."""

from __future__ import annotations

import json
import re
import socket
import urllib.parse

import pytest
import yaml

from titan_test_suite.pytests.cluster import ROOT, wait_until
from titan_test_suite.pytests.dashboard import CODE, Dashboard, LossyRelay

PRINTS = """
import time
for n in range({lines}):
    print(f"line {{n}} " + "x" * 60, flush=True)
    time.sleep({pause})
"""


@pytest.fixture(scope="module")
def dashboard(shared_cluster):
    """One for all tests that leave it as it was."""
    dashboard = Dashboard(shared_cluster)
    wait_until(lambda: dashboard.get("/overview")["master"]["up"], 10, "the hub follows the master")
    return dashboard


@pytest.fixture(scope="module")
def cookie(dashboard):
    """Of a session that the login code began."""
    status, headers, _ = dashboard.ask(f"/login?once={CODE}", token=False)
    assert status == 303 and headers["location"] == "/"
    assert "HttpOnly" in headers["set-cookie"] and "SameSite=Strict" in headers["set-cookie"]
    return headers["set-cookie"].partition(";")[0]


def csrf_of(dashboard, cookie):
    _, _, page = dashboard.ask("/", headers={"Cookie": cookie}, token=False)
    return page.partition(b'name="csrf" content="')[2].partition(b'"')[0].decode()


# --- trust ----------------------------------------------------------------------------------------------------------


def test_nothing_is_shown_without_a_login(dashboard):
    for path in ("/api/v1/overview", "/api/v1/openapi.json", "/events?topic=overview", "/metrics"):
        assert dashboard.ask(path, token=False)[0] == 401, path
    for path in ("/", "/runs", "/runs/x/y"):
        status, headers, _ = dashboard.ask(path, token=False)
        assert status == 302 and headers["location"].startswith("/login?next=/"), path
    assert dashboard.ask("/healthz", token=False)[0] == 200


def test_the_login_code_works_once(dashboard, cookie):
    status, headers, page = dashboard.ask(f"/login?once={CODE}", token=False)
    assert status == 200 and "set-cookie" not in headers and b"used already" in page
    assert dashboard.ask("/", headers={"Cookie": cookie}, token=False)[0] == 200


def test_the_token_logs_in_and_a_wrong_one_does_not(dashboard):
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    def enter(token: str, target: str = "/") -> tuple[int, dict[str, str]]:
        body = urllib.parse.urlencode({"token": token, "next": target}).encode()
        status, headers, _ = dashboard.ask("/login", body, headers=form, token=False)
        return status, headers

    status, headers = enter(dashboard.cluster.token, "/runs")
    assert status == 303 and headers["location"] == "/runs" and "set-cookie" in headers
    assert enter(dashboard.cluster.token, "https://evil.example/")[1]["location"] == "/"
    assert enter(dashboard.cluster.token, "//evil.example/")[1]["location"] == "/"
    for _ in range(10):
        status, headers = enter("wrong")
        assert status == 403 and "set-cookie" not in headers
    assert enter("wrong")[0] == 429


def test_other_hosts_and_other_sites_are_refused(dashboard, cookie):
    for host in ("evil.example", f"evil.example:{dashboard.port}", "127.0.0.1:1"):
        assert dashboard.ask("/healthz", headers={"Host": host})[0] == 421
    for host in ("localhost", f"localhost:{dashboard.port}"):
        assert dashboard.ask("/healthz", headers={"Host": host})[0] == 200
    csrf = {"Cookie": cookie, "X-Titan-CSRF": csrf_of(dashboard, cookie)}
    other = {"Origin": "https://evil.example"}
    assert dashboard.ask("/api/v1/workers/drain", {"host": "x", "port": 1}, headers=csrf | other, token=False)[0] == 403
    for whose in ("cross-site", "same-site"):  # the latter: a page of another port of this machine
        site = {"Cookie": cookie, "Sec-Fetch-Site": whose, "Sec-Fetch-Mode": "cors"}
        assert dashboard.ask("/api/v1/overview", headers=site, token=False)[0] == 403


def test_what_changes_something_wants_the_csrf_token(dashboard, cookie):
    path, body = "/api/v1/workers/drain", {"host": "nowhere", "port": 1}
    assert dashboard.ask(path, body, headers={"Cookie": cookie}, token=False)[0] == 403
    assert dashboard.ask(path, body, headers={"Cookie": cookie, "X-Titan-CSRF": "x"}, token=False)[0] == 403
    csrf = {"Cookie": cookie, "X-Titan-CSRF": csrf_of(dashboard, cookie)}
    assert dashboard.ask(path, body, headers=csrf, token=False)[0] == 404  # let through: there is no such worker


def test_every_answer_has_the_security_headers(dashboard):
    for path in ("/login", "/static/js/frame.js", "/api/v1/overview", "/no-such-page"):
        _, headers, _ = dashboard.ask(path)
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"


def test_no_page_has_markup_that_its_policy_forbids(dashboard):
    for path in sorted((ROOT / "dashboard" / "templates").glob("*.html")):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", text), path.name
        assert "https:" not in text and "|safe" not in text, path.name


def test_another_address_than_this_machine_wants_insecure(cluster):
    argv = [str(ROOT / "perm_files" / "server_dashboard.py"), "--host", "0.0.0.0", "--port", "0"]
    program = cluster.start("dashboard", argv)
    assert program.wait() == 2 and "--insecure" in program.log_text()


# --- the API ---------------------------------------------------------------------------------------------------------


def test_the_document_describes_every_route(dashboard):
    document = yaml.safe_load((ROOT / "dashboard" / "openapi.yaml").read_text(encoding="utf-8"))
    described = {
        (path, method) for path, item in document["paths"].items() for method in item if method in ("get", "post")
    }
    from flask import Flask

    from dashboard.api import blueprint

    app = Flask("routes")
    app.register_blueprint(blueprint)
    served = {
        (re.sub(r"<(\w+)>", r"{\1}", str(rule)).removeprefix("/api/v1"), method.lower())
        for rule in app.url_map.iter_rules()
        if str(rule).startswith("/api/v1")
        for method in (rule.methods or set()) & {"GET", "POST"}
    }
    assert described == served
    assert dashboard.get("/openapi.json")["info"]["title"] == "Titan dashboard"


def test_a_run_is_shown_ended_and_run_again(dashboard):
    cluster = dashboard.cluster
    accepted = cluster.submit(
        cluster.job("print('hello')", id="first"),
        cluster.job("import sys; sys.exit(3)", id="second", parents=("first",), retries=0),
        cluster.job("print(1)", id="third", parents=("second",)),
        name="three",
    )
    cluster.wait_run(accepted.run_id)
    run = dashboard.get(f"/runs/{accepted.run_id}")
    assert run["state"] == "DEAD" and run["states"] == {"COMPLETED": 1, "DEAD": 2}
    job = dashboard.get(f"/runs/{accepted.run_id}/jobs/second")
    assert job["job"]["exit_code"] == 3 and job["children"] == ["third"] and job["spec"]["retries"] == 0
    assert "second" in {each["id"] for each in dashboard.get("/jobs?state=DEAD")["jobs"]}

    rest = dashboard.post(f"/runs/{accepted.run_id}/rerun", {"what": "rest"})
    assert [key.partition("/")[2] for key in rest["jobs"]] == ["second", "third"]
    cluster.wait_run(rest["run_id"])
    requeued = dashboard.post(f"/runs/{accepted.run_id}/jobs/third/requeue")
    assert [key.partition("/")[2] for key in requeued["jobs"]] == ["second", "third"]
    cluster.wait_run(requeued["run_id"])
    alone = dashboard.post(f"/runs/{accepted.run_id}/jobs/first/rerun")
    assert cluster.wait_state(alone["jobs"][0]).state == "COMPLETED"

    waiting = cluster.submit(cluster.job("print(1)", id="never", requirement=("NOWHERE",)))
    assert dashboard.post(f"/runs/{waiting.run_id}/cancel")["text"]
    assert cluster.wait_state(f"{waiting.run_id}/never").state == "CANCELLED"


def test_errors_are_told_as_json(dashboard):
    status, headers, body = dashboard.ask("/api/v1/runs/no-such-run")
    assert (
        status == 404 and headers["content-type"] == "application/json" and "no-such-run" in json.loads(body)["error"]
    )
    assert dashboard.ask("/api/v1/runs/x/rerun", {"what": 3})[0] == 400
    assert dashboard.ask("/api/v1/runs?limit=x")[0] == 400
    assert dashboard.ask("/api/v1/files/..%2Ftoken")[0] in (404, 422)
    assert dashboard.ask("/events?topic=nonsense")[0] == 400


def test_a_pipeline_is_checked_with_lines_and_deployed_with_its_files(dashboard):
    text = "name: typed\njobs:\n  - id: one\n    file: sub/one.py\n    retires: 2\n  - id: two\n    file: two.py\n"
    answer = dashboard.post("/pipelines/check", {"yaml": text, "files": ["sub/one.py"]})
    assert not answer["ok"] and [each["line"] for each in answer["problems"]] == [5, 7]
    assert [job["id"] for job in answer["pipeline"]["jobs"]] == ["one", "two"]
    assert "/tmp" not in json.dumps(answer)

    good = text.replace("    retires: 2\n", "").replace("two.py", "sub/one.py\n    depends_on: [one]")
    boundary = "frontier"
    parts = [("yaml", None, good), ("path", None, "sub/one.py"), ("file", "one.py", "print('from the form')")]
    body = ""
    for name, file, data in parts:
        head = f"form-data; name={name}" + (f"; filename={file}" if file else "")
        body += f"--{boundary}\r\nContent-Disposition: {head}\r\n\r\n{data}\r\n"
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    status, _, answer = dashboard.ask("/api/v1/pipelines/deploy", f"{body}--{boundary}--\r\n".encode(), headers=headers)
    assert status == 201, answer
    run_id = json.loads(answer)["run_id"]
    assert dashboard.cluster.wait_run(run_id).finished
    assert dashboard.cluster.log(f"{run_id}/two") == b"from the form\n"

    loaded = dashboard.get(f"/runs/{run_id}/pipeline")
    assert yaml.safe_load(loaded["yaml"])["jobs"][1]["depends_on"] == ["one"]
    assert dashboard.post("/pipelines/render", {"pipeline": loaded["pipeline"]})["yaml"] == loaded["yaml"]


def test_a_log_is_read_by_offset_and_downloaded_whole(dashboard):
    key = dashboard.cluster.run("for n in range(1000): print(n)")
    dashboard.cluster.wait_state(key)
    run_id, _, job_id = key.partition("/")
    whole = dashboard.cluster.log(key)
    status, headers, body = dashboard.ask(f"/api/v1/runs/{run_id}/jobs/{job_id}/log?offset=-10")
    assert status == 200 and body == whole[-10:] and headers["x-titan-size"] == str(len(whole))
    _, headers, body = dashboard.ask(f"/api/v1/runs/{run_id}/jobs/{job_id}/log/download")
    assert body == whole and headers["content-disposition"].startswith("attachment;")


# --- live -------------------------------------------------------------------------------------------------------------


def test_a_change_is_pushed_as_the_answer_to_one_question_whoever_looks(cluster):
    cluster.start_master()  # and no worker, whose heartbeats are changes too
    dashboard = Dashboard(cluster)
    with dashboard.events("runs") as one, dashboard.events("runs", "overview") as two:
        wait_until(lambda: dashboard.get("/overview")["master"]["up"], 10, "the hub follows the master")
        rounds = dashboard.metric("titan_dashboard_hub_rounds_total")
        assert rounds == 1  # it waits at the master: there is nothing that asks again and again
        run_id = cluster.run("print(1)", id="seen").partition("/")[0]
        for events in (one, two):
            while run_id not in [run["run_id"] for run in events.next("runs")["runs"]]:
                pass
        wait_until(lambda: dashboard.metric("titan_dashboard_hub_rounds_total") > rounds, 10, "it asks on")
        assert dashboard.metric("titan_dashboard_hub_rounds_total") == rounds + 1


def test_events_and_services_are_told_to_those_who_look(dashboard):
    cluster = dashboard.cluster
    with dashboard.events("events", "services") as events:
        assert events.next("events")["all"]
        key = cluster.run("raise SystemExit(4)", id="falls-over", kind="service")
        while not any(event["subject"] == key for event in events.next("events")["events"]):
            pass
        while not any(each["job"]["key"] == key for each in events.next("services")["services"]):
            pass
    run_id, _, job_id = key.partition("/")
    assert {each["kind"] for each in dashboard.get(f"/events?subject={key}")["events"]} >= {"service-restarting"}
    assert dashboard.get(f"/runs/{run_id}/jobs/{job_id}")["events"]
    assert [each["job"]["key"] for each in dashboard.get("/services")["services"]] == [key]
    assert dashboard.post(f"/runs/{run_id}/jobs/{job_id}/restart")["jobs"] == [key]
    assert dashboard.ask(f"/api/v1/runs/{run_id}/jobs/{job_id}/scale", {"count": "two"})[0] == 400
    assert dashboard.post(f"/runs/{run_id}/jobs/{job_id}/scale", {"count": 0})["stopped"] == [key]
    cluster.wait_state(key)
    wait_until(lambda: key in [job["key"] for job in dashboard.get("/services")["ended"]], 10, "it has ended here too")


def test_a_watched_log_is_complete_with_a_third_of_the_datagrams_lost(small_cluster):
    probe = LossyRelay(("127.0.0.1", 9))  # its port is what the dashboard will advertise
    try:
        dashboard = Dashboard(small_cluster, "--udp-host", "127.0.0.1", "--udp-advertise", f"127.0.0.1:{probe.port}")
        probe.target = ("127.0.0.1", dashboard.udp_port())
        key = small_cluster.run(PRINTS.format(lines=1500, pause=0.001))
        with dashboard.events(f"log:{key}") as events:
            seen = events.log()
        assert seen == small_cluster.log(key)
        assert probe.dropped > 20 and probe.passed > 40
        assert dashboard.metric("titan_dashboard_datagrams_lost_total") > 0
    finally:
        probe.close()


def test_output_is_shown_at_once_and_nothing_is_sent_when_nobody_watches(dashboard):
    cluster = dashboard.cluster
    key = cluster.run(PRINTS.format(lines=100_000, pause=0.02), retries=0)
    before = dashboard.metric("titan_dashboard_datagrams_total")
    with dashboard.events(f"log:{key}") as events:
        events.next("log")
        wait_until(lambda: dashboard.metric("titan_dashboard_datagrams_total") > before + 5, 10, "datagrams come")
    wait_until(lambda: not dashboard.metric("titan_dashboard_streams"), 20, "the browser's end is noticed")

    def silent() -> bool:
        sent, printed = dashboard.metric("titan_dashboard_datagrams_total"), len(cluster.log(key))
        wait_until(lambda: len(cluster.log(key)) > printed + 500, 10, "the job prints on")
        return bool(dashboard.metric("titan_dashboard_datagrams_total") == sent)

    wait_until(silent, 20, "no datagram comes any more, though the job prints")
    run_id, _, job_id = key.partition("/")
    dashboard.post(f"/runs/{run_id}/jobs/{job_id}/cancel")
    cluster.wait_state(key)


def test_datagrams_of_strangers_change_nothing(dashboard):
    udp = "127.0.0.1", dashboard.udp_port()
    before = dashboard.metric("titan_dashboard_datagrams_refused_total")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for packet in (b"", b"x", b"TLG1" + bytes(60), b"TLG1" + bytes(1200), bytes(2048)):
            stranger.sendto(packet, udp)
    wait_until(lambda: dashboard.metric("titan_dashboard_datagrams_refused_total") >= before + 5, 10, "all are refused")


def test_it_survives_the_masters_restart(small_cluster):
    dashboard = Dashboard(small_cluster)
    with dashboard.events("runs") as events:
        while not events.next("master")["up"]:
            pass
        small_cluster.programs[0].terminate()
        assert events.next("master")["up"] is False
        assert dashboard.ask("/api/v1/runs")[0] == 503
        assert json.loads(dashboard.ask("/healthz")[2]) == {"ok": True, "master": False}
        small_cluster.start_master()
        while not events.next("master")["up"]:
            pass
        key = small_cluster.run("print(1)", id="after")
        while not any(run["run_id"] == key.partition("/")[0] for run in events.next("runs")["runs"]):
            pass
    assert dashboard.program.terminate() == 0
