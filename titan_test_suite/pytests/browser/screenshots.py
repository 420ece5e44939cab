"""Makes docs/screenshots: ``python -m titan_test_suite.pytests.browser.screenshots [FOLDER] [--all]``.

With ``--all`` every page at every width, light and dark, to be looked at; without, those that the documentation keeps.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Page, sync_playwright

from titan_dev.browser import FLAGS, HOW, find_browser
from titan_sdk.messages import (
    ApproveSpec,
    FlowSpec,
    PauseSchedule,
    PutSchedule,
    Recurrence,
    RunOptions,
    ScheduleSpec,
    TriggerSchedule,
)
from titan_test_suite.pytests.cluster import ROOT, Cluster, wait_until
from titan_test_suite.pytests.dashboard import CODE, Dashboard

MAX_BYTES: Final = 200_000
SAMPLES: Final = 8
"""Of the history, five seconds each."""
WIDTHS: Final = {"": (1280, 800), "-tablet": (820, 1100), "-phone": (390, 844)}

STEP: Final = """
import random, time
random.seed({seed})
for n in range({lines}):
    print(f"\\x1b[32mok\\x1b[0m part {{n + 1}} of {lines}: {{random.randint(200, 900)}} rows", flush=True)
    time.sleep({pause})
"""
BROKEN: Final = """
print("reading prices.csv")
print("\\x1b[33mwarning: 3 rows have no key\\x1b[0m")
raise SystemExit("error: column 'price' is missing in prices.csv")
"""
SERVICE: Final = """
import itertools, time
for n in itertools.count():
    print("GET /health 200", n, flush=True)
    time.sleep(0.5)
