"""A cluster in a storm: a master, workers behind fault proxies, DAGs that keep a ledger, and what is done to them."""

from __future__ import annotations

import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import psutil

from titan_sdk.connection import RpcClient
from titan_sdk.errors import DeadlineExceeded, TransportError, Unavailable
from titan_sdk.messages import GetJob, JobSpec, ListWorkers, Message, Request, SubmitRun, WatchRun, WorkerInfo
from titan_test_suite.pytests.chaos.fault_proxy import DIRECTIONS, FROM_MASTER, TO_MASTER, FaultProxy
from titan_test_suite.pytests.chaos.oracle import (
    LEDGER_JOB,
    Acknowledged,
    Execution,
    Outcome,
    Planned,
    check_final,
    check_run,
    read_ledger,
)
from titan_test_suite.pytests.cluster import ROOT, Cluster, Program, wait_until

LEASE_S: Final = 1.5
MASTER: Final = ("--lease-seconds", str(LEASE_S), "--heartbeat-seconds", "0.3", "--grace-seconds", "1")
WORKER: Final = ("--grace-seconds", "1")
SLOTS: Final = 4
CALM_S: Final = 45.0
"""After a fault everything is over by then; it needs some seconds, and the machine may be busy."""
SETTLE_S: Final = 10.0
"""For processes, threads and files that nobody needs any more to be gone."""
HOLDS_MS: Final = (0, 0, 20, 150, 400)
"""How long jobs take."""
REPORT_OPCODE: Final = 0x12
"""JOB_COMPLETE."""
THREADS_MORE: Final = 6
DESCRIPTORS_MORE: Final = 12
"""What a process may have more after a storm than before it: caches and pools fill up once."""

A = TypeVar("A", bound=Message)


