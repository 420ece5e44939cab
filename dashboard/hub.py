"""The hub: one thread that follows the master and feeds all browsers, at a cost that does not depend on how many."""

from __future__ import annotations

import logging
import os
import queue
import random
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from dashboard import wire
from dashboard.broker import Broker, format_event
from dashboard.cluster_state import ClusterState
from dashboard.gateway import Gateway
from dashboard.history import SAMPLE_S
from dashboard.listings import LISTINGS, Listing
from titan_sdk.errors import ConnectionLost, TitanError, TransportError, Unauthorized
from titan_sdk.messages import (
    ClusterChanges,
    EventList,
    JobInfo,
    ListEvents,
    ListJobs,
    ListRuns,
    Request,
    WatchCluster,
)

log = logging.getLogger(__name__)

WAIT_S: Final = 30.0
"""That a question may wait at the master for something to happen."""
PATIENCE_S: Final = 10.0
"""Beyond that time, before a master that says nothing counts as away."""
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 2.0
JOBS_AT_START: Final = 3_000
RUNS_AT_START: Final = 1_000

Answer = tuple[str, Any]
"""What was asked for, and the answer to it or a TitanError."""


class Hub:
    """Owner of the ClusterState. ``snapshot`` may be called by any thread.

    Args:
        on_jobs: gets the jobs of every change. on_master: called with True when the master is (again) there.
    """

    def __init__(self, gateway: Gateway, broker: Broker, *, on_jobs: Callable[[list[JobInfo]], None]) -> None:
        self._gateway = gateway
        self._broker = broker
        self._on_jobs = on_jobs
        self._lock = threading.Lock()
        self._state = ClusterState()
        self._master: dict[str, Any] = {"up": False, "reason": "connecting", "since": now_ms()}
        self._version = 0
        self._answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self._asked: set[str] = set()
        self._changed: set[str] = set()
        """Listings that have been asked for, and those that have changed since."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hub", daemon=True)
        self.on_master: Callable[[bool], None] = lambda up: None
        self.rounds = 0

    # --- for other threads ----------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._answers.put(None)

    def join(self, deadline_s: float) -> None:
        if self._thread.ident is not None:
            self._thread.join(deadline_s)

    @property
    def master(self) -> dict[str, Any]:
        """Whether it is there, since when, and why not."""
        return self._master

    @property
    def version(self) -> int:
        """Grows with every change."""
        return self._version

    def read(self, query: Callable[[ClusterState], Any]) -> Any:
        """What ``query`` makes of the state, which it must not keep or change."""
        with self._lock:
            return query(self._state)

    def first_events(self, topics: frozenset[str]) -> list[bytes]:
        """What a browser that listens to these topics is told first."""
        events = [format_event("master", self._master)]
        with self._lock:
            if "overview" in topics:
                events.append(format_event("overview", self._state.overview()))
            if "series" in topics:
                events.append(format_event("series", list(self._state.history.samples)))
            if "runs" in topics:
                events.append(format_event("runs", {"all": True, "runs": self._state.newest_runs(500)}))
            if "timeline" in topics:
                executions = list(self._state.executions.values())
                events.append(format_event("executions", {"all": True, "executions": executions}))
            if "events" in topics:
                events.append(format_event("events", {"all": True, "events": self._state.events_of()}))
        return events

    # --- the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._loop()
        except Exception:
            log.exception("the hub failed; the dashboard ends")
            os._exit(70)

    def _loop(self) -> None:
        pause = FIRST_PAUSE_S
        while not self._stopping.is_set():
            try:
                self._load()
                pause = FIRST_PAUSE_S
                self._follow()
            except TitanError as error:
                if self._stopping.is_set():
                    return
                self._away(error)
            self._stopping.wait(pause * random.uniform(0.7, 1.0))
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _load(self) -> None:
        """Everything anew: first from where to go on, then what there is."""
        begin = self._gateway.call(WatchCluster())
        runs = self._gateway.call(ListRuns(limit=RUNS_AT_START))
        jobs = self._gateway.call(ListJobs(limit=JOBS_AT_START)).jobs
        running = self._gateway.call(ListJobs(states=("RUNNING",), limit=JOBS_AT_START)).jobs
        happened = self._gateway.call(ListEvents())
        self._feed, self._since = begin.feed, begin.version
        with self._lock:
            self._state.load(runs.runs, {job.key: job for job in [*jobs, *running]}.values())
            self._state.apply(begin)
            self._state.take_events(happened)
            if not self._state.history.samples:
                self._state.history.backfill(jobs, now_ms())
            self._version += 1
        welcome = self._gateway.welcome
        self._set_master(
            {
                "up": True,
                "since": now_ms(),
                "address": f"{self._gateway.host}:{self._gateway.port}",
                "version": welcome.version if welcome else "",
                "term": welcome.term if welcome else 0,
            }
        )
        self.on_master(True)
        with self._lock:
            overview, all_runs = self._state.overview(), self._state.newest_runs(500)
            executions = list(self._state.executions.values())
            events = self._state.events_of()
        self._broker.publish("events", "events", {"all": True, "events": events})
        self._broker.publish("overview", "overview", overview)
        self._broker.publish("runs", "runs", {"all": True, "runs": all_runs})
        self._broker.publish("timeline", "executions", {"all": True, "executions": executions})

    def _follow(self) -> None:
        """Until the master is gone, or wants to be asked for everything anew."""
        self._answers = queue.SimpleQueue()  # answers to what was asked before the master was away do not count
        self._asked.clear()
        self._ask_changes()
        self._ask_events()
        self._ask_listings()
        next_sample = time.monotonic() + SAMPLE_S
        while not self._stopping.is_set():
            patience = self._asked_at + WAIT_S + PATIENCE_S
            try:
                answer = self._answers.get(timeout=max(0.0, min(next_sample, patience) - time.monotonic()))
            except queue.Empty:
                if time.monotonic() >= patience:
                    raise ConnectionLost("the master has not answered for a while") from None
            else:
                if answer is None or not self._take(*answer):
                    return
            while time.monotonic() >= next_sample:
                self._sample()
                next_sample += SAMPLE_S

    def _take(self, what: str, answer: Any) -> bool:
        """An answer; False: everything has to be asked for anew."""
        if isinstance(answer, TransportError) or (isinstance(answer, TitanError) and what not in LISTINGS):
            raise answer
        if what == "changes":
            if answer.reset:
                return False
            self._apply(answer)
            self._ask_changes()
        elif what == "events":
            self._take_events(answer)
            self._ask_events()
        else:
            self._take_listing(LISTINGS[what], answer)
        return True

    def _ask(self, what: str, request: Request[Any]) -> None:
        answers = self._answers
        self._gateway.send(request, lambda answer: answers.put((what, answer)))

    def _ask_changes(self) -> None:
        self.rounds += 1
        self._asked_at = time.monotonic()
        self._ask("changes", WatchCluster(feed=self._feed, since=self._since, wait_s=WAIT_S))

    def _ask_events(self) -> None:
        self._ask("events", ListEvents(since=self._state.last_event, wait_s=WAIT_S))

    def _ask_listings(self) -> None:
        for listing in LISTINGS.values():
            self._ask_listing(listing)

    def _ask_listing(self, listing: Listing) -> None:
        """When somebody looks at it; one question at a time."""
        if listing.topic in self._asked:
            self._changed.add(listing.topic)
        elif self._broker.has(listing.topic):
            self._asked.add(listing.topic)
            self._changed.discard(listing.topic)
            self._ask(listing.topic, listing.request)

    def _take_events(self, answer: EventList) -> None:
        with self._lock:
            fresh = self._state.take_events(answer)
        if fresh:
            self._broker.publish("events", "events", {"all": False, "events": fresh})

    def _take_listing(self, listing: Listing, answer: Any) -> None:
        self._asked.discard(listing.topic)
        if isinstance(answer, TitanError):
            log.info("no %s: %s", listing.topic, answer)
            return
        with self._lock:
            shown = listing.shown(answer, self._state)
        self._broker.publish(listing.topic, listing.topic, shown)
        if listing.topic in self._changed:
            self._ask_listing(listing)

    def _apply(self, changes: ClusterChanges) -> None:
        self._since = changes.version
        with self._lock:
            executions = self._state.apply(changes)
            self._version += 1
            overview = self._state.overview() if self._broker.has("overview") else None
        if overview is not None:
            self._broker.publish("overview", "overview", overview)
        if changes.runs:
            self._broker.publish("runs", "runs", {"all": False, "runs": [wire.run(run) for run in changes.runs]})
        if executions:
            self._broker.publish("timeline", "executions", {"all": False, "executions": executions})
        self._publish_jobs(changes)
        if changes.jobs:
            self._on_jobs(changes.jobs)
        self._ask_listings()

    def _publish_jobs(self, changes: ClusterChanges) -> None:
        by_run: dict[str, list[JobInfo]] = {}
        for job in changes.jobs:
            by_run.setdefault(job.run_id, []).append(job)
        for run in changes.runs:
            topic = f"run:{run.run_id}"
            if self._broker.has(topic):
                jobs = [wire.job(job) for job in by_run.get(run.run_id, ())]
                self._broker.publish(topic, "jobs", {"run": wire.run(run), "jobs": jobs})

    def _sample(self) -> None:
        with self._lock:
            sample = self._state.history.sample(now_ms(), self._state.counts, self._state.workers)
        self._broker.publish("series", "sample", sample)

    def _away(self, error: TitanError) -> None:
        if self._master["up"] or self._master.get("reason") == "connecting":
            log.warning("the master at %s:%d is away: %s", self._gateway.host, self._gateway.port, error)
            self.on_master(False)
        reason = "it refuses the token" if isinstance(error, Unauthorized) else str(error)
        since = now_ms() if self._master["up"] else self._master["since"]
        if self._master["up"] or self._master.get("reason") != reason:
            self._set_master(
                {
                    "up": False,
                    "reason": reason,
                    "since": since,
                    "address": f"{self._gateway.host}:{self._gateway.port}",
                }
            )

    def _set_master(self, master: dict[str, Any]) -> None:
        self._master = master
        self._broker.publish("master", "master", master)


def now_ms() -> int:
    return time.time_ns() // 1_000_000
