"""Scheduler: drives the pure core. The one mutex of the engine is here."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar, cast, get_args

from titan_core.scheduling.change_feed import ChangeFeed
from titan_core.scheduling.clock import Clock
from titan_core.scheduling.clock_watcher import ClockWatcher
from titan_core.scheduling.core.commands import (
    Command,
    Effect,
    Record,
    RequestMachines,
)
from titan_core.scheduling.core.events import (
    AddRequested,
    Event,
    LinkBroken,
    RunSubmitted,
    SchedulePut,
    ScheduleTriggered,
    TimePassed,
    WorkerLeft,
    WorkerRegistered,
    WorkerSilent,
)
from titan_core.scheduling.core.idempotency import digest_of
from titan_core.scheduling.core.scheduler_core import SchedulerCore
from titan_core.scheduling.disk_reserve import DiskReserve
from titan_core.scheduling.dispatcher import Dispatcher, Entry, OnDone
from titan_core.scheduling.engine_thread import EngineThread, Fail, end_process
from titan_core.scheduling.heart_beat_executor import HeartBeatExecutor
from titan_core.scheduling.outbox import Outbox
from titan_core.scheduling.run_watchers import EVENTS, RunWatchers, Watch
from titan_core.scheduling.settled_feed import SettledFeed
from titan_core.scheduling.worker_link import WorkerLink, WorkerLinks
from titan_core.storage.store import WAY_OUT, Store, StoreDamaged, StoreError
from titan_sdk.errors import Conflict, DeadlineExceeded, NotFound, TitanError, Unavailable
from titan_sdk.messages import Accepted
from titan_sdk.sizes import counted

logger = logging.getLogger(__name__)

MAX_QUEUED_RECORDS: Final = 10_000
"""Records waiting to be written, some 10 MB: two commits of the Dispatcher, so that it never has to wait for work, and
memory that a burst of submissions took once is not given back. Beyond it submitters wait; what workers report is always
taken, as it is bounded by their slots and refusing it would only bring it again."""
WAIT_FOR_ROOM_S: Final = 10.0
"""A submitter that waited so long for room is refused."""
LONGEST_WATCH_S: Final = 600.0
"""A watch is answered after this time at the latest, so that it does not outlive an asker that went away by much."""

T = TypeVar("T")
_RECORDS: Final = frozenset(get_args(Record))
_SUBMISSIONS: Final = frozenset({RunSubmitted, AddRequested, SchedulePut, ScheduleTriggered})
"""What makes new jobs, and may be told to wait or to come again."""


class EngineSettings(Protocol):
    """The part of the master's settings that the engine reads. Durations in seconds."""

    @property
    def lease_seconds(self) -> float: ...

    @property
    def grace_seconds(self) -> float: ...

    @property
    def finished_jobs_in_memory(self) -> int: ...