class StormWorker:
    """A worker with a workspace and a proxy of its own, started again when it is killed."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.name = name
        self.proxy = FaultProxy(cluster.port)
        self._cluster = cluster
        self._port = 0
        self.proxy.start()
        self.program = self.start()

    def start(self) -> Program:
        argv = [
            str(ROOT / "titan_core" / "TitanWorker.py"),
            str(self._port),
            "127.0.0.1",
            str(self.proxy.port),
            "GENERAL",
        ]
        argv += ["--workspace", str(self._cluster.root / self.name), "--slots", str(SLOTS), *WORKER]
        self.program = self._cluster.start(self.name, argv)
        self._port = self.program.wait_ready()
        return self.program

    def launcher(self) -> psutil.Process | None:
        """The process that forks jobs, if it is there at the moment."""
        for child in psutil.Process(self.program.pid).children():
            if any("launcher_main" in part for part in child.cmdline()):
                return child
        return None

    def supervisors(self) -> list[psutil.Process]:
        launcher = self.launcher()
        return launcher.children() if launcher else []


class Storm:
    """The cluster, and what was acknowledged to its clients."""

    def __init__(self, cluster: Cluster, ledger: Path, dice: random.Random) -> None:
        self.cluster = cluster
        self.ledger = ledger
        self.dice = dice
        self.acknowledged = Acknowledged()
        self._count = 0
        ledger.mkdir()
        self.master = cluster.start_master(*MASTER)
        self.workers = [StormWorker(cluster, f"worker{n}") for n in range(2)]
        wait_until(lambda: len(self.alive()) == len(self.workers), CALM_S, "all workers are registered")
        self._script = cluster.upload(LEDGER_JOB.encode())
        self._before = self._footprint()

    def stop(self) -> None:
        """The proxies; the programs are the cluster's to end."""
        for worker in self.workers:
            worker.proxy.stop()

    # --- clients --------------------------------------------------------------------------------------------------

    def ask(self, request: Request[A], client: RpcClient | None = None) -> A:
        """The answer, asked for again and again while the master is away."""
        answers: list[A] = []

        def asked() -> bool:
            try:
                answers.append((client or self.cluster.client).call(request, timeout=5.0))
            except (TransportError, DeadlineExceeded, Unavailable):
                return False
            return True

        wait_until(asked, CALM_S, f"an answer to {type(request).__name__}")
        return answers[0]

    def alive(self) -> list[WorkerInfo]:
        return [worker for worker in self.ask(ListWorkers()).workers if worker.state == "alive"]

    def spec(self, job: Planned, hold_ms: int) -> JobSpec:
        return JobSpec(
            id=job.id,
            file="ledger.py",
            sha256=self._script,
            args=(str(self.ledger), str(hold_ms), job.behaviour),
            parents=job.parents,
            retries=0 if job.behaviour == "doomed" else 5,
            fresh=self.dice.random() < 0.1,
        )

    def random_dag(self, size: int) -> tuple[Planned, ...]:
        """Random layers, perhaps a job that fails once and one that leaves daemons; one that fails, and its child."""
        self._count += 1
        name = f"t{self._count}"
        plan: list[Planned] = []
        for n in range(size):
            parents = self.dice.sample(plan, self.dice.randint(0, min(3, len(plan))))
            special = {1: "flaky", 2: "daemon"} if self.dice.random() < 0.5 else {}
            behaviour = special.get(n, "plain")
            plan.append(Planned(f"{name}-{n}", tuple(parent.id for parent in parents), behaviour))
        doomed = Planned(f"{name}-doomed", (plan[0].id,), "doomed", "DEAD")
        return (*plan, doomed, Planned(f"{name}-child", (plan[1].id, doomed.id), "plain", "DEAD"))

    def submit(self, plan: tuple[Planned, ...]) -> str:
        """Submit until it is acknowledged; the run's id."""
        specs = [self.spec(job, self.dice.choice(HOLDS_MS)) for job in plan]
        answer = self.ask(SubmitRun(name=plan[0].id, jobs=specs, idempotency_key=plan[0].id))
        self.acknowledged.runs[answer.run_id] = plan
        return answer.run_id

    def outcomes(self, run_id: str) -> dict[str, Outcome]:
        """What the master says of the jobs of a run."""
        found = {}
        for job in self.acknowledged.runs[run_id]:
            info = self.ask(GetJob(id=f"{run_id}/{job.id}"))
            found[job.id] = Outcome(info.state, info.attempt)
        return found

    # --- a trial --------------------------------------------------------------------------------------------------

    def trial(self, faults: Sequence[Callable[[Storm], None]], size: int, *, late_starts: bool) -> list[str]:
        """A DAG, faults at random moments while it runs, and what was wrong when it was over."""
        plan = self.random_dag(size)
        run_id = self.submit(plan)
        for fault in faults:
            time.sleep(self.dice.uniform(0.0, 0.8))
            fault(self)
            for worker in self.workers:
                worker.proxy.heal()
        wrong = self.finished(run_id, late_starts=late_starts)
        wait_until(lambda: len(self.alive()) == len(self.workers), CALM_S, "all workers are back")
        return wrong + self._left_of(run_id)

    def finished(self, run_id: str, *, late_starts: bool = False) -> list[str]:
        """Wait for the end of a run; what is wrong with it."""
        wait_until(lambda: self.ask(WatchRun(id=run_id)).finished, CALM_S, f"run {run_id} is finished")
        outcomes = self.acknowledged.outcomes[run_id] = self.outcomes(run_id)
        return check_run(self.acknowledged.runs[run_id], outcomes, self._ledger_of(run_id), late_starts=late_starts)

    def _ledger_of(self, run_id: str) -> list[Execution]:
        return [execution for execution in read_ledger(self.ledger) if execution.run_id == run_id]

    def _left_of(self, run_id: str) -> list[str]:
        """Processes of a run that is over."""
        return settled(
            lambda: [f"a process of {run_id} is left: {process}" for process in _processes_of(run_id, self.cluster)]
        )

    def check_all(self) -> list[str]:
        """After the storm: final states are final, no slot is held, nothing has piled up."""
        wrong = []
        for run_id in self.acknowledged.runs.keys() - self.acknowledged.outcomes.keys():
            wrong += self.finished(run_id)
        for run_id, outcomes in self.acknowledged.outcomes.items():
            wrong += check_final(outcomes, self.outcomes(run_id))
            wrong += check_run(self.acknowledged.runs[run_id], outcomes, self._ledger_of(run_id), late_starts=True)
        runs = {execution.run_id for execution in read_ledger(self.ledger)}
        wrong += [f"{run_id} ran, and nobody was told of it" for run_id in runs - self.acknowledged.runs.keys()]
        return wrong + settled(self._held) + settled(self._grown)

    def _held(self) -> list[str]:
        """Slots and results that nobody needs any more."""
        workers = [worker for worker in self.ask(ListWorkers()).workers if worker.busy]
        spooled = [
            path for worker in self.workers for path in (self.cluster.root / worker.name).glob("worker-*/spool/*")
        ]
        busy = [f"worker {worker.worker_id} has {worker.busy} busy slots, and nothing runs" for worker in workers]
        return busy + [f"{path} was never acknowledged" for path in spooled]

    def slots_work(self) -> list[str]:
        """Every slot of every worker still runs a job: all of them at once, or this does not end."""
        plan = tuple(Planned(f"slot-{n}") for n in range(SLOTS * len(self.workers)))
        gate = self.ledger.parent / "gate"
        source = (
            "import os, pathlib, sys, time\n"
            "folder, gate, me, all_of_us = sys.argv[1:]\n"
            "here = pathlib.Path(gate)\n"
            "(here / me).touch()\n"
            "end = time.monotonic() + 60\n"
            "while len(os.listdir(here)) < int(all_of_us) and time.monotonic() < end:\n"
            "    time.sleep(0.01)\n"
            "sys.exit(len(os.listdir(here)) < int(all_of_us))\n"
        )
        gate.mkdir()
        sha256 = self.cluster.upload(source.encode())
        specs = [
            JobSpec(id=job.id, file="gate.py", sha256=sha256, args=("", str(gate), job.id, str(len(plan))), retries=0)
            for job in plan
        ]
        run_id = self.ask(SubmitRun(name="slots", jobs=specs, idempotency_key="slots")).run_id
        wait_until(lambda: self.ask(WatchRun(id=run_id)).finished, 90.0, "every slot runs a job at the same time")
        self.acknowledged.runs[run_id] = plan
        states = {job: outcome.state for job, outcome in self.outcomes(run_id).items()}
        return [f"{job} is {state}: a slot is lost" for job, state in states.items() if state != "COMPLETED"]

    def _footprint(self) -> dict[int, tuple[str, int, int]]:
        """Of each program: threads and descriptors."""
        found = {}
        for program in (self.master, *(worker.program for worker in self.workers)):
            process = psutil.Process(program.pid)
            found[program.pid] = (program.name, process.num_threads(), process.num_fds())
        return found

    def _grown(self) -> list[str]:
        """Programs that lived through the storm and hold more threads or descriptors than before."""
        wrong = []
        for pid, (name, threads, descriptors) in self._footprint().items():
            _, threads_before, descriptors_before = self._before.get(pid, (name, sys.maxsize, sys.maxsize))
            if threads > threads_before + THREADS_MORE:
                wrong.append(f"{name} has {threads} threads, {threads_before} before")
            if descriptors > descriptors_before + DESCRIPTORS_MORE:
                wrong.append(f"{name} has {descriptors} descriptors, {descriptors_before} before")
        return wrong


