"""What a job costs where it can be counted: commits, each an fsync, and frames between master and worker.

Seconds differ from machine to machine; these do not. Whoever needs more of them should know it.
"""

from __future__ import annotations

import collections
import threading
from pathlib import Path

from titan_core.protocol.services.settled import SettledWait
from titan_core.scheduling.core.events import AttemptStarted
from titan_core.scheduling.core.scheduler_core import SchedulerCore
from titan_sdk.protocol import Opcode
from titan_test_suite.pytests.chaos.fault_proxy import FROM_MASTER, TO_MASTER, Fault, FaultProxy
from titan_test_suite.pytests.cluster import Cluster, wait_until
from titan_test_suite.pytests.engine import Engine, completed, run_of

JOBS = 20


def test_a_job_by_itself_costs_two_commits(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    try:
        link = engine.worker("w", 1)
        before = len(engine.store.commits)
        for number in range(JOBS):
            engine.scheduler.call(run_of(f"r{number}", f"job{number}"))
            engine.scheduler.call(completed("w", link.next("dispatch")))
        assert len(engine.store.commits) - before == 2 * JOBS, "acceptance with dispatch, and the result"
    finally:
        engine.close()


def test_jobs_submitted_together_share_commits(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    try:
        link = engine.worker("w", 1, slots=JOBS)
        before = len(engine.store.commits)
        engine.scheduler.call(run_of("run", *(f"job{number}" for number in range(JOBS))))
        leases = [link.next("dispatch") for _ in range(JOBS)]
        assert len(engine.store.commits) - before == 1
        # While one commit is under way the others wait, and go together in the next.
        engine.store.shut()
        for lease in leases:
            engine.scheduler.post(completed("w", lease))
        engine.store.gate.set()
        wait_until(lambda: engine.scheduler.read(lambda core: core.run_info("run")).finished)
        engine.scheduler.call(run_of("last", "last"))
        assert len(engine.store.commits) - before <= 4, "of all results at most two, then the last run"
    finally:
        engine.close()


def test_who_waits_for_a_job_looks_at_its_beginning_and_its_end_alone(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    try:
        run_id = engine.scheduler.call(run_of("run", "job")).run_id
        looks = 0
        told = threading.Event()

        def settled(core: SchedulerCore) -> bool:
            nonlocal looks
            looks += 1
            return core.is_settled(run_id)

        SettledWait(engine.scheduler, run_id, settled, 60.0, told.set, lambda error: None).look()
        link = engine.worker("w", 1)
        lease = link.next("dispatch")  # which changes the run, and settles nothing
        engine.scheduler.call(AttemptStarted("w", lease, 1))
        assert not told.is_set()
        engine.scheduler.call(completed("w", lease))
        assert told.wait(20.0)
        assert looks == 2
    finally:
        engine.close()


def test_a_short_job_costs_four_frames_on_the_link(cluster: Cluster) -> None:
    frames: collections.Counter[tuple[str, int]] = collections.Counter()

    def count(direction: str, opcode: int) -> Fault:
        frames[direction, opcode] += 1
        return "pass"

    cluster.start_master()
    proxy = FaultProxy(cluster.port)
    proxy.rule = count
    proxy.start()
    try:
        master_port, cluster.port = cluster.port, proxy.port
        cluster.start_worker()
        cluster.port = master_port
        cluster.wait_state(cluster.run("print(0)", id="warm-up"))  # fetches the script, warms the interpreter
        source = "print('one')"
        cluster.wait_state(cluster.run(source, id="first"))
        before = frames.copy()
        for number in range(JOBS):
            cluster.wait_state(cluster.run(source, id=f"job-{number}"))
        seen = frames - before
        dispatches, reports = seen[FROM_MASTER, Opcode.SUBMIT_JOB], seen[TO_MASTER, Opcode.JOB_COMPLETE]
        assert (dispatches, reports) == (JOBS, JOBS)
        beats, starts = seen[TO_MASTER, Opcode.HEARTBEAT], seen[TO_MASTER, Opcode.JOB_STARTED]
        # One answer to each. A job that a busy machine takes long for is announced as well; nothing else is said.
        assert sum(seen.values()) <= 2 * (dispatches + reports + beats + starts) + 2
    finally:
        proxy.stop()
