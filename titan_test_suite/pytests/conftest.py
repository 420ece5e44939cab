"""Fixtures for all suites: clusters of real programs, and the check that a test leaves nothing behind.

HYPOTHESIS_PROFILE chooses how hard the property tests try: ``ci`` (the default, always the same examples) or ``long``.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from titan_test_suite.pytests.chaos import table
from titan_test_suite.pytests.cluster import Cluster

settings.register_profile(
    "ci", derandomize=True, max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("long", max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

_FAILED = pytest.StashKey[bool]()
_LEFTOVER_S = 5.0
"""Time that a thread or descriptor of a test has to go away after it."""
_POLL_S = 0.01


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(table)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember a failure for the fixtures, which show the programs' logs then."""
    report = yield
    if report.failed:
        for node in item.listchain():
            node.stash[_FAILED] = True
    return report


@pytest.fixture
def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster of the test's own with nothing started yet."""
    yield from _cluster(tmp_path / "cluster", request)


@pytest.fixture
def small_cluster(cluster: Cluster) -> Cluster:
    """A cluster of the test's own with a master and one worker of four slots."""
    cluster.start_master()
    cluster.start_worker()
    return cluster


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A master and one worker for all tests of a module that leave them as they found them."""
    for cluster in _cluster(tmp_path_factory.mktemp("cluster"), request):
        cluster.start_master()
        cluster.start_worker()
        cluster.workers()  # the connection stands before the first test counts descriptors
        yield cluster


def _cluster(root: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    root.mkdir(exist_ok=True)
    cluster = Cluster(root)
    try:
        try:
            yield cluster
        finally:
            cluster.stop()
    except BaseException:
        print(cluster.logs())  # noqa: T201 - pytest shows it with the failed teardown
        raise
    if request.node.stash.get(_FAILED, False):
        print(cluster.logs())  # noqa: T201 - pytest shows it with the failed test


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """A test that leaves a thread or a file descriptor behind fails.

    Fixtures of a wider scope are set up before this one, so what they hold for the module is not counted.
    """
    threads = set(threading.enumerate())
    descriptors = _descriptors()
    yield

    def threads_left() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread not in threads]

    def descriptors_left() -> dict[int, str]:
        found = {fd: target for fd, target in _descriptors().items() if descriptors.get(fd) != target}
        if found:  # collecting takes tens of milliseconds, too much after each of thousands of small tests
            gc.collect()
            found = {fd: target for fd, target in _descriptors().items() if descriptors.get(fd) != target}
        return found

    end = time.monotonic() + _LEFTOVER_S
    while (threads_left() or descriptors_left()) and time.monotonic() < end:
        time.sleep(_POLL_S)
    assert not threads_left(), "threads left behind"
    assert not descriptors_left(), "file descriptors left open"


def _descriptors() -> dict[int, str]:
    """Open descriptors of this process and what they lead to; empty where there is no /proc."""
    found = {}
    try:
        names = os.listdir("/proc/self/fd")
    except FileNotFoundError:
        return {}
    for name in names:
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the one that listed the folder
            continue
        if not target.startswith(("/dev/", "anon_inode:[eventpoll]")):
            found[int(name)] = target
    return found
