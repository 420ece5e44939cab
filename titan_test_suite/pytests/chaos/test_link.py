"""What a proxy does to single messages between master and worker, one message at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from titan_sdk.messages import Dispatch, JobReport, JobStarted
from titan_sdk.protocol import Opcode
from titan_test_suite.pytests.chaos.fault_proxy import FROM_MASTER, TO_MASTER, FaultProxy
from titan_test_suite.pytests.chaos.oracle import LEDGER_JOB, read_ledger
from titan_test_suite.pytests.chaos.storm import MASTER
from titan_test_suite.pytests.chaos.tally import Tally
from titan_test_suite.pytests.cluster import Cluster, wait_until

ANSWERS: Final = frozenset({Opcode.ACK, Opcode.DATA})
MESSAGES: Final[tuple[tuple[str, frozenset[int]], ...]] = (
    (FROM_MASTER, frozenset({Dispatch.OPCODE})),
    (TO_MASTER, frozenset({JobStarted.OPCODE})),
    (TO_MASTER, frozenset({JobReport.OPCODE})),
    (FROM_MASTER, ANSWERS),
    (TO_MASTER, ANSWERS),
)


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[FaultProxy]:
    """Between the cluster's one worker and its master."""
    cluster.start_master(*MASTER)
    proxy = FaultProxy(cluster.port)
    proxy.start()
    master_port, cluster.port = cluster.port, proxy.port
    cluster.start_worker()
    cluster.port = master_port
    try:
        yield proxy
    finally:
        proxy.stop()


@pytest.mark.parametrize("fault", ["lose", "twice", "again", "half", "last", "cut"])
def test_every_message_of_a_jobs_life(
    fault: str, proxy: FaultProxy, cluster: Cluster, tmp_path: Path, tally: Tally
) -> None:
    """Each kind of message is harmed once, in a job of its own: it completes, and each attempt ran once at most."""
    ledger = tmp_path / "ledger"
    ledger.mkdir()
    for n, (direction, opcodes) in enumerate(MESSAGES):
        done: list[int] = []

        def rule(its_direction: str, opcode: int, direction=direction, opcodes=opcodes, done: list[int] = done) -> str:
            if done or its_direction != direction or opcode not in opcodes:
                return "pass"
            done.append(opcode)
            return fault

        with tally.trial(f"one message: {fault}") as violations:
            proxy.rule = rule
            key = cluster.run(LEDGER_JOB, id=f"job-{n}", args=(str(ledger), "200", "plain"))
            info = cluster.wait_state(key, deadline=30)
            assert done, f"no message of {direction} {opcodes} was sent"
            wait_until(lambda: [worker.busy for worker in cluster.workers() if worker.state == "alive"] == [0], 20)
            ran = [execution for execution in read_ledger(ledger) if execution.job_id == f"job-{n}"]
            attempts = [execution.attempt for execution in ran]
            if info.state != "COMPLETED" or info.attempt not in attempts:
                violations.append(f"{info.state} as attempt {info.attempt}, and {attempts} ran: {info.reason}")
            if len(set(attempts)) != len(attempts):
                violations.append(f"an attempt ran twice: {attempts}")
            if max(attempts, default=0) > info.attempt:
                violations.append(f"{attempts} ran, and {info.attempt} was accepted")
