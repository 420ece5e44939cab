"""Random histories of a cluster: whatever happens, in whatever order, the promises of the core hold.

core_world checks the core's state after every event, and the stream of its commands against what may never happen. The
machine adds a cluster that behaves as badly as a real one: dispatches that never arrive, reports that come twice, late
or from the dead, workers that break, restart and leave, a master that is killed at any point. At the end the cluster is
healed, and every job that was accepted must come to its end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import get_args

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from titan_core.model.states import JobState
from titan_core.scheduling.core.commands import DecommissionWorker
from titan_core.scheduling.core.events import (
    AddRequested,
    AttemptEnded,
    AttemptStarted,
    CloseRequested,
    CordonRequested,
    DecisionMade,
    DispatchRefused,
    LinkBroken,
    LoadMeasured,
    RestartRequested,
    RunSubmitted,
    ScaleRequested,
    TimePassed,
    WorkerLeft,
    WorkerLoad,
    WorkerSilent,
)
from titan_core.scheduling.core.repairs import is_repair
from titan_core.scheduling.core.scheduler_core import CoreLimits
from titan_sdk.errors import BudgetExceeded, Conflict, NotFound, SubmissionRefused
from titan_sdk.messages import (
    DEFAULT_FLOW,
    Accepted,
    ApproveSpec,
    Budget,
    FlowSpec,
    JobKind,
    JobSpec,
    Lease,
    Outcome,
    RepairSpec,
    RunOptions,
    ServiceSpec,
    TriggerRule,
)
from titan_sdk.run_rules import parent_run
from titan_test_suite.pytests.core_world import World

CAPABILITIES = ("GENERAL", "GPU", "HIGH_MEM")
OUTCOMES: tuple[Outcome, ...] = ("completed", "completed", "failed", "cancelled", "timed_out", "handed_back")
MAX_WORKERS = 4
FINAL = (JobState.COMPLETED, JobState.DEAD, JobState.CANCELLED, JobState.SKIPPED)
RULES = get_args(TriggerRule)


@dataclass
class SimulatedWorker:
    """A worker as it is, which is not always what the master believes."""

    worker_id: str
    boots: int = 0
    link: int = 0
    connected: bool = False
    draining: bool = False
    capabilities: tuple[str, ...] = ("GENERAL",)
    slots: int = 2
    cpus: float = 0.0
    memory: int = 0
    gpus: int = 0
    job: str = ""
    arriving: list[Lease] = field(default_factory=list)
    """Dispatched, and on the way."""
    running: list[Lease] = field(default_factory=list)
    unanswered: list[AttemptEnded] = field(default_factory=list)
    """Ended; the report is kept until it is answered."""

    @property
    def boot(self) -> str:
        return f"boot{self.boots}"

    def holding(self) -> tuple[Lease, ...]:
        return (*self.running, *(report.lease for report in self.unanswered))


UPKEEPS = st.none() | st.builds(
    ServiceSpec,
    restart=st.sampled_from(("always", "always", "on-failure", "never")),
    auto_port=st.booleans(),
    lifetime=st.sampled_from(("stopped", "run")),
)


GATES = st.none() | st.builds(
    ApproveSpec,
    message=st.just("Go on?"),
    timeout_s=st.sampled_from((None, 0.5, 4.0)),
    on_timeout=st.sampled_from(("approve", "reject")),
)
PROPOSAL = b'{"titan_repair": {"args": ["-x"]}}'
REPAIRS = st.none() | st.builds(RepairSpec, file=st.just("fix.py"), max=st.integers(1, 2), approve=GATES)
FLOWS = st.none() | st.builds(FlowSpec, trigger=st.sampled_from(RULES), approve=GATES, repair=REPAIRS)
ROOT_FLOWS = st.none() | st.none() | st.builds(FlowSpec, approve=GATES, repair=REPAIRS)
OPTIONS = st.none() | st.builds(
    RunOptions,
    open=st.booleans(),
    fail_fast=st.booleans(),
    idle_s=st.sampled_from((0.0, 3.0)),
    budget=st.none()
    | st.builds(
        Budget,
        max_jobs=st.sampled_from((0, 3, 9)),
        max_depth=st.sampled_from((None, 0, 1)),
        wall_s=st.sampled_from((0.0, 0.0, 4.0)),
    ),
)


@st.composite
def job_specs(draw: st.DrawFn) -> list[JobSpec]:
    """A DAG of one to six jobs under ids from a small set, so that they clash now and then."""
    ids = draw(st.lists(st.sampled_from([f"job{number}" for number in range(40)]), min_size=1, max_size=6, unique=True))
    specs = []
    for index, job_id in enumerate(ids):
        parents = draw(st.lists(st.sampled_from(ids[:index]), unique=True, max_size=3)) if index else []
        kind: JobKind = draw(st.sampled_from(("run", "run", "service", "service", "worker")))
        upkeep = draw(UPKEEPS) if kind == "service" else None
        fixed = draw(st.sampled_from((0, 0, 8000))) if upkeep is None or not upkeep.auto_port else 0
        specs.append(
            JobSpec(
                id=job_id,
                file="script.py",
                kind=kind,
                port={"run": 0, "service": fixed, "worker": 8085}[kind],
                service=upkeep,
                parents=tuple(parents),
                flow=_fitting(draw(FLOWS if parents else ROOT_FLOWS), kind),
                priority=draw(st.sampled_from((-1, 1, 1, 5))),
                delay_ms=draw(st.sampled_from((0, 0, 0, 500, 3000))),
                requirement=tuple(draw(st.sets(st.sampled_from(CAPABILITIES), max_size=2))),
                retries=draw(st.integers(0, 2)),
                affinity=draw(st.booleans()),
                env={"A": "1"} if draw(st.integers(0, 9)) == 0 else {},
                cpus=draw(st.sampled_from((0, 0, 0, 0.5, 1.5))),
                memory=draw(st.sampled_from((0, 0, 0, 3, 10))),
                gpus=draw(st.sampled_from((0, 0, 0, 1, 2))),
            )
        )
    needed = {parent for spec in specs for parent in spec.parents}
    specs = [spec if spec.id in needed else _not_tied(spec) for spec in specs]
    return [draw(_flowing(spec, spec.id in needed or index == 0)) for index, spec in enumerate(specs)]


@st.composite
def _flowing(draw: st.DrawFn, spec: JobSpec, needed: bool) -> JobSpec:
    """The job as it is, or as a handler, or with a condition on what its first parent leaves."""
    if draw(st.integers(0, 3)):
        return spec
    if spec.parents:
        flow = spec.flow or FlowSpec()
        if draw(st.booleans()) and spec.kind == "run" and flow.trigger not in ("one_success", "one_failed"):
            plain = FlowSpec(trigger=flow.trigger, each=f"default(parents.{spec.parents[0]}.list, [])")
            return replace(spec, flow=plain)
        return replace(spec, flow=replace(flow, when=f"'n' in parents.{spec.parents[0]}"))
    if spec.kind == "run" and not needed:
        return replace(spec, flow=FlowSpec(handler=draw(st.sampled_from(("on_failure", "finally")))))
    return spec


def _fitting(flow: FlowSpec | None, kind: JobKind) -> FlowSpec | None:
    """Only jobs that end are repaired."""
    return flow if flow is None or kind == "run" else replace(flow, repair=None)


def _not_tied(spec: JobSpec) -> JobSpec:
    """No service lives as long as its run needs it when no other job depends on it."""
    return replace(spec, service=replace(spec.service, lifetime="stopped")) if spec.service else spec


class ClusterMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World(
            CoreLimits(
                busy_percent=90.0,
                losses_to_quarantine=3,
                idle_lanes=3,
                dead_workers=1,
                executions_per_job=4,
                history_per_worker=3,
                service_calm_s=4,
                crash_loop_after=2,
                crashes_to_move=2,
                rollout_s=4,
                replicas=4,
            )
        )
        self.workers: dict[str, SimulatedWorker] = {}
        self.said: list[AttemptEnded | AttemptStarted | DispatchRefused] = []
        """Everything that was ever reported, to be said again."""
        self.submitted: dict[str, RunSubmitted] = {}
        """By idempotency key."""
        self.accepted: set[str] = set()
        self.looks = 0

    # --- what the cluster does by itself ---

    def do(self, event):
        answer = self.world.do(event)
        self.accepted |= {row.job for row in self.world.journal.repairs.values()}
        self.deliver()
        return answer

    def deliver(self) -> None:
        """Put what was dispatched on its way; what goes to a broken link is lost."""
        for command in self.world.dispatched():
            worker = self.workers[command.worker_id]
            assert worker.connected
            worker.arriving.append(command.lease)

    def pick(self, data, items, label):
        return data.draw(st.sampled_from(list(items)), label=label)

    def connected(self) -> list[SimulatedWorker]:
        return [worker for worker in self.workers.values() if worker.connected]

    # --- clients ---

    @initialize()
    def first_worker(self) -> None:
        self._register(self._new_worker(("GENERAL",), 2))

    @rule(specs=job_specs(), key=st.sampled_from(("", "", "k1", "k2")), options=OPTIONS, data=st.data())
    def submit(self, specs: list[JobSpec], key: str, options: RunOptions | None, data) -> None:
        running = [row.key for row in self.world.journal.in_state(JobState.RUNNING)]
        parent = self.pick(data, ["", *running], "parent")
        event = RunSubmitted(f"run{len(self.accepted)}", "test", tuple(specs), key, parent, options=options)
        active = {row.job_id for row in self.world.journal.jobs.values() if row.state not in FINAL}
        clash = any(spec.id in active for spec in specs) or self._is_being_cancelled(parent)
        known = self.submitted.get(key)
        over_budget = self._over_budget(parent.partition("/")[0], len(specs), new=options)
        try:
            answer = self.do(event)
        except Conflict:
            assert clash or known is not None
            return
        except BudgetExceeded as refusal:
            assert over_budget or "is over" in str(refusal), refusal
            return
        assert not over_budget or answer.repeated
        if known is not None:
            assert answer.repeated and known.jobs == event.jobs
            return
        assert not clash and not answer.repeated
        self.accepted |= set(answer.jobs)
        if key:
            self.submitted[key] = event

    def _is_being_cancelled(self, parent: str) -> bool:
        return bool(parent) and self.world.journal.jobs[parent].ending == "cancel"

    def _over_budget(self, run_id: str, jobs: int, *, new: RunOptions | None = None, deeper: bool = True) -> bool:
        """Whether a budget allows no more so many jobs in that run (``deeper``: below it), by the journal."""
        journal, depth = self.world.journal, int(deeper)
        over = new is not None and new.budget is not None and 0 < new.budget.max_jobs < jobs
        while run_id:
            options = journal.runs[run_id].options
            if options is not None and options.budget is not None:
                budget = options.budget
                used = sum(self._is_below(row.run_id, run_id) for row in journal.jobs.values())
                over |= 0 < budget.max_jobs < used + jobs
                over |= deeper and budget.max_depth is not None and depth > budget.max_depth
            run_id, depth = parent_run(journal.runs[run_id].parent), depth + 1
        return over

    def _is_below(self, run_id: str, top: str) -> bool:
        while run_id and run_id != top:
            run_id = parent_run(self.world.journal.runs[run_id].parent)
        return run_id == top

    @precondition(lambda self: self.world.journal.runs)
    @rule(specs=job_specs(), inside=st.booleans(), data=st.data())
    def add_to_a_run(self, specs: list[JobSpec], inside: bool, data) -> None:
        journal = self.world.journal
        run_id = self.pick(data, journal.runs, "run")
        mine = [row for row in journal.jobs.values() if row.run_id == run_id]
        running = [row.key for row in mine if row.state is JobState.RUNNING]
        parent = self.pick(data, running, "adder") if inside and running else ""
        there = self.pick(data, mine, "parent").job_id
        if all(spec.id != there for spec in specs):
            specs = [replace(specs[0], parents=(there,)), *specs[1:]]
        growth = journal.runs[run_id].growth
        is_open = growth is not None and growth.open
        active = {row.job_id for row in journal.jobs.values() if row.state not in FINAL}
        taken = active | {row.job_id for row in mine}
        possible = not any(spec.id in taken for spec in specs) and (is_open or bool(parent))
        possible = possible and not self._is_being_cancelled(parent)
        is_handler = (journal.specs[f"{run_id}/{there}"].flow or DEFAULT_FLOW).handler
        possible = possible and not (is_handler and there in specs[0].parents)
        over_budget = self._over_budget(run_id, len(specs), deeper=False)
        try:
            answer = self.do(AddRequested(run_id, tuple(specs), "", parent))
        except BudgetExceeded as refusal:
            assert over_budget or "is over" in str(refusal), refusal
        except (Conflict, SubmissionRefused) as refusal:
            assert not possible, refusal
        else:
            assert possible and not over_budget and answer.jobs == [f"{run_id}/{spec.id}" for spec in specs]
            self.accepted |= set(answer.jobs)

    @precondition(lambda self: self.world.journal.runs)
    @rule(data=st.data())
    def close_a_run(self, data) -> None:
        run_id = self.pick(data, self.world.journal.runs, "run")
        self.do(CloseRequested(run_id))
        growth = self.world.journal.runs[run_id].growth
        assert growth is None or not growth.open

    @precondition(lambda self: self.accepted)
    @rule(whole_run=st.booleans(), data=st.data())
    def cancel_a_tree(self, whole_run: bool, data) -> None:
        name = self.pick(data, sorted(self.accepted), "job")
        run_id = name.partition("/")[0]
        self.world.cancel(run_id if whole_run else name, children=True)
        self.deliver()
        rows = self.world.journal.jobs.values()
        runs = self.world.journal.runs
        tops = {run_id} if whole_run else {each for each in runs if runs[each].parent == name}
        for row in rows:
            if row.key == name or any(self._is_below(row.run_id, top) for top in tops):
                flow = self.world.journal.specs[row.key].flow
                cleanup = flow is not None and (flow.trigger == "always" or flow.handler == "finally")
                assert row.state in FINAL or row.ending == "cancel" or cleanup, (
                    f"it was to be cancelled with {name}: {row}"
                )

    def _services(self) -> list[str]:
        specs, rows = self.world.journal.specs, self.world.journal.jobs
        return [key for key in rows if specs[key].kind == "service"]

    @precondition(lambda self: self._services())
    @rule(upkeep=UPKEEPS, data=st.data())
    def replace_a_service(self, upkeep: ServiceSpec | None, data) -> None:
        key = self.pick(data, self._services(), "service")
        spec = _not_tied(replace(self.world.journal.specs[key], parents=(), flow=None, service=upkeep))
        if spec.upkeep.auto_port:
            spec = replace(spec, port=0)
        event = RunSubmitted(f"run{len(self.accepted)}", "test", (spec,), replace=True)
        try:
            self.accepted |= set(self.do(event).jobs)
        except Conflict as refusal:
            key = self.world.core.find_key(spec.id) or ""
            found = self.world.core.services(spec.id, 0)
            changing = any(info.replaces or info.status == "stopping" for info in found)
            waited_for = self.world.journal.jobs[key].attempt == 0
            assert changing or waited_for or self.world.journal.specs[key].kind != "service", refusal

    @precondition(lambda self: self._services())
    @rule(data=st.data())
    def restart_a_service(self, data) -> None:
        name = self.pick(data, self._services(), "service").partition("/")[2]
        before = set(self.world.journal.jobs)
        try:
            self.do(RestartRequested(name, f"run{len(self.accepted)}"))
        except Conflict:
            spec = self.world.journal.specs[self.world.core.find_key(name) or ""]
            assert spec.kind != "service"
        self.accepted |= set(self.world.journal.jobs) - before

    @precondition(lambda self: self._services())
    @rule(count=st.integers(0, 4), data=st.data())
    def scale_a_service(self, count: int, data) -> None:
        name = self.pick(data, self._services(), "service").partition("/")[2]
        try:
            started, stopped = self.do(ScaleRequested(name, count, f"run{len(self.accepted)}"))
        except Conflict:
            return
        assert not set(stopped) & set(started)
        self.accepted |= set(started)

    @precondition(lambda self: self.submitted)
    @rule(data=st.data())
    def submit_again(self, data) -> None:
        event = self.pick(data, self.submitted.values(), "submission")
        answer = self.do(event)
        assert isinstance(answer, Accepted) and answer.repeated
        assert answer.run_id == event.run_id

    @precondition(lambda self: self.accepted)
    @rule(stop=st.booleans(), whole_run=st.booleans(), data=st.data())
    def ask_for_an_end(self, stop: bool, whole_run: bool, data) -> None:
        name = self.pick(data, sorted(self.accepted), "job")
        if whole_run:
            name = name.partition("/")[0]
        (self.world.stop if stop else self.world.cancel)(name)
        self.deliver()

    @precondition(lambda self: self.accepted)
    @rule(approve=st.booleans(), request_id=st.sampled_from(("", "r1", "r2")), data=st.data())
    def somebody_decides(self, approve: bool, request_id: str, data) -> None:
        """What is HELD is decided once; a repeated request hears the first answer, another one who was first."""
        held = sorted(row.key for row in self.world.journal.in_state(JobState.HELD))
        key = self.pick(data, held or sorted(self.accepted), "job")
        rows = [row for row in self.world.journal.approvals.values() if row.key == key]
        try:
            answer = self.do(DecisionMade(key, approve, "me", "", 0, request_id))
        except Conflict:
            assert key not in held
            return
        except NotFound:
            assert key not in self.world.journal.jobs or self.world.core.find_key(key) is None
            return
        if key in held and not (request_id and request_id in [row.request_id for row in rows]):
            assert answer.decision == ("approved" if approve else "rejected")
        else:
            assert answer in rows and answer.request_id == request_id

    @rule(stop=st.booleans())
    def ask_for_the_end_of_nobody(self, stop: bool) -> None:
        try:
            (self.world.stop if stop else self.world.cancel)("nobody")
        except NotFound:
            return
        raise AssertionError("nobody was found")

    # --- time and the master ---

    @rule(seconds=st.sampled_from((0.1, 1.0, 5.0)))
    def time_passes(self, seconds: float) -> None:
        end = self.world.now.monotonic + seconds
        while self.world.alarm is not None and self.world.alarm <= end:
            self.world.pass_time(max(self.world.alarm - self.world.now.monotonic, 0))
            self.deliver()
        self.world.pass_time(end - self.world.now.monotonic)

    @rule()
    def the_clock_watcher_is_early(self) -> None:
        self.do(TimePassed())

    @rule(wall_jump_ms=st.sampled_from((0, 2_000, -3_600_000, 3_600_000)))
    def the_master_is_killed_and_started_again(self, wall_jump_ms: int) -> None:
        journal = self.world.journal
        before = dict(journal.jobs)
        self.world.restart(wall_jump_ms)
        assert journal.jobs == before, "a restart alone changes nothing"
        kept = {info.key: info for info in self.world.core.list_jobs(limit=10_000).jobs}
        for key, row in before.items():
            info = kept[key]
            assert (info.state, info.attempt, info.ready) == (row.state.value, row.attempt, row.ready)
            assert (info.ended_at, info.due_at, info.exit_code) == (row.ended_at, row.due_at, row.exit_code)
            lease = self.world.core.current_lease(key)
            assert (lease is not None) == (row.state is JobState.RUNNING)
            assert lease is None or (lease.attempt, lease.epoch) == (row.attempt, row.epoch)
        longest_s = 8.0  # of all delays and backoffs that are used here
        if any(info.replaces for info in self.world.core.services("", 0)):
            longest_s = 64.0  # of a rollout, with two start deadlines
        assert self.world.alarm is None or self.world.alarm <= self.world.now.monotonic + longest_s
        for worker in self.workers.values():
            worker.connected = False
            worker.draining = False
            worker.arriving.clear()

    # --- workers ---

    def _new_worker(self, capabilities: tuple[str, ...], slots: int) -> SimulatedWorker:
        worker = SimulatedWorker(f"w{len(self.workers)}", capabilities=capabilities, slots=slots)
        self.workers[worker.worker_id] = worker
        return worker

    def _register(self, worker: SimulatedWorker, forgetting: Lease | None = None) -> None:
        worker.arriving.clear()  # whatever was on the way over the old link
        holding = tuple(lease for lease in worker.holding() if lease != forgetting)
        worker.connected = True
        port = 8000 + int(worker.worker_id[1:])
        stale = self.world.register(
            worker.worker_id,
            *worker.capabilities,
            slots=worker.slots,
            boot=worker.boot,
            holding=holding,
            port=port,
            cpus=worker.cpus,
            memory=worker.memory,
            gpus=worker.gpus,
            job=worker.job,
        )
        worker.link = self.world.link
        if any(info.worker_id == worker.worker_id and info.state == "draining" for info in self.world.core.workers()):
            worker.draining = True  # it is a job whose end was asked for before it came
        self.deliver()
        worker.running = [lease for lease in worker.running if lease not in stale and lease != forgetting]
        worker.unanswered = [report for report in worker.unanswered if report.lease not in stale]

    @precondition(lambda self: len(self.workers) < MAX_WORKERS)
    @rule(
        capabilities=st.sets(st.sampled_from(CAPABILITIES), min_size=1),
        slots=st.integers(1, 3),
        cpus=st.sampled_from((0, 1, 2.5)),
        memory=st.sampled_from((0, 7, 20)),
        gpus=st.sampled_from((0, 1, 3)),
    )
    def a_worker_joins(self, capabilities: set[str], slots: int, cpus: float, memory: int, gpus: int) -> None:
        worker = self._new_worker(tuple(sorted(capabilities)), slots)
        worker.cpus, worker.memory, worker.gpus = cpus, memory, gpus
        self._register(worker)

    @rule(data=st.data())
    def a_worker_registers_again(self, data) -> None:
        worker = self.pick(data, self.workers.values(), "worker")
        held = worker.running
        forgetting = self.pick(data, [None, *held], "forgetting") if held else None
        self._register(worker, forgetting)

    @rule(spooled=st.booleans(), data=st.data())
    def a_worker_is_killed_and_started_again(self, spooled: bool, data) -> None:
        worker = self.pick(data, self.workers.values(), "worker")
        worker.boots += 1
        worker.draining = False
        worker.running.clear()
        if not spooled:
            worker.unanswered.clear()
        self._register(worker)

    @precondition(lambda self: self.connected())
    @rule(old_link=st.booleans(), data=st.data())
    def a_link_breaks(self, old_link: bool, data) -> None:
        worker = self.pick(data, self.connected(), "worker")
        if old_link:
            self.do(LinkBroken(worker.worker_id, worker.link - 1, "closed"))
            return
        worker.connected = False
        worker.arriving.clear()
        self.do(LinkBroken(worker.worker_id, worker.link, "reset by peer"))

    @rule(other_boot=st.booleans(), data=st.data())
    def a_worker_is_silent(self, other_boot: bool, data) -> None:
        worker = self.pick(data, self.workers.values(), "worker")
        known = {info.worker_id: info for info in self.world.core.workers()}.get(worker.worker_id)
        boot = worker.boot
        if known is not None and known.slots == 0:
            boot = ""  # restored, and not seen since
        if other_boot:
            self.do(WorkerSilent(worker.worker_id, "another", "silent"))
            return
        worker.connected = False
        worker.arriving.clear()
        self.do(WorkerSilent(worker.worker_id, boot, "silent"))
        assert not self.world.history.held(worker.worker_id)

    @precondition(lambda self: self.connected())
    @rule(data=st.data())
    def a_worker_is_to_drain(self, data) -> None:
        worker = self.pick(data, self.connected(), "worker")
        assert self.world.drain(8000 + int(worker.worker_id[1:])) == worker.worker_id
        worker.draining = True

    @precondition(lambda self: self.connected())
    @rule(undo=st.booleans(), data=st.data())
    def a_worker_is_cordoned_or_taken_back(self, undo: bool, data) -> None:
        worker = self.pick(data, self.connected(), "worker")
        try:
            self.do(CordonRequested("10.0.0.1", 8000 + int(worker.worker_id[1:]), undo=undo))
        except Conflict:
            assert undo and worker.draining

    @precondition(lambda self: self.connected())
    @rule(busy=st.booleans(), seconds=st.sampled_from((1.0, 50.0)))
    def load_is_measured(self, busy: bool, seconds: float) -> None:
        """Whatever else goes on: never too many workers, and nobody is sent away that scaling did not start."""
        self.time_passes(seconds)
        before = self.world.core.workers()
        self.looks += 1
        load = WorkerLoad(99.0 if busy else 5.0, 8 << 30)
        self.do(LoadMeasured(dict.fromkeys(self.workers, load), f"run-scale{self.looks}"))
        self.accepted |= set(self.world.journal.jobs)
        sent_away = [each.worker_id for each in self.world.commands if isinstance(each, DecommissionWorker)]
        assert all(info.scaled and not info.jobs for info in before if info.worker_id in sent_away)
        for name in sent_away:
            self.workers[name].draining = True
        started = [each for each in self.world.dispatched() if each.spec.id.startswith("SCALE-")]
        assert not started or len([info for info in before if info.state != "dead"]) + len(started) <= 5
        assert not (busy and started)

    @precondition(lambda self: len(self.workers) < MAX_WORKERS and self._starting())
    @rule(data=st.data())
    def a_worker_that_was_started_joins(self, data) -> None:
        key = self.pick(data, self._starting(), "job")
        worker = self._new_worker(self.world.journal.specs[key].requirement or ("GENERAL",), 2)
        worker.job = key
        self._register(worker)

    def _starting(self) -> list[str]:
        taken = {worker.job for worker in self.workers.values()}
        running = [row.key for row in self.world.journal.in_state(JobState.RUNNING)]
        return [key for key in running if self.world.journal.specs[key].kind == "worker" and key not in taken]

    @precondition(lambda self: self.connected())
    @rule(data=st.data())
    def a_worker_leaves(self, data) -> None:
        worker = self.pick(data, self.connected(), "worker")
        worker.connected = False
        worker.arriving.clear()
        worker.running.clear()
        worker.unanswered.clear()
        self.do(WorkerLeft(worker.worker_id, worker.boot, "SIGTERM"))
        worker.boots += 1
        assert not self.world.history.held(worker.worker_id)

    # --- attempts ---

    def _tell(self, report: AttemptEnded | AttemptStarted | DispatchRefused):
        """Report, and check that exactly the holder of the current lease is believed."""
        self.said.append(report)
        current = self.world.core.current_lease(report.lease.job) == report.lease
        row = self.world.journal.jobs[report.lease.job]
        believed = current and row.worker_id == report.worker_id
        stale = self.do(report)
        if not isinstance(report, DispatchRefused):
            assert stale is not believed
        after = self.world.journal.jobs[report.lease.job]
        if not believed:
            assert after == row, "a stale report changed something"
        elif not isinstance(report, AttemptStarted):
            assert (after.attempt, after.state) != (row.attempt, JobState.RUNNING)

    @precondition(lambda self: any(worker.arriving for worker in self.workers.values()))
    @rule(refused=st.integers(0, 3), ready=st.booleans(), data=st.data())
    def a_dispatch_arrives(self, refused: int, ready: bool, data) -> None:
        worker = self.pick(data, [worker for worker in self.workers.values() if worker.arriving], "worker")
        lease = worker.arriving.pop(0)
        if refused == 0:
            self._tell(DispatchRefused(worker.worker_id, lease, "saturated"))
            return
        worker.running.append(lease)
        self._tell(AttemptStarted(worker.worker_id, lease, self.world.now.wall, ready))

    @precondition(lambda self: any(worker.running for worker in self.connected()))
    @rule(data=st.data())
    def a_service_is_ready(self, data) -> None:
        worker = self.pick(data, [worker for worker in self.connected() if worker.running], "worker")
        lease = self.pick(data, worker.running, "lease")
        self._tell(AttemptStarted(worker.worker_id, lease, self.world.now.wall, ready=True))

    @precondition(lambda self: any(worker.running for worker in self.workers.values()))
    @rule(outcome=st.sampled_from(OUTCOMES), answered=st.booleans(), data=st.data())
    def an_attempt_ends(self, outcome: Outcome, answered: bool, data) -> None:
        worker = self.pick(data, [worker for worker in self.workers.values() if worker.running], "worker")
        lease = self.pick(data, worker.running, "lease")
        worker.running.remove(lease)
        outputs = b'{"n":%d,"list":[1,2]}' % lease.epoch if outcome == "completed" and lease.epoch % 2 else b""
        if outcome == "completed" and self._repairs(lease):
            outputs = self.pick(data, (b"", PROPOSAL, b'{"titan_repair": 5}'), "proposal")
        code = 0 if outcome == "completed" else 1
        report = AttemptEnded(worker.worker_id, lease, outcome, code, "", 0, 0, 10, outputs)
        if not worker.connected:
            worker.unanswered.append(report)
            return
        self._tell(report)
        if not answered:
            worker.unanswered.append(report)

    @precondition(lambda self: any(worker.arriving or worker.running for worker in self.connected()))
    @rule(outcomes=st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=8), rounds=st.integers(1, 4))
    def the_workers_work(self, outcomes: list[Outcome], rounds: int) -> None:
        """Much at once, so that histories get as far as retries, repairs and children of children."""
        for turn in range(rounds):
            for worker in self.connected():
                for lease in worker.arriving:
                    worker.running.append(lease)
                    self._tell(AttemptStarted(worker.worker_id, lease, self.world.now.wall, ready=turn % 2 == 0))
                worker.arriving = []
                for number, lease in enumerate(list(worker.running)):
                    outcome = outcomes[(turn + number) % len(outcomes)]
                    worker.running.remove(lease)
                    outputs = PROPOSAL if outcome == "completed" and turn % 2 == 0 and self._repairs(lease) else b""
                    code = 0 if outcome == "completed" else 1
                    self._tell(AttemptEnded(worker.worker_id, lease, outcome, code, "", 0, 0, 10, outputs))
            self.time_passes(2.0)

    def _repairs(self, lease: Lease) -> bool:
        return is_repair(self.world.journal.specs[lease.job])

    @precondition(lambda self: any(worker.unanswered for worker in self.connected()))
    @rule(data=st.data())
    def a_report_is_sent_again(self, data) -> None:
        worker = self.pick(data, [worker for worker in self.connected() if worker.unanswered], "worker")
        self._tell(worker.unanswered.pop(0))

    @precondition(lambda self: self.said)
    @rule(data=st.data())
    def something_old_is_said_again(self, data) -> None:
        report = self.pick(data, self.said, "report")
        if not self._still_running_there(report.lease):
            self._tell(report)

    def _still_running_there(self, lease: Lease) -> bool:
        """Nobody reports the end of an attempt that goes on."""
        return any(lease in worker.running or lease in worker.arriving for worker in self.workers.values())

    # --- the promises beyond those of core_world ---

    @invariant()
    def everything_accepted_is_still_known(self) -> None:
        specs = self.world.journal.specs
        instances = {key for key in specs if (specs[key].flow or DEFAULT_FLOW).instance_of}  # made by the master
        assert self.accepted - instances == set(self.world.journal.jobs) - instances

    def teardown(self) -> None:
        """Heal the cluster and let it work: every job that was accepted comes to its one end."""
        for worker in self.workers.values():
            worker.boots += 1
            worker.draining = False
            worker.running.clear()
            worker.unanswered.clear()
            worker.capabilities = CAPABILITIES
            worker.slots = 4
            worker.cpus, worker.memory, worker.gpus = 0, 0, 2
            self._register(worker)
            try:
                self.do(CordonRequested("10.0.0.1", 8000 + int(worker.worker_id[1:]), undo=True))
            except Conflict:  # it is a job, whose end was asked for
                pass
        for run in self.world.core.list_runs(10_000).runs:
            if run.open:  # its handlers wait for that
                self.do(CloseRequested(run.run_id))
        for key in self._services():  # the others end by themselves
            self.world.stop(key)
            self.deliver()
        for _ in range(200):
            for worker in self.workers.values():
                worker.running += worker.arriving
                worker.arriving.clear()
                for lease in list(worker.running):
                    worker.running.remove(lease)
                    self.do(AttemptEnded(worker.worker_id, lease, "completed", 0))
            for row in self.world.journal.in_state(JobState.HELD):
                self.do(DecisionMade(row.key, row.seq % 2 == 0))
            if not any(worker.arriving for worker in self.workers.values()):
                if self.world.alarm is None:
                    break
                self.time_passes(5.0)
        unfinished = [row for row in self.world.journal.jobs.values() if row.state not in FINAL]
        assert not unfinished, unfinished
        for worker in self.workers.values():
            assert not self.world.history.held(worker.worker_id)


ClusterMachine.TestCase.settings = settings(stateful_step_count=60)
TestCluster = ClusterMachine.TestCase