def settled(look: Callable[[], list[str]]) -> list[str]:
    """What is still wrong after SETTLE_S: threads that send leave after some idle seconds, a verdict has to arrive."""
    end = time.monotonic() + SETTLE_S
    while (wrong := look()) and time.monotonic() < end:
        time.sleep(0.05)
    return wrong


def _processes_of(run_id: str, cluster: Cluster) -> list[str]:
    found = []
    for process in cluster.processes():
        try:
            if process.environ().get("TITAN_RUN_ID") == run_id:
                found.append(f"{process.pid} {' '.join(process.cmdline())}")
        except psutil.Error:
            continue
    return found


# --- faults ---------------------------------------------------------------------------------------------------------


def kill_master(storm: Storm) -> None:
    storm.master.kill()
    storm.master = storm.cluster.start_master(*MASTER)


def freeze_master(storm: Storm) -> None:
    storm.master.freeze()
    time.sleep(storm.dice.uniform(0.1, 2 * LEASE_S))
    storm.master.thaw()


def kill_worker(storm: Storm) -> None:
    worker = storm.dice.choice(storm.workers)
    worker.program.kill()
    time.sleep(storm.dice.choice((0.0, 0.0, 2.0)))  # back at once, or after its grace
    worker.start()


def kill_launcher(storm: Storm) -> None:
    launcher = storm.dice.choice(storm.workers).launcher()
    if launcher is not None:
        launcher.send_signal(signal.SIGKILL)