"""


def work(cluster: Cluster) -> dict[str, str]:
    """Runs of all kinds; their ids by name."""

    def step(name: str, lines: int, pause: float, *parents: str, requirement: str = "GENERAL", **fields: Any):
        source = STEP.format(seed=len(name), lines=lines, pause=pause)
        (cluster.perm_files / f"{name}.py").write_text(source, encoding="utf-8")
        return cluster.job(source, id=name, file=f"{name}.py", parents=parents, requirement=(requirement,), **fields)

    regions = [f"region-{number}" for number in range(1, 9)]
    runs = {
        "nightly etl": [
            step("extract", 12, 0.03),
            *(step(each, 14, 0.04, "extract") for each in regions),
            step("check", 8, 0.03, *regions[:4]),
            step("join", 10, 0.04, *regions),
            step("publish", 6, 0.03, "join", "check"),
        ],
        "price report": [
            step("fetch-prices", 8, 0.03),
            cluster.job(BROKEN, id="parse-prices", file="parse.py", parents=("fetch-prices",), retries=1),
            step("send-report", 4, 0.03, "parse-prices"),
        ],
        "train the model": [
            step("prepare", 8, 0.05),
            step("train", 600, 0.1, "prepare", requirement="GPU"),
            step("evaluate", 9, 0.1, "train"),
        ],
        "web api": [cluster.job(SERVICE, id="web-api", file="server.py", kind="service", cpus=0.5)],
        "release 4.2": [
            step("build", 5, 0.03),
            step("ship", 4, 0.03, "build", flow=FlowSpec(approve=ApproveSpec(message="Ship 4.2 to production?"))),
            step("announce", 3, 0.03, "ship"),
        ],
        "mail queue": [
            cluster.job("raise SystemExit('no route to host')", id="mail-queue", file="mail.py", kind="service")
        ],
    }
    ids = {name: cluster.submit(*jobs, name=name).run_id for name, jobs in runs.items()}
    hourly = cluster.job("print('rotated')", id="rotate-keys", file="rotate.py")
    report = [step("collect", 4, 0.02), step("mail-it", 3, 0.02, "collect")]
    every_day = Recurrence(cron="0 6 * * 1-5", timezone="Europe/Berlin")
    schedules = [
        ScheduleSpec(name="morning report", jobs=tuple(report), when=every_day),
        ScheduleSpec(name="rotate keys", jobs=(hourly,), when=Recurrence(every_ms=3_600_000, overlap="queue")),
        ScheduleSpec(name="end of year", jobs=(hourly,), when=Recurrence(cron="0 0 31 12 *")),
    ]
    for each in schedules:
        cluster.client.call(PutSchedule(spec=each))
    for name in ("morning report", "rotate keys"):
        cluster.wait_run(cluster.client.call(TriggerSchedule(name=name)).run_id)
    cluster.client.call(PauseSchedule(name="end of year"))
    agent = RunOptions(agent_run_id="market-research")
    plan = cluster.submit(cluster.job("print('three questions')", id="plan"), name="plan", options=agent)
    for topic in ("prices", "rivals", "laws"):
        jobs = [cluster.job("print('read')", id=f"read-{topic}-{number}") for number in range(1, 4)]
        asked = cluster.submit(*jobs, name=f"look into {topic}", parent=plan.jobs[0], options=agent)
        if topic == "rivals":
            again = cluster.job("raise SystemExit('the page is gone')", id="read-again", retries=0)
            cluster.submit(again, name="read again", parent=asked.jobs[0], options=agent)
    for name in ("nightly etl", "price report"):
        cluster.wait_run(ids[name])
    cluster.wait_state(f"{ids['release 4.2']}/ship", "HELD")
    cluster.wait_state(f"{ids['train the model']}/train", "RUNNING")
    return ids


def pass_time(cluster: Cluster, dashboard: Dashboard) -> None:
    """A trickle of jobs, until the charts have something to show."""
    for number in range(1, SAMPLES + 1):
        source = f"import time; time.sleep({0.4 + number % 3 / 2})"
        jobs = [cluster.job(source, id=f"batch-{number}-{each}") for each in range(2 + number * 5 % 9)]
        cluster.submit(*jobs, name=f"hourly batch {number}")
        taken = len(dashboard.get("/history")["samples"])
        wait_until(partial(_sampled, dashboard, taken), 30, "a sample is taken")


def _sampled(dashboard: Dashboard, taken: int) -> bool:
    return len(dashboard.get("/history")["samples"]) > taken


def shoot(page: Page, path: Path) -> None:
    """A picture once nothing is loading; refused when it is too big for a repository."""
    page.wait_for_load_state("load")
    page.get_by_text("Loading…").wait_for(state="hidden")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.screenshot(path=path)
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise SystemExit(f"{path} has {size} bytes, and {MAX_BYTES} are the most")


def main(folder: Path, everything: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    executable = find_browser()
    if not executable:
        raise SystemExit(f"no browser: {HOW}")
    with tempfile.TemporaryDirectory(prefix="titan-screenshots-") as name, sync_playwright() as playwright:
        cluster = Cluster(Path(name))
        browser = playwright.chromium.launch(executable_path=executable, args=list(FLAGS))
        try:
            cluster.start_master()
            cluster.start_worker(name="worker1", capabilities="GENERAL,GPU", permanent=True)
            for number in (2, 3):
                cluster.start_worker(name=f"worker{number}")
            dashboard = Dashboard(cluster)
            ids = work(cluster)
            pass_time(cluster, dashboard)
            pages = {
                "overview": ("/", "#running li"),
                "runs": ("/runs", "#runs tbody tr"),
                "run": (f"/runs/{ids['nightly etl']}", ".node"),
                "job": (f"/runs/{ids['price report']}/parse-prices", ".log-line"),
                "timeline": ("/timeline", "canvas"),
                "failures": ("/failures", "#jobs tbody tr"),
                "services": ("/services", "tbody tr"),
                "schedules": ("/schedules", "#schedules tbody tr"),
                "approvals": ("/approvals", "#open tbody tr"),
                "agents": ("/agents", ".agent"),
                "events": ("/cluster-events", "tbody tr"),
                "files": ("/files", "main"),
                "new": (f"/new?run={ids['nightly etl']}", ".node"),
            }
            state = None
            for scheme in ("light", "dark"):
                for suffix, (width, height) in WIDTHS.items():
                    context = browser.new_context(
                        viewport={"width": width, "height": height},
                        color_scheme=scheme,
                        storage_state=state,
                    )
                    page = context.new_page()
                    if state is None:
                        page.goto(f"{dashboard.url}/login?once={CODE}")
                        state = context.storage_state()
                    for shown, (path, wanted) in pages.items():
                        kept = (scheme, suffix) == ("light", "") or shown in ("overview", "job")
                        if not (kept or everything):
                            continue
                        page.goto(dashboard.url + path)
                        page.locator(wanted).first.wait_for()
                        if shown == "timeline":
                            page.get_by_role("button", name="All", exact=True).click()
                        if shown in ("services", "schedules"):
                            page.get_by_role("button", name="History").nth(int(shown == "schedules")).click()
                            page.locator("tr.detail td td").first.wait_for()
                        shoot(page, folder / f"{shown}{suffix}{'-dark' if scheme == 'dark' else ''}.png")
                    context.close()
        finally:
            browser.close()
            cluster.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Makes the screenshots of the documentation.")
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "docs" / "screenshots")
    parser.add_argument("--all", action="store_true", help="every page at every width, light and dark")
    given = parser.parse_args()
    main(given.folder, given.all)