class Scheduler:
    """Takes events from any thread, journals what the core makes of them, and delivers it once it is durable.

    Under the mutex an event goes through the core and its commands to the end of the journal queue: no I/O there, no
    callback, nothing that waits. From there on the Dispatcher has it. So the order of the journal is the order in which
    the core decided, and whatever anybody is told is on the disk.

    The store is open before ``start`` and is closed by its owner after ``stop``. ``fail`` ends the process when a
    thread dies, a commit fails or the core breaks its own rules.
    """

    def __init__(
        self,
        core: SchedulerCore,
        store: Store,
        clock: Clock,
        *,
        settings: EngineSettings,
        fail: Fail = end_process,
        request_machines: Callable[[RequestMachines], None] = lambda request: None,
    ) -> None:
        self._core = core
        self._store = store
        self._clock = clock
        self._settings = settings
        self._fail = fail
        self._mutex = threading.Lock()
        self._room = threading.Condition(self._mutex)
        self._waiting_for_room = 0
        self._accepting = False
        self._last_seq = 0
        self._records_put = 0
        self._reserve = DiskReserve(store.free_bytes)
        self._links = WorkerLinks()
        self._watchers = RunWatchers()
        self._clock_watcher = ClockWatcher(fail)
        self._heart_beat = HeartBeatExecutor(settings.lease_seconds, settings.grace_seconds, self._worker_silent, fail)
        self.feed = ChangeFeed(self._clock_watcher)
        self.settled = SettledFeed(self._clock_watcher)
        self._outbox = Outbox(self._links, self._watchers, self._clock_watcher, self._time_passed, request_machines)
        self._dispatcher = Dispatcher(store, self._deliver, fail)

    # --- life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Take up what the store holds and begin.

        Raises:
            StoreDamaged: what the store holds cannot be read.
        """
        begin = time.monotonic()
        collecting = gc.isenabled()
        gc.disable()  # Nothing of what is made here is garbage, and looking for some takes longer than making it.
        try:
            runs = self._store.load(self._settings.finished_jobs_in_memory)
            self._core.restore_cordons(self._store.load_cordons())
            self._core.restore_schedules(*self._store.load_schedules())
            commands = self._core.restore(runs, self._store.last_sequence(), self._clock.now())
            self._core.restore_events(self._store.load_events(self._core.events_kept))
        except KeyError as error:
            raise StoreDamaged(f"a run in the journal lacks a job: {error}. {WAY_OUT}") from error
        finally:
            if collecting:
                gc.enable()
        with self._mutex:
            self._accepting = True
            self._append(*_split(commands))
            workers = self._core.workers()
            jobs = self._core.list_jobs(limit=0).total
        for worker in workers:
            self._heart_beat.remembered(worker.worker_id, "")
        known = f"{counted(jobs, 'job')} and {counted(len(workers), 'worker')}"
        logger.info("restored %s in %.2f s", known, time.monotonic() - begin)
        for thread in self._threads():
            thread.start()

    def stop(self, deadline_s: float) -> bool:
        """End in order within ``deadline_s`` seconds, all joins together; False when a thread did not make it.

        Whoever serves connections has stopped doing so before: a report that comes now is refused, and its worker keeps
        it for the next master.
        """
        deadline = time.monotonic() + deadline_s
        with self._mutex:
            # First nothing new, so that the journal queue has an end.
            self._accepting = False
            self._room.notify_all()
        # Then those that make events by themselves: theirs would be refused from now on.
        self._heart_beat.stop()
        self._clock_watcher.stop()
        # Who waits for a change is told that there is none while the connections can still carry it.
        self._watchers.fire_all()
        self.feed.fire_all()
        self.settled.end()
        # Last the Dispatcher, which writes and delivers everything that was accepted.
        self._dispatcher.stop()
        late = [thread.name for thread in self._threads() if not thread.join(deadline)]
        if late:
            logger.error("still running after %g s: %s", deadline_s, ", ".join(late))
        return not late

    def _threads(self) -> tuple[EngineThread, ...]:
        return self._dispatcher, self._clock_watcher, self._heart_beat

    # --- writing --------------------------------------------------------------------------------------------------

    def post(self, event: Event, on_done: OnDone | None = None) -> None:
        """Tell the core what happened.

        ``on_done`` gets the event's answer once everything that led to it is durable, or the TitanError that the event
        is refused with; on the Dispatcher's thread as a rule, on the caller's when the event did not get as far as the
        core. It must not block. A submission may wait here up to WAIT_FOR_ROOM_S; nothing else waits.
        """
        try:
            if type(event) is RunSubmitted:
                accepted = self._submitted_before(event)
                if accepted is not None:
                    _tell(on_done, accepted)
                    return
            if type(event) in _SUBMISSIONS:
                self._reserve.check()
            with self._mutex:
                if type(event) in _SUBMISSIONS:
                    self._wait_for_room()
                self._handle(event, on_done)
        except TitanError as error:
            _tell(on_done, error)

    def call(self, event: Event, timeout: float = 30.0) -> Any:
        """Post an event and wait for its answer, which is durable then. Not for the Dispatcher's thread.

        Raises:
            DeadlineExceeded: no answer within ``timeout`` seconds; the event may still have been taken.
            TitanError: what the event is refused with.
        """
        return _wait(lambda on_done: self.post(event, on_done), timeout)

    def write(self, records: Sequence[Record], on_done: OnDone) -> None:
        """Write records that the core has no part in, in order with everything else.

        ``on_done`` gets the store's results, once durable, or an Unavailable.
        """
        try:
            self._reserve.check()
            with self._mutex:
                self._wait_for_room()
                self._append(records, (), on_done, wants_results=True)
        except TitanError as error:
            on_done(error)

    def check_room(self) -> None:
        """Return when something new may be written beside the journal; raises Unavailable (see DiskReserve)."""
        self._reserve.check()

    def _submitted_before(self, event: RunSubmitted) -> Accepted | None:
        """The answer when the store has a run with that idempotency key, however long ago it left the core's memory.

        Raises:
            Conflict: the key was used for other jobs.
            Unavailable: the store cannot be read.
        """
        if not event.idempotency_key:
            return None
        try:
            run = self._store.find_submission(event.idempotency_key)
        except StoreError as error:
            raise Unavailable(str(error)) from error
        if run is None:
            return None
        if run.digest != digest_of(event.jobs, event.options):
            raise Conflict(f"idempotency key {event.idempotency_key!r} was used for other jobs, in run {run.run_id}")
        return Accepted(run_id=run.run_id, jobs=[f"{run.run_id}/{spec.id}" for spec in event.jobs], repeated=True)

    def _wait_for_room(self) -> None:
        """With the mutex held: return when the journal queue takes something new.

        Raises:
            Unavailable: it did not within WAIT_FOR_ROOM_S, or the master stops.
        """
        if self._full() and not self._dispatcher.current:
            self._waiting_for_room += 1  # before looking again, so that the Dispatcher sees it or we see its progress
            try:
                self._room.wait_for(lambda: not (self._full() and self._accepting), WAIT_FOR_ROOM_S)
            finally:
                self._waiting_for_room -= 1
            if self._full() and self._accepting:
                raise Unavailable("the master is busy writing what others submitted; try again")
        self._check_accepting()

    def _full(self) -> bool:
        return self._records_put - self._dispatcher.records_written > MAX_QUEUED_RECORDS

    def _check_accepting(self) -> None:
        if not self._accepting:
            raise Unavailable("the master is starting or shutting down")

    def _handle(self, event: Event, on_done: OnDone | None) -> None:
        """With the mutex held: the event through the core, and what comes of it to the journal queue.

        A refusal takes the same way: it may rest on something that is not durable yet.

        Raises:
            Unavailable: the master stops.
        """
        self._check_accepting()
        try:
            commands = self._core.handle(event, self._clock.now())
        except TitanError as error:
            if on_done is not None:
                self._append((), (), on_done, answer=error)
            return
        except BaseException:
            # Half of the event may have happened; the journal holds the state before it.
            self._fail(f"the core could not handle {event!r:.1000}")
            raise
        self._note_worker(event)
        records, effects = _split(commands)
        if records or effects or on_done is not None:
            self._append(records, effects, on_done, event=event)

    def _append(
        self,
        records: Sequence[Record],
        effects: Sequence[Effect],
        on_done: OnDone | None = None,
        *,
        answer: Any = None,
        event: Event | None = None,
        wants_results: bool = False,
    ) -> None:
        """With the mutex held: a new entry at the end of the journal queue."""
        self._last_seq += 1
        self._records_put += len(records)
        self._dispatcher.put(Entry(self._last_seq, records, effects, on_done, answer, event, wants_results))

    def _deliver(self, entry: Entry) -> None:
        """On the Dispatcher's thread, with the entry durable."""
        if self._waiting_for_room:
            with self._mutex:
                self._room.notify_all()
        self._outbox.deliver(entry)
        self.feed.note(entry)
        self.settled.note(entry)

    def _time_passed(self) -> None:
        refusal = ""
        try:
            self._reserve.check()
        except Unavailable as error:
            refusal = str(error)
        self.post(TimePassed(refusal))

    # --- reading --------------------------------------------------------------------------------------------------

    def read(self, query: Callable[[SchedulerCore], T]) -> T:
        """The result of a quick look at the core, under the mutex. It must take nothing with it that changes.

        What it sees may be some milliseconds ahead of the journal; see read_durable.
        """
        with self._mutex:
            return query(self._core)

    def read_durable(self, query: Callable[[SchedulerCore], T], on_result: Callable[[T], None]) -> None:
        """Like ``read``, but ``on_result`` gets the result once everything it rests on is durable: no crash undoes it.

        At once on the caller's thread when nothing waits to be written, else on the Dispatcher's.
        """
        with self._mutex:
            result = query(self._core)
            if self._dispatcher.delivered != self._last_seq and self._accepting:
                self._append((), (), on_result, answer=result)
                return
        on_result(result)

    def watch(
        self, run_id: str, since: int, wait_s: float, on_change: Callable[[], None], *, only_settled: bool = False
    ) -> Watch:
        """Call ``on_change`` once: when the run's version is durably past ``since``, or ``wait_s`` seconds are over.

        With ``only_settled`` changes after this that settle no job, as a dispatch, are passed over.
        Never on the caller's thread, and at the end of the Scheduler at the latest. The caller may ``cancel`` what is
        returned. A ``since`` beyond the version is from before a restart and counts as past.

        Raises:
            NotFound: the run is not in the core's memory.
            Unavailable: too many watches, or the master stops.
        """
        with self._mutex:
            self._check_accepting()
            version = self._core.run_version(run_id)
            if version is None:
                raise NotFound(f"no run {run_id} in memory")
            return self._watch(run_id, version, since, wait_s, on_change, only_settled)

    def watch_events(self, since: int, wait_s: float, on_change: Callable[[], None]) -> Watch:
        """Like ``watch``: call ``on_change`` once there are durable events after number ``since``.

        Raises:
            Unavailable: too many watches, or the master stops.
        """
        with self._mutex:
            self._check_accepting()
            return self._watch(EVENTS, self._core.last_event, since, wait_s, on_change)

    def _watch(
        self,
        name: str,
        version: int,
        since: int,
        wait_s: float,
        on_change: Callable[[], None],
        only_settled: bool = False,
    ) -> Watch:
        """With the mutex held."""
        watch = self._watchers.add(name, self._last_seq, on_change, only_settled)
        if version != since:
            # Through the journal queue, as the change need not be durable yet.
            self._append((), (), lambda _: watch.fire())
        else:
            watch.alarm = self._clock_watcher.call_at(time.monotonic() + min(wait_s, LONGEST_WATCH_S), watch.fire)
        return watch

    # --- workers --------------------------------------------------------------------------------------------------

    def attach(self, worker_id: str, link: WorkerLink) -> None:
        """Make a link known. Before its WorkerRegistered is posted: the link takes over when that is durable."""
        logger.debug("link %d of worker %s", link.link_id, worker_id)
        self._links.attach(link)

    def detach(self, worker_id: str, link_id: int) -> None:
        """The link has ended; nothing is delivered to it any more. LinkBroken is the caller's to post."""
        self._links.detach(worker_id, link_id)

    def sign_of_life(self, worker_id: str) -> None:
        """Something arrived from the worker. Cheap: for every frame."""
        self._heart_beat.sign_of_life(worker_id)

    def silence(self, worker_id: str) -> float:
        """Seconds since the worker's last sign of life; 0 when it is not watched."""
        return self._heart_beat.silence(worker_id)

    def _note_worker(self, event: Event) -> None:
        """With the mutex held: keep the HeartBeatExecutor's list in the order of events."""
        if type(event) is WorkerRegistered:
            self._heart_beat.registered(event.worker_id, event.boot_id, event.link)
        elif type(event) is LinkBroken:
            self._heart_beat.link_broken(event.worker_id, event.link)
        elif type(event) is WorkerLeft or type(event) is WorkerSilent:
            self._heart_beat.forget(event.worker_id, event.boot_id)

    def _worker_silent(self, worker_id: str, boot_id: str, reason: str) -> None:
        with self._mutex:
            if self._accepting and not self._heart_beat.watches(worker_id):  # else it has just registered again
                logger.warning("worker %s is dead: %s", worker_id, reason)
                self._handle(WorkerSilent(worker_id, boot_id, reason), None)


def _split(commands: Sequence[Command]) -> tuple[list[Record], list[Effect]]:
    records = [command for command in commands if type(command) in _RECORDS]
    effects = [command for command in commands if type(command) not in _RECORDS]
    return cast(list[Record], records), cast(list[Effect], effects)


def _tell(on_done: OnDone | None, answer: object) -> None:
    if on_done is not None:
        on_done(answer)
    elif isinstance(answer, TitanError):
        # Unavailable: the master stops, and that is no news.
        logger.log(
            logging.DEBUG if isinstance(answer, Unavailable) else logging.INFO, "an event was refused: %s", answer
        )


def _wait(start: Callable[[OnDone], None], timeout: float) -> Any:
    """Give ``start`` a callback and wait for its call: a plain lock, as an Event costs several times as much."""
    done = threading.Lock()
    done.acquire()
    answers: list[Any] = []

    def finish(answer: Any) -> None:
        answers.append(answer)
        done.release()

    start(finish)
    if not done.acquire(timeout=timeout):
        raise DeadlineExceeded(f"no answer within {timeout:g} s")
    answer = answers[0]
    if isinstance(answer, TitanError):
        raise answer
    return answer
