"""The dashboard as a person uses it: every page, every action, what changes by itself, and what must not harm."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace
from playwright.sync_api import expect

from dashboard.cluster_state import MAX_RUNS
from titan_sdk import TitanClient, TitanJob
from titan_sdk.messages import ApproveSpec, Budget, CancelJob, FlowSpec, JobSpec, ListRuns, RunOptions, WatchRun
from titan_test_suite.pytests.browser.conftest import Visit
from titan_test_suite.pytests.cluster import wait_until
from titan_test_suite.pytests.dashboard import CODE, Dashboard, LossyRelay

pytestmark = pytest.mark.browser

PAGES = (
    "/",
    "/runs",
    "/agents",
    "/timeline",
    "/failures",
    "/approvals",
    "/services",
    "/cluster-events",
    "/files",
    "/new",
)
SLEEP = "import time; print('begun', flush=True); time.sleep(600)"


BACKGROUND = "getComputedStyle(document.documentElement).backgroundColor"


def names(accepted):
    return accepted.run_id, accepted.jobs


def script(name, source):
    """A file as a person chooses it in a form."""
    return {"name": name, "mimeType": "text/x-python", "buffer": source.encode()}


# --- looking ----------------------------------------------------------------------------------------------------------


def test_a_stranger_finds_what_failed_why_and_where_and_runs_it_again(visit):
    cluster = visit.dashboard.cluster
    cluster.submit(
        cluster.job("print('ok')", id="read-it"),
        cluster.job("raise ValueError('column price is missing')", id="prices", parents=("read-it",), retries=0),
        cluster.job("print('ok')", id="publish-it", parents=("prices",)),
        name="night",
    )
    page = visit.go("/")
    row = page.locator("#failures li").filter(has_text="prices").first
    expect(row).to_contain_text("exit code 1")
    expect(row).to_contain_text("on 127.0.0.1:")
    expect(row.get_by_role("link", name="night")).to_be_visible()  # the run that it is of
    expect(page.locator("#failures")).not_to_contain_text("publish-it")  # it only waited
    row.get_by_role("link", name="prices").click()
    expect(page.locator("#state")).to_contain_text("Failed")
    expect(page.locator(".log-line.error").last).to_contain_text("ValueError: column price is missing")
    expect(page.locator("#spec")).to_contain_text("read-it")
    page.get_by_role("button", name="Requeue").click()
    page.get_by_role("link", name="Show the run").click()
    expect(page.locator("#jobs")).to_contain_text("publish-it")
    expect(page.locator("#jobs")).not_to_contain_text("read-it")
    expect(page.locator("#actions")).to_contain_text("Failed")


def test_changes_appear_by_themselves(visit):
    cluster = visit.dashboard.cluster
    page = visit.go("/")
    expect(page.locator(".worker")).to_have_count(1)
    expect(page.locator(".worker .slot")).to_have_count(4)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    key = cluster.run(SLEEP, id="long-one")
    expect(page.locator("#running")).to_contain_text("long-one")
    expect(page.locator(".worker-jobs")).to_contain_text("long-one")
    assert asked == []  # it was told: nothing on the page asks again and again
    page.locator("#running").get_by_role("link", name="long-one").click()
    expect(page.locator("#state")).to_contain_text("Running")
    expect(page.locator(".log-line")).to_contain_text("begun")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.locator("#state")).to_contain_text("Cancelled")
    assert cluster.wait_state(key).state == "CANCELLED"


def test_a_run_of_500_jobs_is_drawn_and_stays_alive(visit):
    cluster = visit.dashboard.cluster
    source = "print(1)"
    jobs = [cluster.job(source, id="root")]
    digest = jobs[0].sha256
    for layer in range(10):
        before = [job.id for job in jobs[-50:]] if layer else ["root"]
        jobs += [
            JobSpec(
                id=f"n{layer}-{number:02}", file="job.py", sha256=digest, size=len(source),
                parents=tuple(before[number % len(before)] for number in {number, number * 7 + 1}),
                requirement=("GENERAL",) if layer < 2 else ("LATER",),
            )
            for number in range(50)
        ]  # fmt: skip
    run_id, _ = names(cluster.submit(*jobs, name="big"))
    page = visit.go(f"/runs/{run_id}")
    expect(page.locator(".node")).to_have_count(501)
    expect(page.locator(".node.COMPLETED")).to_have_count(101, timeout=20_000)
    took = page.evaluate(
        "async () => { const { layout } = await import('/static/js/dag_layout.js');"
        "const nodes = [...Array(500).keys()].map((n) => ({ id: String(n), parents: n > 50 ? [String(n - 50)] : [] }));"
        "const begin = performance.now(); layout(nodes); return performance.now() - begin; }"
    )
    assert took < 1000
    page.get_by_role("button", name="Zoom in").click()
    page.get_by_role("button", name="Show all of it").click()
    page.get_by_label("Search jobs").fill("n0-07")
    expect(page.locator("#jobs tbody tr")).to_have_count(1)
    page.locator('.node[data-id="n0-07"]').dispatch_event("click")
    expect(page).to_have_url(re.compile("/n0-07$"))
    cluster.client.call(CancelJob(id=run_id))


def test_runs_are_searched_cancelled_and_run_again(visit):
    cluster = visit.dashboard.cluster
    cluster.submit(cluster.job(SLEEP, id="endless"), name="to be cancelled")
    page = visit.go("/runs")
    page.get_by_label("Search by name or id").fill("to be canc")
    expect(page.locator("#runs tbody tr")).to_have_count(1)
    page.get_by_role("link", name="to be cancelled").click()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel the run").click()
    expect(page.locator("#actions")).to_contain_text("Cancelled")
    page.get_by_role("button", name="Run again").click()
    page.get_by_role("link", name="Show the run").click()
    expect(page.locator("#actions")).to_contain_text("Running")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel the run").click()
    expect(page.locator("#actions")).to_contain_text("Cancelled")


def test_failures_are_requeued_from_their_page(visit):
    cluster = visit.dashboard.cluster
    key = cluster.run("import sys; sys.exit(9)", id="broken-step", retries=0)
    cluster.wait_state(key)
    page = visit.go("/failures")
    page.get_by_label("Search").fill("broken-step")
    row = page.locator("#jobs tbody tr").first
    expect(row).to_contain_text("exit code 9")
    row.get_by_role("button", name="Requeue").click()
    expect(page.locator("#jobs tbody tr")).to_have_count(2)  # it fails again, and appears by itself

    twins = [cluster.job("import sys; sys.exit(2)", id=f"twin-{name}", retries=0) for name in ("a", "b")]
    run_id, _ = names(cluster.submit(*twins, name="two of a kind"))
    page.get_by_label("Search").fill("two of a kind")
    page.get_by_role("button", name="Requeue all 2").click()
    page.get_by_role("dialog").get_by_role("button", name="Requeue all").click()
    expect(page.locator("#jobs tbody tr")).to_have_count(4)
    newest = cluster.client.call(ListRuns(limit=1)).runs[0]
    assert (newest.name, newest.total) == ("two of a kind", 2) and newest.run_id != run_id  # one run for both


def test_a_requeued_job_finds_what_those_before_it_left(visit):
    cluster = visit.dashboard.cluster
    leave = "import titan_sdk; titan_sdk.output(rows=3)"
    fails = "import sys, titan_sdk; print(titan_sdk.inputs()); sys.exit(1)"
    only_if = FlowSpec(when="parents.count.rows > 2")
    run_id, keys = names(
        cluster.submit(
            cluster.job(leave, id="count"),
            cluster.job(fails, id="load", parents=("count",), flow=only_if, retries=0),
            cluster.job(SLEEP, id="elsewhere"),  # that it goes on does not matter
        )
    )
    cluster.wait_state(keys[1])
    page = visit.go(f"/runs/{keys[1]}")
    page.get_by_role("button", name="Requeue").click()
    page.get_by_role("link", name="Show the run").click()
    expect(page.locator("#actions")).to_contain_text("Failed")
    page.locator("#jobs").get_by_role("link", name="load").click()
    expect(page.locator(".log-line").first).to_contain_text("{'count': {'rows': 3}}")
    cluster.client.call(CancelJob(id=run_id))


def test_a_service_is_restarted_scaled_and_stopped(visit):
    cluster = visit.dashboard.cluster
    key = cluster.run(
        f"import os; print('from', os.environ['TITAN_ATTEMPT'], flush=True); {SLEEP}", id="web-api", kind="service"
    )
    page = visit.go("/services")
    rows = page.locator("#services tbody tr:not(.detail)").filter(has_text="web-api")
    row = rows.first
    expect(row).to_contain_text("Ready")
    row.get_by_role("button", name="History").click()
    detail = page.locator("tr.detail")
    expect(detail.locator("tbody tr")).to_have_count(1)
    row.get_by_role("button", name="Restart").click()
    page.get_by_role("dialog").get_by_role("button", name="Restart").click()
    expect(detail.locator("tbody tr")).to_have_count(2)  # the history goes on by itself
    expect(row).to_contain_text("Ready")
    row.get_by_role("button", name="Scale").click()
    page.get_by_label("Replicas").fill("2")
    page.get_by_role("dialog").get_by_role("button", name="Scale").click()
    expect(rows).to_have_count(2)
    expect(rows.last).to_contain_text("web-api.2")
    expect(rows.last).to_contain_text("Ready")
    rows.last.get_by_role("button", name="Stop").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    expect(rows).to_have_count(1)
    row.get_by_role("link", name="web-api", exact=True).click()
    expect(page.locator("#state")).to_contain_text("Ready")
    expect(page.locator("#spec")).to_contain_text("a slot")
    expect(page.locator(".log-line").first).to_contain_text("from 2")
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    expect(page.locator("#state")).to_contain_text("Completed")
    assert cluster.wait_state(key).state == "COMPLETED"


def test_events_are_shown_as_they_happen(visit):
    cluster = visit.dashboard.cluster
    page = visit.go("/cluster-events")
    expect(page.locator("tbody")).to_contain_text("Worker joined")
    key = cluster.run("import sys; sys.exit(4)", id="falls-over", kind="service")
    row = page.locator("tbody tr").filter(has_text="falls-over").first
    expect(row).to_contain_text("Service restarting")
    page.get_by_role("button", name="Workers", exact=True).click()
    expect(row).to_have_count(0)
    page.get_by_role("button", name="All", exact=True).click()
    page.get_by_label("Search events").fill("falls-ov")
    row.get_by_role("link", name="falls-over").click()
    expect(page.locator("#events")).to_contain_text("Service restarting")
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    assert cluster.wait_state(key).state == "COMPLETED"


def test_the_timeline_shows_executions_and_leads_to_jobs(visit):
    key = visit.dashboard.cluster.run("import time; time.sleep(0.5)", id="on-the-line")
    visit.dashboard.cluster.wait_state(key)
    page = visit.go("/timeline")
    page.get_by_role("button", name="5 min", exact=True).click()
    canvas = page.locator("canvas")
    expect(canvas).to_be_visible()
    seen = []
    for _ in range(6):
        canvas.press("+")
    box = canvas.bounding_box()
    for y in range(60, int(box["height"]), 22):
        for x in range(int(box["width"]) - 1, 0, -6):
            page.mouse.move(box["x"] + x, box["y"] + y)
            if page.locator(".tip").is_visible():
                seen.append(page.locator(".tip").inner_text())
                break
        if seen:
            break
    assert seen and "on 127.0.0.1" in seen[0]
    page.mouse.down()
    page.mouse.up()
    expect(page.locator("#log")).to_be_visible()


# --- doing ------------------------------------------------------------------------------------------------------------


def test_files_are_uploaded_and_run(visit):
    page = visit.go("/files")
    page.locator("#upload").set_input_files([script("hi.py", "import sys; print(sys.argv[1:])")])
    row = page.locator("tbody tr").filter(has_text="hi.py")
    expect(row).to_be_visible()
    row.get_by_role("button", name="Run").click()
    page.get_by_label("Arguments").fill("--day 'to morrow'")
    page.get_by_role("dialog").get_by_role("button", name="Run").click()
    page.get_by_role("link", name="Show the run").click()
    expect(page.locator("#actions")).to_contain_text("Completed")
    page.locator("#jobs tbody a").click()
    expect(page.locator(".log-line")).to_contain_text("['--day', 'to morrow']")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert Path(download.value.path()).read_bytes() == b"['--day', 'to morrow']\n"


def test_a_pipeline_is_typed_with_its_mistakes_shown_and_deployed(visit):
    page = visit.go("/new")
    text = page.get_by_label("The pipeline as YAML")
    text.fill("name: typed\njobs:\n  - id: one\n    fiel: one.py\n")
    expect(page.locator("#problems")).to_contain_text("line 4")
    expect(page.locator("#problems")).to_contain_text("did you mean file?")
    expect(page.locator(".gutter .bad").first).to_have_text("3")
    expect(page.get_by_role("button", name="Deploy")).to_be_disabled()
    page.locator("#attach").set_input_files([script("one.py", "print('typed')")])
    text.fill(
        "name: typed\njobs:\n  - id: one\n    file: one.py\n  - id: two\n    file: one.py\n    depends_on: [one]\n"
    )
    expect(page.locator("#verdict")).to_contain_text("2 jobs")
    expect(page.locator(".node")).to_have_count(2)
    page.get_by_role("button", name="Deploy").click()
    expect(page).to_have_url(re.compile("/runs/run-"))
    expect(page.locator("#actions")).to_contain_text("Completed")

    page.get_by_role("link", name="Edit as new").click()
    expect(text).to_have_value(re.compile("depends_on:\n +- one"))


def test_parameters_are_asked_for_when_a_pipeline_is_deployed(visit):
    page = visit.go("/new")
    page.locator("#attach").set_input_files([script("report.py", "import sys; print(sys.argv[1:])")])
    page.get_by_label("The pipeline as YAML").fill(
        "name: with-params\nfail_fast: true\nparams:\n  day:\n  region: eu\n  code: 007\n"
        'jobs:\n  - {id: report, file: report.py, args: ["${params.day}", "${params.region}", "${params.code}"]}\n'
    )
    expect(page.locator("#verdict")).to_contain_text("1 job, ready to deploy")
    page.get_by_role("button", name="Deploy").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("region")).to_have_value("eu")
    expect(dialog.get_by_label("code")).to_have_value("007")
    dialog.get_by_role("button", name="Deploy").click()
    expect(dialog.get_by_label("day")).to_be_focused()  # it has no default
    dialog.get_by_label("day").fill("2024-02-29")
    dialog.get_by_label("region").fill("<b>us</b>")
    dialog.get_by_role("button", name="Deploy").click()
    expect(page).to_have_url(re.compile("/runs/run-"))
    expect(page.locator("#facts")).to_contain_text("day=2024-02-29")
    expect(page.locator("#actions")).to_contain_text("Completed")
    page.locator("#jobs").get_by_role("link", name="report").click()
    expect(page.locator(".log-line")).to_contain_text("['2024-02-29', '<b>us</b>', '007']")
    run_id = page.url.rpartition("/runs/")[2].partition("/")[0]
    options = visit.dashboard.cluster.client.call(WatchRun(id=run_id)).options
    assert options is not None and options.fail_fast


def test_a_pipeline_is_drawn(visit):
    cluster = visit.dashboard.cluster
    page = visit.go("/files")
    page.locator("#upload").set_input_files([script("step.py", "print(1)")])
    expect(page.locator("tbody")).to_contain_text("step.py")
    page = visit.go("/new")
    text = page.get_by_label("The pipeline as YAML")
    text.fill("")
    add = page.get_by_role("button", name="Add job")
    add.click()
    page.get_by_label("File", exact=True).fill("step.py")
    page.get_by_label("File", exact=True).press("Enter")
    page.get_by_label("Id").fill("extract")
    page.get_by_label("Id").press("Enter")
    expect(text).to_have_value(re.compile("id: extract\n +file: step.py"))
    add.click()  # follows the chosen one
    page.get_by_label("File", exact=True).fill("step.py")
    page.get_by_label("File", exact=True).press("Enter")
    expect(text).to_have_value(re.compile("id: job-2\n +file: step.py\n +depends_on:\n +- extract"))
    expect(page.locator("path.edge:not(.hit)")).to_have_count(1)
    page.locator("path.edge.hit").dispatch_event("click")
    expect(text).not_to_have_value(re.compile("depends_on"))
    port = page.locator('.node[data-id="extract"] .port').bounding_box()
    target = page.locator('.node[data-id="job-2"] rect.body').bounding_box()
    page.mouse.move(port["x"] + port["width"] / 2, port["y"] + port["height"] / 2)
    page.mouse.down()
    page.mouse.move(target["x"] + 30, target["y"] + target["height"] / 2, steps=4)
    page.mouse.up()
    expect(text).to_have_value(re.compile("depends_on:\n +- extract"))
    expect(page.locator("#verdict")).to_contain_text("ready to deploy")
    page.get_by_role("button", name="Deploy").click()
    expect(page).to_have_url(re.compile("/runs/run-"))
    expect(page.locator("#actions")).to_contain_text("Completed")
    assert cluster.client.call(ListRuns(limit=1)).runs[0].total == 2


# --- the log ----------------------------------------------------------------------------------------------------------


def test_a_hostile_name_and_log_are_only_text(visit):
    cluster = visit.dashboard.cluster
    print_it = (
        "import sys\n"
        "w = sys.stdout.buffer.write\n"
        "w(b'<script>window.hacked=1</script><img src=x onerror=window.hacked=1>\\n')\n"
        "w(b'\\x1b[31mred\\x1b[0m \\x1b]0;title\\x07 bell\\x07 \\x1b[2J\\x1b[Hhome \\xff\\xfe bad utf8\\n')\n"
        "w('right \\u202eleft\\n'.encode())\n"
        "w(b'10%\\r50%\\r100% done\\n')\n"
    )
    name = "<img src=x onerror=window.hacked=1>\"'&"
    job_id = "{{7*7}} & onerror=x %2e%2e ünï"
    run_id, keys = names(cluster.submit(cluster.job(print_it, id=job_id), name=name))
    cluster.wait_state(keys[0])
    page = visit.go(f"/runs/{run_id}")
    expect(page.get_by_role("heading", name=name)).to_be_visible()
    page.locator("#jobs tbody a").click()
    expect(page.get_by_role("heading", name=job_id)).to_be_visible()
    lines = page.locator(".log-line")
    expect(lines).to_have_count(4)
    expect(lines.nth(0)).to_contain_text("<script>window.hacked=1</script>")
    expect(lines.nth(1).locator(".c1")).to_have_text("red")
    expect(lines.nth(1)).to_contain_text("bell␇")
    expect(lines.nth(2)).to_contain_text("U+202E")
    expect(lines.nth(3)).to_contain_text("4100% done")
    for path in ("/", "/runs"):
        visit.go(path)
        expect(page.locator("#runs")).to_contain_text(name)
    assert page.evaluate("window.hacked") is None
    assert page.locator("main img").count() == 0


def test_a_hundred_thousand_lines_are_scrolled_searched_and_jumped_in(visit):
    cluster = visit.dashboard.cluster
    key = cluster.run(
        "import sys\n"
        "for n in range(100_000): sys.stdout.write(f'line number {n}\\n' if n != 54321 else 'KeyError: needle\\n')"
    )
    cluster.wait_state(key)
    page = visit.go(f"/runs/{key}")
    expect(page.locator(".log-bar .count").first).to_contain_text("100,000 lines")
    expect(page.locator(".log-line").last).to_contain_text("line number 99999")
    assert page.locator(".log-line").count() < 200
    page.get_by_label("Search the log").fill("needle")
    expect(page.locator(".log-line.current")).to_contain_text("54322KeyError: needle")
    page.get_by_label("Search the log").fill("")
    page.locator(".log-view").press("Home")
    expect(page.locator(".log-line").first).to_contain_text("line number 0")
    page.get_by_role("button", name="Jump to the next line that tells of an error").click()
    expect(page.locator(".log-line.error")).to_be_in_viewport()
    page.get_by_role("button", name="Follow").click()
    expect(page.locator(".log-line").last).to_contain_text("line number 99999")


def test_a_live_log_is_complete_in_the_browser_when_a_third_of_the_datagrams_is_lost(browser, cluster):
    cluster.start_master()
    cluster.start_worker()
    relay = LossyRelay(("127.0.0.1", 9))
    try:
        dashboard = Dashboard(cluster, "--udp-host", "127.0.0.1", "--udp-advertise", f"127.0.0.1:{relay.port}")
        relay.target = ("127.0.0.1", dashboard.udp_port())
        visit = Visit(browser, dashboard)
        key = cluster.run("import time\nfor n in range(800):\n    print('row', n, flush=True)\n    time.sleep(0.002)\n")
        page = visit.go(f"/runs/{key}")
        expect(page.locator("#state")).to_contain_text("Completed")
        expect(page.locator(".log-bar .count").first).to_contain_text("800 lines")
        expect(page.locator(".log-line").last).to_contain_text("row 799")
        page.locator(".log-view").press("Home")
        found = set()
        for top in range(0, 800 * 19, 500):
            page.locator(".log-view").evaluate(f"view => view.scrollTop = {top}")
            page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            found.update(page.locator(".log-line").evaluate_all("all => all.map(each => each.lastChild.textContent)"))
        assert {f"row {n}" for n in range(800)} <= found
        assert relay.dropped > 10
        visit.close()
    finally:
        relay.close()


# --- around -----------------------------------------------------------------------------------------------------------


def test_the_masters_restart_shows_a_banner_that_goes_by_itself(browser, cluster):
    cluster.start_master()
    cluster.start_worker()
    dashboard = Dashboard(cluster)
    visit = Visit(browser, dashboard)
    page = visit.page
    expect(page.locator("#banner")).to_be_hidden()
    cluster.programs[0].kill()
    expect(page.locator("#banner")).to_contain_text("is away")
    cluster.start_master()
    expect(page.locator("#banner")).to_be_hidden()
    cluster.run("print(1)", id="after-the-restart")
    expect(page.locator("#runs")).to_contain_text("test")
    visit.close()


@pytest.mark.parametrize("width", [390, 820])
def test_no_page_is_wider_than_the_screen(browser, shared_dashboard, width):
    cluster = shared_dashboard.cluster
    long = "a-job-with-a-name-" + "that-does-not-end-" * 6
    run_id, keys = names(cluster.submit(cluster.job("print('x' * 3000)", id=long), name="n" * 200))
    cluster.wait_state(keys[0])
    visit = Visit(browser, shared_dashboard, viewport={"width": width, "height": 800})
    for path in (*PAGES, f"/runs/{run_id}", f"/runs/{run_id}/{long}", "/no-such-page"):
        page = visit.go(path)
        page.wait_for_load_state("load")
        if path in ("/", "/runs"):
            expect(page.locator("#runs")).to_contain_text("nnnn")
        wait_until(partial(page.evaluate, "document.documentElement.scrollWidth <= innerWidth"), 3, f"{path} fits")
    visit.close()


def test_the_theme_is_switched_and_remembered(visit):
    page = visit.go("/")
    before = page.evaluate(BACKGROUND)
    page.get_by_role("button", name="Light or dark").click()
    after = page.evaluate(BACKGROUND)
    assert after != before
    page.reload()
    assert page.evaluate(BACKGROUND) == after


def test_everything_is_reached_by_keyboard(visit):
    page = visit.go("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/runs$"))


def test_logging_out_and_the_address_that_logs_in_once(browser, shared_dashboard):
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{shared_dashboard.url}/runs")
    expect(page.get_by_label("Token of the cluster")).to_be_visible()
    page.goto(f"{shared_dashboard.url}/login?once={CODE}")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Token of the cluster")).to_be_visible()
    page.goto(f"{shared_dashboard.url}/login?once={CODE}")
    expect(page.get_by_role("alert")).to_contain_text("used already")
    context.close()


def test_an_empty_cluster_says_what_to_do(browser, cluster):
    cluster.start_master()
    visit = Visit(browser, Dashboard(cluster))
    expected = {
        "/": "No workers yet",
        "/runs": "No runs yet",
        "/agents": "No agent runs yet",
        "/timeline": "Nothing has run yet",
        "/failures": "Nothing has failed",
        "/approvals": "Nothing waits for a person",
        "/services": "No services",
        "/schedules": "No schedules",
        "/cluster-events": "Nothing has happened yet",
        "/files": "No files yet",
        "/new": "No jobs yet",
    }
    for path, words in expected.items():
        expect(visit.go(path).locator("main")).to_contain_text(words)
    visit.close()


def test_a_worker_is_drained_taken_back_and_shut_down(browser, small_cluster):
    visit = Visit(browser, Dashboard(small_cluster))
    page = visit.page
    state = page.locator(".worker .badge")
    page.get_by_role("button", name="Drain").click()
    page.get_by_role("dialog").get_by_role("button", name="Drain").click()
    expect(state).to_have_text("drained")
    page.get_by_role("button", name="Undrain").click()
    expect(state).to_have_text("alive")
    page.get_by_role("button", name="Shut down").click()
    page.get_by_role("dialog").get_by_role("button", name="Shut down").click()
    expect(page.locator(".worker")).to_have_count(0)
    expect(visit.go("/cluster-events").locator("tbody")).to_contain_text("Worker left")
    visit.close()


def test_a_person_approves_and_rejects(visit):
    cluster = visit.dashboard.cluster
    ask = FlowSpec(approve=ApproveSpec(message="Ship <b>it</b>?"))
    jobs = [cluster.job("print('shipped')", id=name, flow=ask) for name in ("ship-it", "sink-it")]
    run_id, keys = names(cluster.submit(*jobs, name="release"))
    page = visit.go("/approvals")
    rows = page.locator("#open tbody tr")
    row = rows.filter(has_text="ship-it")
    expect(row).to_contain_text("Ship <b>it</b>?")
    row.get_by_role("button", name="Approve").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Comment").fill("tests are green")
    dialog.get_by_label("Your name").fill("Ada")
    dialog.get_by_role("button", name="Approve").click()
    expect(row).to_have_count(0)
    expect(page.locator("#decided tbody tr").filter(has_text="ship-it")).to_contain_text("tests are green")
    cluster.wait_state(keys[0], "COMPLETED")

    visit.go(f"/runs/{run_id}/sink-it")
    expect(page.locator("#state")).to_contain_text("To approve")
    page.locator("#question").get_by_role("button", name="Reject").click()
    expect(dialog.get_by_label("Your name")).to_have_value("Ada")
    dialog.get_by_label("Why").fill("not on a Friday")
    dialog.get_by_role("button", name="Reject").click()
    expect(page.locator("#state")).to_contain_text("Failed")
    expect(page.locator("#reason")).to_contain_text("not on a Friday")
    expect(page.locator("#steps")).to_contain_text("by Ada")


def test_what_an_agent_submits_is_a_tree_that_grows(visit):
    cluster = visit.dashboard.cluster
    options = RunOptions(agent_run_id="research-7")
    root = cluster.submit(cluster.job("print(1)", id="plan"), name="question", options=options)
    page = visit.go("/agents")
    group = page.locator(".agent").filter(has_text="research-7")
    expect(group).to_contain_text("1 run, 1 job")
    child = cluster.submit(cluster.job("print(2)", id="look"), name="search", parent=root.jobs[0], options=options)
    cluster.submit(cluster.job("raise SystemExit(3)", id="read", retries=0), name="digest", parent=child.jobs[0])
    expect(group).to_contain_text("3 runs, 3 jobs")
    expect(group.locator("li li li")).to_contain_text("by look")  # below the run whose job has submitted it
    expect(group.locator("li li li")).to_contain_text("Failed")
    group.locator("summary").nth(1).click(position={"x": 4, "y": 10})
    expect(group.get_by_role("link", name="search", exact=True)).to_be_hidden()
    page.get_by_label("Search agent runs").fill("no such thing")
    expect(page.locator("#agents")).to_contain_text("No agent run is like that")


def test_a_schedule_is_made_run_paused_and_deleted(visit):
    page = visit.go("/new")
    page.locator("#attach").set_input_files([script("report.py", "print('a report')")])
    text = page.get_by_label("The pipeline as YAML")
    text.fill("name: reports\nschedule: 0 6 1 1 *\njobs:\n  - id: report\n    file: report.py\n")
    expect(page.locator("#verdict")).to_contain_text("ready to be scheduled")
    page.get_by_role("button", name="Deploy").click()
    expect(page).to_have_url(re.compile("/schedules"))
    row = page.locator('tr[data-name="reports"]')
    expect(row).to_contain_text("0 6 1 1 *")
    expect(row.locator("time").first).to_contain_text(re.compile("^in "))
    row.get_by_role("button", name="History").click()
    expect(page.locator("tr.detail")).to_contain_text("It was not due yet.")
    row.get_by_role("button", name="Run now").click()
    expect(page.locator("tr.detail tbody tr")).to_contain_text("Completed")  # by itself, when the run has ended
    expect(row).to_contain_text("1 fired")
    row.get_by_role("button", name="Pause").click()
    expect(row).to_contain_text("Paused")
    row.get_by_role("button", name="Resume").click()
    expect(row).not_to_contain_text("Paused")
    row.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)
    page = visit.go("/cluster-events")
    page.get_by_role("button", name="Schedules", exact=True).click()
    events = page.locator("tbody tr")
    expect(events.filter(has_text="reports")).to_have_text(
        [re.compile("Schedule deleted"), *[re.compile("Schedule")] * 4]
    )
    expect(events.filter(has_text="Worker")).to_have_count(0)


def test_outputs_conditions_and_what_was_skipped_are_shown(visit):
    cluster = visit.dashboard.cluster
    leave = "import os; open(os.environ['TITAN_OUTPUT'], 'a').write('rows:=3\\n')"
    only_if = FlowSpec(when="parents.count.rows > 5")
    run_id, keys = names(
        cluster.submit(
            cluster.job(leave, id="count"),
            cluster.job("print(1)", id="alarm", parents=("count",), flow=only_if),
            cluster.job("print(1)", id="tidy", parents=("alarm",), flow=FlowSpec(trigger="all_done")),
        )
    )
    cluster.wait_run(run_id)
    page = visit.go(f"/runs/{run_id}")
    expect(page.locator(".node.SKIPPED")).to_have_attribute("data-id", "alarm")
    expect(page.locator("#jobs .badge.SKIPPED")).to_have_text("Skipped")
    expect(page.locator("#facts")).to_contain_text("1 skipped")
    expect(page.locator("#actions")).to_contain_text("Completed")  # what is skipped is no failure
    expect(visit.go(f"/runs/{keys[0]}").locator("#spec")).to_contain_text("rows = 3")
    expect(visit.go(f"/runs/{keys[1]}").locator("#spec")).to_contain_text("parents.count.rows > 5")
    expect(visit.go(f"/runs/{keys[2]}").locator("#spec")).to_contain_text("all its parents have ended")


def test_an_open_run_is_closed(visit):
    cluster = visit.dashboard.cluster
    options = RunOptions(open=True, params={"day": "monday"}, budget=Budget(max_jobs=7))
    run_id, keys = names(cluster.submit(cluster.job("print(1)", id="seed"), name="growing", options=options))
    cluster.wait_state(keys[0])
    page = visit.go(f"/runs/{run_id}")
    expect(page.locator("#facts")).to_contain_text("open")
    expect(page.locator("#facts")).to_contain_text("1 of 7 jobs of its budget")
    expect(page.locator("#facts")).to_contain_text("day=monday")
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#actions")).to_contain_text("Completed")
    expect(page.get_by_role("button", name="Close")).to_have_count(0)


def test_what_jobs_leave_is_listed_and_saved(visit):
    cluster = visit.dashboard.cluster
    leave = "import titan_sdk; titan_sdk.publish('a <b>report ü.txt', b'42 rows'); titan_sdk.output(rows=42)"
    run_id, keys = names(cluster.submit(cluster.job("print(1)", id="nothing"), cluster.job(leave, id="report")))
    page = visit.go(f"/runs/{run_id}")
    link = page.locator("#artifacts").get_by_role("link", name="a <b>report ü.txt")
    with page.expect_download() as download:  # it appears when the job has completed
        link.click(timeout=20_000)
    assert download.value.suggested_filename.endswith("ü.txt")
    assert Path(download.value.path()).read_bytes() == b"42 rows"
    page.locator("#artifacts").get_by_role("link", name="report", exact=True).click()
    expect(page.locator("#spec")).to_contain_text("7 B")
    expect(page.locator("#spec")).to_contain_text("rows = 42")
    expect(page.locator("#spec")).not_to_contain_text("titan_artifacts")
    expect(visit.go(f"/runs/{keys[0]}").locator("#spec")).not_to_contain_text("Artifacts")


def test_a_list_is_unfolded_and_folded_again(visit):
    cluster = visit.dashboard.cluster
    both = "import titan_sdk; titan_sdk.output(few=['a', 'b'], many=list(range(60)))"
    run_id, keys = names(
        cluster.submit(
            cluster.job(both, id="split"),
            cluster.job("print(1)", id="few", parents=("split",), flow=FlowSpec(each="parents.split.few")),
            cluster.job(
                "import titan_sdk; assert titan_sdk.item() != 7",
                id="many",
                parents=("split",),
                retries=0,
                flow=FlowSpec(each="parents.split.many"),
            ),
            cluster.job("print(1)", id="sweep", flow=FlowSpec(handler="finally")),
        )
    )
    page = visit.go(f"/runs/{run_id}")
    expect(page.locator("#actions")).to_contain_text("Failed", timeout=30_000)  # 66 jobs later, without a reload
    expect(page.locator(".node")).to_have_count(6)  # 60 of the 66 jobs are within the one that has their list
    expect(page.locator('.node[data-id="few.1"]')).to_be_visible()
    expect(page.locator('.node.DEAD[data-id="many"]')).to_contain_text("59 of 60 · 1 failed")
    page.locator('.node[data-id="many"]').dispatch_event("click")
    page.locator("#spec").get_by_role("link", name="its instances").click()
    expect(page.locator("#jobs").get_by_role("link", name="many.59")).to_be_attached()
    expect(page.locator("#jobs").get_by_role("link", name="few")).to_have_count(0)
    page.locator("#jobs").get_by_role("link", name="many.7", exact=True).click()
    expect(page.locator("#spec")).to_contain_text("of many, for 7")
    expect(visit.go(f"/runs/{keys[3]}").locator("#spec")).to_contain_text("at the end of the run, in any case")

    page = visit.go(f"/new?run={run_id}")
    expect(page.locator(".node")).to_have_count(4)  # what was asked for
    page.locator('.node[data-id="few"]').dispatch_event("click")
    page.get_by_label("For each of").fill("params.files")
    page.get_by_label("For each of").press("Enter")
    page.locator('[data-key="Runs"]').select_option("on_failure")
    text = page.get_by_label("The pipeline as YAML")
    expect(text).to_have_value(re.compile("id: few\\n(.*\\n)*? +each: params.files\\n +handler: on_failure"))


def test_an_agent_run_of_long_ago_is_found(browser, cluster):
    cluster.start_master()
    job = cluster.job("print(1)", id="one")
    cluster.submit(job, name="long ago", options=RunOptions(agent_run_id="old-one"))
    for number in range(MAX_RUNS):  # the dashboard follows no more
        cluster.submit(replace(job, id=f"job-{number}"))
    visit = Visit(browser, Dashboard(cluster))
    page = visit.go("/agents?search=old-")
    page.locator(".agent").filter(has_text="old-one").get_by_role("button", name="Show its run").click()
    expect(page.locator(".agent").get_by_role("link", name="long ago")).to_be_visible()
    visit.close()


def test_a_repair_is_told_in_the_history_of_its_job(visit, tmp_path):
    (tmp_path / "load.py").write_text("import sys; sys.exit(len(sys.argv) < 2)")
    (tmp_path / "fix.py").write_text("import titan_sdk; titan_sdk.repair(args=['x'], note='it <b>wants</b> one')")
    cluster = visit.dashboard.cluster
    with TitanClient(port=cluster.port, token=cluster.token) as client:
        repaired = TitanJob("load", tmp_path / "load.py", retries=0, on_failure={"repair": tmp_path / "fix.py"})
        key = client.submit_job(repaired).key
        page = visit.go(f"/runs/{key}")
        expect(page.locator("#state")).to_contain_text("Completed", timeout=30_000)
    steps = page.locator("#steps")
    expect(steps).to_contain_text("Repair 1 of attempt 1")
    expect(steps).to_contain_text("it <b>wants</b> one")
    expect(steps).to_contain_text("Repair 1 applied")
    steps.get_by_role("link", name="load.repair-1").click()
    expect(page.locator("#state")).to_contain_text("Completed")
    expect(page.locator("#spec")).to_contain_text("fix.py")
