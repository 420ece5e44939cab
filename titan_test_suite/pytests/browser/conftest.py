"""A real Chromium for the browser tests. There is no skipping: without a browser they fail, and say how to get one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from titan_dev.browser import FLAGS, HOW, find_browser
from titan_test_suite.pytests.cluster import Cluster, wait_until
from titan_test_suite.pytests.dashboard import Dashboard

expect.set_options(timeout=10_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of one file's tests: as long as Playwright is at work, its thread has a running event loop, in others' way."""
    path = find_browser()
    if not path:
        pytest.fail(f"no browser: {HOW}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def shared_dashboard(browser: Browser, shared_cluster: Cluster) -> Dashboard:
    dashboard = Dashboard(shared_cluster)
    wait_until(lambda: dashboard.get("/overview")["master"]["up"], 10, "the hub follows the master")
    return dashboard


class Visit:
    """Pages of one dashboard, logged in; what goes wrong in them is gathered."""

    def __init__(self, browser: Browser, dashboard: Dashboard, **options: Any) -> None:
        self.dashboard = dashboard
        self.context: BrowserContext = browser.new_context(**{"viewport": {"width": 1280, "height": 860}, **options})
        self.wrong: list[str] = []
        self.page: Page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", self._heard)
        self.page.goto(f"{dashboard.url}/login")
        self.page.get_by_label("Token of the cluster").fill(dashboard.cluster.token)
        self.page.get_by_role("button", name="Log in").click()
        expect(self.page.get_by_role("heading", name="Overview")).to_be_visible()

    def _heard(self, message: Any) -> None:
        # The browser itself reports answers of 4xx and 5xx, which tests cause on purpose.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.wrong.append(message.text)

    def go(self, path: str) -> Page:
        self.page.goto(self.dashboard.url + path)
        return self.page

    def close(self) -> None:
        self.context.close()
        assert not self.wrong, self.wrong


@pytest.fixture
def visit(browser: Browser, shared_dashboard: Dashboard) -> Iterator[Visit]:
    visit = Visit(browser, shared_dashboard)
    yield visit
    visit.close()


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """In the place of the check of all tests: Playwright's threads and descriptors live as long as the module."""