def kill_supervisor(storm: Storm) -> None:
    supervisors = storm.dice.choice(storm.workers).supervisors()
    if supervisors:
        storm.dice.choice(supervisors).send_signal(signal.SIGKILL)


def freeze_worker(storm: Storm) -> None:
    worker = storm.dice.choice(storm.workers)
    worker.program.freeze()
    time.sleep(storm.dice.uniform(0.1, 2 * LEASE_S))
    worker.program.thaw()


def cut_link(storm: Storm) -> None:
    proxy = storm.dice.choice(storm.workers).proxy
    proxy.refusing = True
    proxy.cut()
    time.sleep(storm.dice.uniform(0.0, 2.5))


def cut_one_direction(storm: Storm) -> None:
    proxy = storm.dice.choice(storm.workers).proxy
    proxy.hold(storm.dice.choice(DIRECTIONS))
    time.sleep(storm.dice.uniform(0.1, 2 * LEASE_S))


def slow_link(storm: Storm) -> None:
    delays = random.Random(storm.dice.random())
    for worker in storm.workers:
        worker.proxy.delay = lambda: delays.uniform(0.0, 0.1)
    time.sleep(1.0)


def single_bytes(storm: Storm) -> None:
    for worker in storm.workers:
        worker.proxy.rule = lambda direction, opcode: "bytes"
    time.sleep(1.0)


def once(storm: Storm, fault: str, direction: str, wanted: Callable[[int], bool] = lambda opcode: True) -> None:
    """Do it to the next frame that fits, on any link, and wait for it; there may be none."""
    done: list[int] = []

    def rule(its_direction: str, opcode: int) -> str:
        if done or its_direction != direction or not wanted(opcode):
            return "pass"
        done.append(opcode)
        return fault

    for worker in storm.workers:
        worker.proxy.rule = rule
    end = time.monotonic() + 1.0
    while not done and time.monotonic() < end:
        time.sleep(0.005)


def reset_mid_frame(storm: Storm) -> None:
    once(storm, "half", storm.dice.choice(DIRECTIONS))


def lose_frame(storm: Storm) -> None:
    once(storm, "lose", storm.dice.choice(DIRECTIONS))


def repeat_frame(storm: Storm) -> None:
    once(storm, storm.dice.choice(("twice", "again")), storm.dice.choice(DIRECTIONS))


def lose_reply_to_completion(storm: Storm) -> None:
    once(storm, "last", TO_MASTER, lambda opcode: opcode == REPORT_OPCODE)


def lose_dispatch(storm: Storm) -> None:
    once(storm, "cut", FROM_MASTER)


def everything(storm: Storm) -> None:
    """Two of the others, one right after the other."""
    for fault in storm.dice.sample([fault for fault, _ in FAULTS.values() if fault is not everything], 2):
        fault(storm)


FAULTS: Final[dict[str, tuple[Callable[[Storm], None], bool]]] = {
    "SIGKILL of the master": (kill_master, False),
    "SIGSTOP of the master": (freeze_master, True),
    "SIGKILL of a worker": (kill_worker, False),
    "SIGKILL of a launcher": (kill_launcher, False),
    "SIGKILL of a supervisor": (kill_supervisor, False),
    "SIGSTOP of a worker across the lease": (freeze_worker, True),
    "link cut in both directions": (cut_link, True),
    "link cut in one direction": (cut_one_direction, True),
    "link slow": (slow_link, True),
    "link byte by byte": (single_bytes, True),
    "link reset in the middle of a frame": (reset_mid_frame, True),
    "frame lost": (lose_frame, True),
    "frame repeated": (repeat_frame, True),
    "reply to a completion lost": (lose_reply_to_completion, True),
    "message of the master lost": (lose_dispatch, True),
    "two faults at once": (everything, True),
}
"""Fault by name, and whether attempts that do not count may start late, as their worker hears nothing meanwhile."""
