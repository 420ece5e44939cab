"""What a proxy does to single messages between master and worker, one message at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest

from titan_sdk.messages import Dispatch, JobReport, JobStarted
from titan_sdk.protocol import Opcode
from titan_test_suite.pytests.chaos.fault_proxy import FROM_MASTER, TO_MASTER, Fault, FaultProxy
from titan_test_suite.pytests.chaos.oracle import LEDGER_JOB, read_ledger
from titan_test_suite.pytests.chaos.storm import MASTER
from titan_test_suite.pytests.chaos.tally import Tally
from titan_test_suite.pytests.cluster import Cluster, wait_until

FAULTS: Final = ("lose", "twice", "again", "half", "last", "cut")
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
    try:
        cluster.start_worker()
        cluster.port = master_port
        yield proxy
    finally:
        proxy.stop()


def test_every_message_of_a_jobs_life(proxy: FaultProxy, cluster: Cluster, tmp_path: Path, tally: Tally) -> None:
    """Each kind of message is harmed once in each way, in a job of its own: it completes, and no attempt ran twice."""
    ledger = tmp_path / "ledger"
    ledger.mkdir()
    script = cluster.job(LEDGER_JOB, args=(str(ledger), "200", "plain"))
    for fault, (n, (direction, opcodes)) in itertools.product(FAULTS, enumerate(MESSAGES)):
        with tally.trial(f"one message: {fault}") as violations:
            harm = OneMessage(fault, direction, opcodes)
            proxy.rule = harm
            job_id = f"{fault}-{n}"
            key = f"{cluster.submit(msgspec.structs.replace(script, id=job_id)).run_id}/{job_id}"
            info = cluster.wait_state(key, deadline=30)
            assert harm.done, f"no message of {opcodes} was sent {direction}"
            wait_until(lambda: [worker.busy for worker in cluster.workers() if worker.state == "alive"] == [0], 20)
            proxy.heal()
            attempts = [execution.attempt for execution in read_ledger(ledger) if execution.job_id == job_id]
            if info.state != "COMPLETED" or info.attempt not in attempts:
                violations.append(f"{info.state} as attempt {info.attempt}, and {attempts} ran: {info.reason}")
            if len(set(attempts)) != len(attempts):
                violations.append(f"an attempt ran twice: {attempts}")
            if max(attempts, default=0) > info.attempt:
                violations.append(f"{attempts} ran, and {info.attempt} was accepted")


class OneMessage:
    """A rule that harms the first message of these."""

    def __init__(self, fault: Fault, direction: str, opcodes: frozenset[int]) -> None:
        self._fault = fault
        self._direction = direction
        self._opcodes = opcodes
        self.done = False

    def __call__(self, direction: str, opcode: int) -> Fault:
        if self.done or direction != self._direction or opcode not in self._opcodes:
            return "pass"
        self.done = True
        return self._fault
