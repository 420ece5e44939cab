"""The scaling policy on a virtual clock: bursts, ramps and sawtooths of work, on a whole simulated cluster.

Whatever the load does: never more workers than allowed, nobody with work or from outside is sent away, a worker
that was started stays for as long as it may idle, work that waits gets the workers it needs, and in the end all go.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from titan_core.scheduling.core.commands import Answer, Command, DecommissionWorker, DispatchJob, SetAlarm
from titan_core.scheduling.core.events import (
    AttemptEnded,
    Instant,
    LoadMeasured,
    RunSubmitted,
    TimePassed,
    WorkerLeft,
    WorkerLoad,
    WorkerRegistered,
)
from titan_core.scheduling.core.scheduler_core import CoreLimits, SchedulerCore
from titan_sdk.messages import JobSpec, Lease

TICK_S = 15.0
IDLE_S = 45.0
START_S = 2.0
"""From its dispatch to the registration of a worker."""
SLOTS = 4
IDLE_MACHINE = WorkerLoad(10.0, 8 << 30)


@dataclass(frozen=True)
class Arrival:
    at: float
    count: int
    duration: float


@dataclass
class Node:
    """A worker of the simulation; ``lease`` is the job that it is, on ``host``; None for one that a person started."""

    worker_id: str
    port: int
    lease: Lease | None
    joined: float
    host: str = ""
    idle_since: float = 0.0
    running: dict[Lease, JobSpec] = field(default_factory=dict)


@dataclass(frozen=True)
class Start:
    """A worker that is about to come, of that host."""

    host: str
    lease: Lease


class Simulation:
    """Real core, simulated workers; time jumps from one thing to the next."""

    def __init__(self, max_workers: int, *, permanent: bool = False) -> None:
        self.max_workers = max_workers
        self.core = SchedulerCore(
            CoreLimits(max_workers=max_workers, idle_s=IDLE_S, busy_percent=90.0, open_jobs=10**6)
        )
        self.time = 0.0
        self.load = IDLE_MACHINE
        self.nodes: dict[str, Node] = {}
        self.peak = 1
        self.ups: list[tuple[float, int, int, bool]] = []
        """Time, jobs waiting, slots, and whether jobs waited at the look before, of each look that started workers."""
        self.downs: list[tuple[float, float]] = []
        """When, and how long the worker had been there."""
        self.coming = 0
        self._order = itertools.count()
        self._ids = itertools.count(1)
        self._ports = itertools.count(8081)
        self._due: list[tuple[float, int, object]] = []
        self._waited_before = False
        self._later(TICK_S, "tick")
        self._join(Node("root", 8080, None, 0.0), permanent)

    # --- events to the core ---

    def _do(self, event) -> list[Command]:
        commands = self.core.handle(event, Instant(self.time, int(self.time * 1000)))
        for command in commands:
            if isinstance(command, DispatchJob):
                self._dispatched(command)
            elif isinstance(command, DecommissionWorker):
                self._sent_away(command)
            elif isinstance(command, SetAlarm):
                self._later(command.at - self.time, "alarm")
            assert not isinstance(command, Answer) or not isinstance(command.value, Exception)
        self.peak = max(self.peak, len(self.nodes) + self.coming)
        assert len(self.nodes) + self.coming <= self.max_workers
        return commands

    def _join(self, node: Node, permanent: bool = False) -> None:
        self.nodes[node.worker_id] = node
        self._do(
            WorkerRegistered(
                node.worker_id, "boot", node.port, "10.0.0.1", node.port, frozenset({"GENERAL"}), SLOTS, permanent,
                holding=(), cores=8, machine="m", job=node.lease.job if node.lease else "",
            )
        )  # fmt: skip

    def _dispatched(self, command: DispatchJob) -> None:
        if command.spec.kind == "worker":
            self.coming += 1
            self._later(START_S, Start(command.worker_id, command.lease))
            return
        self.nodes[command.worker_id].running[command.lease] = command.spec
        self._later(float(command.spec.args[0]), (command.worker_id, command.lease))

    def _sent_away(self, command: DecommissionWorker) -> None:
        node = self.nodes.pop(command.worker_id)
        assert node.lease is not None, "a worker that a person started was sent away"
        assert not node.running, "a worker with work was sent away"
        assert node.port == max(each.port for each in (node, *self._idle())), "the highest port goes first"
        self.downs.append((self.time, self.time - node.joined))
        self._later(0.1, node)

    def _idle(self) -> list[Node]:
        """Those that could go, of whoever scaling has started."""
        leases = {info.worker_id: info.jobs for info in self.core.workers()}
        return [
            node
            for node in self.nodes.values()
            if node.lease and not leases[node.worker_id] and self.time - node.idle_since >= IDLE_S
        ]

    # --- time ---

    def _later(self, seconds: float, what: object) -> None:
        heapq.heappush(self._due, (self.time + max(seconds, 0.0), next(self._order), what))

    def run(self, arrivals: list[Arrival], until: float) -> None:
        for arrival in arrivals:
            heapq.heappush(self._due, (arrival.at, next(self._order), arrival))
        while self._due and self._due[0][0] <= until:
            self.time, _, what = heapq.heappop(self._due)
            self._happen(what)

    def _happen(self, what: object) -> None:
        if what == "tick":
            self._look()
            self._later(TICK_S, "tick")
        elif what == "alarm":
            self._do(TimePassed())
        elif isinstance(what, Arrival):
            specs = tuple(
                JobSpec(id=f"j{next(self._ids)}", file="a.py", args=(str(what.duration),)) for _ in range(what.count)
            )
            self._do(RunSubmitted(f"run{next(self._ids)}", "load", specs))
        elif isinstance(what, Start):
            self.coming -= 1
            name, port = f"w{next(self._ids)}", next(self._ports)
            self._join(Node(name, port, what.lease, self.time, what.host, self.time))
        elif isinstance(what, Node):  # it has ended
            assert what.lease is not None
            self._do(WorkerLeft(what.worker_id, "boot", "decommissioned"))
            self._ended(what.host, what.lease)
        elif isinstance(what, tuple):
            worker_id, lease = what
            del self.nodes[worker_id].running[lease]
            self._ended(worker_id, lease)

    def _ended(self, worker_id: str, lease: Lease) -> None:
        self.nodes[worker_id].idle_since = self.time
        self._do(AttemptEnded(worker_id, lease, "completed", 0))

    def _look(self) -> None:
        waiting = self.waiting
        coming = self.coming
        slots = SLOTS * len(self.nodes)
        self.core.check_invariants()
        self._do(LoadMeasured(dict.fromkeys(self.nodes, self.load), f"run-scale{next(self._ids)}"))
        if self.coming > coming:
            self.ups.append((self.time, waiting, slots, self._waited_before))
            assert waiting > slots or (waiting and self._waited_before), "nothing that is over in a moment counts"
            assert self.coming - coming <= max(1, len(self.nodes)), "at most doubled at one look"
        self._waited_before = waiting > 0

    @property
    def waiting(self) -> int:
        return int(self.core.stats_json()["queue_size"])


@st.composite
def loads(draw: st.DrawFn) -> list[Arrival]:
    """Bursts, ramps up and down, sawtooths, and a bit of each."""
    arrivals: list[Arrival] = []
    begin = 0.0
    for _ in range(draw(st.integers(1, 3))):
        shape = draw(st.sampled_from(("burst", "ramp", "sawtooth", "trickle")))
        duration = draw(st.sampled_from((0.05, 1.0, 7.0, 30.0)))
        size = draw(st.integers(1, 60))
        period = draw(st.sampled_from((1.0, 14.9, 15.0, 20.0, 46.0, 70.0)))
        steps = draw(st.integers(1, 8))
        for step in range(steps):
            at = begin + step * period
            if shape == "burst":
                arrivals.append(Arrival(at, size if step == 0 else 1, duration))
            elif shape == "ramp":
                arrivals.append(Arrival(at, 1 + size * step // steps, duration))
            elif shape == "sawtooth":
                arrivals.append(Arrival(at, size if step % 2 else 1, duration))
            else:
                arrivals.append(Arrival(at, 1, duration))
        begin += steps * period + draw(st.sampled_from((0.0, 10.0, 100.0, 300.0)))
    return arrivals


@given(arrivals=loads(), max_workers=st.integers(1, 6), permanent=st.booleans())
def test_whatever_the_load_does(arrivals: list[Arrival], max_workers: int, permanent: bool) -> None:
    simulation = Simulation(max_workers, permanent=permanent)
    end = max(arrival.at for arrival in arrivals)
    work = sum(arrival.count * arrival.duration for arrival in arrivals)
    simulation.run(arrivals, end + work + 60.0)
    assert simulation.waiting == 0 and not any(node.running for node in simulation.nodes.values())
    assert all(lived >= IDLE_S for _, lived in simulation.downs), "it was started in vain"
    ups = [at for at, *_ in simulation.ups]
    for down, _ in simulation.downs:
        assert down not in ups, "up and down at the same look"
    # After the last work all that were started idle, and one goes at each look; a host of others after them.
    rest = 2 * (IDLE_S + START_S) + (max_workers + 2) * TICK_S
    simulation.run([], simulation.time + rest)
    assert list(simulation.nodes) == ["root"] and not simulation.coming


@given(max_workers=st.integers(2, 6), duration=st.sampled_from((1.0, 5.0, 20.0)))
def test_work_that_keeps_waiting_gets_all_workers_that_may_be(max_workers: int, duration: float) -> None:
    simulation = Simulation(max_workers)
    # More than all of them can do, for a while.
    total = int(max_workers * SLOTS * 200 / duration) + 60
    looks = max_workers.bit_length() + 1
    simulation.run([Arrival(0.0, total, duration)], TICK_S * looks + START_S + 1)
    assert len(simulation.nodes) == max_workers


@given(size=st.integers(1, 4), period=st.sampled_from((15.0, 16.0, 30.0)))
def test_what_the_slots_can_do_by_themselves_starts_nobody(size: int, period: float) -> None:
    """A sawtooth that is over long before the next look."""
    simulation = Simulation(5)
    simulation.run([Arrival(period * step, 2 * size, 1.0) for step in range(20)], period * 25)
    assert simulation.peak == 1


@given(load=st.sampled_from((WorkerLoad(97.0, 8 << 30), WorkerLoad(10.0, 100 << 20))))
def test_a_machine_without_room_gets_nobody(load: WorkerLoad) -> None:
    simulation = Simulation(5)
    simulation.load = load
    simulation.run([Arrival(0.0, 100, 5.0)], 200.0)
    assert simulation.peak == 1
    kinds = [event.kind for event in simulation.core.events_since(0).events]
    assert 1 <= kinds.count("machines-wanted") <= 4, "asked for again, but less and less often"
