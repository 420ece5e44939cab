"""A submission whose ACK never arrives, repeated by many at once: one run, however often it is asked for."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from titan_sdk.connection import RpcClient
from titan_sdk.errors import TitanError
from titan_sdk.messages import Accepted, JobSpec, SubmitRun
from titan_test_suite.pytests.chaos.fault_proxy import FROM_MASTER, TO_MASTER, FaultProxy
from titan_test_suite.pytests.chaos.oracle import LEDGER_JOB, read_ledger
from titan_test_suite.pytests.chaos.tally import ROUNDS, Tally
from titan_test_suite.pytests.cluster import Cluster

CLIENTS = 20
SUBMIT_OPCODE = 0x04
TRIES = 200
"""Of each client; a master that is killed needs a second to come back."""
PAUSE_S = 0.05


@pytest.fixture
def proxy(small_cluster: Cluster) -> Iterator[FaultProxy]:
    proxy = FaultProxy(small_cluster.port)
    proxy.start()
    yield proxy
    proxy.stop()


class Losses:
    """Cuts the first replies to submissions, and some submissions on their way."""

    def __init__(self, dice: random.Random, replies: int, requests: int) -> None:
        self._dice = random.Random(dice.random())
        self._lock = threading.Lock()
        self._replies = replies
        self._requests = requests
        self.cut = 0
        self._submitted = False

    def __call__(self, direction: str, opcode: int) -> str:
        with self._lock:
            if direction == TO_MASTER and opcode == SUBMIT_OPCODE:
                self._submitted = True
                if self._requests and self._dice.random() < 0.5:
                    self._requests -= 1
                    self.cut += 1
                    return self._dice.choice(("half", "cut"))
            if direction == FROM_MASTER and self._submitted and self._replies:
                self._replies -= 1
                self.cut += 1
                return "cut"
            return "pass"


def submit_at_once(cluster: Cluster, proxy: FaultProxy, request: SubmitRun) -> list[Accepted]:
    """What each of twenty clients is answered in the end."""
    answers: list[Accepted] = []
    begin = threading.Barrier(CLIENTS + 1)

    def submit() -> None:
        with RpcClient("127.0.0.1", proxy.port, token=cluster.token) as client:
            begin.wait()
            for _ in range(TRIES):
                try:
                    answers.append(client.call(request, timeout=5.0))
                except TitanError:
                    time.sleep(PAUSE_S)
                else:
                    return

    threads = [threading.Thread(target=submit) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    begin.wait()
    for thread in threads:
        thread.join(60)
    return answers


def test_one_key_from_twenty_threads(
    small_cluster: Cluster, proxy: FaultProxy, tmp_path: Path, tally: Tally, dice: random.Random
) -> None:
    ledger = tmp_path / "ledger"
    ledger.mkdir()
    sha256 = small_cluster.upload(LEDGER_JOB.encode())
    for n in range(5 * ROUNDS):
        killing = n % 2 == 1
        fault = "submission cut before its ACK" + (", master killed" if killing else "")
        with tally.trial(fault) as violations:
            spec = JobSpec(id=f"job-{n}", file="ledger.py", sha256=sha256, args=(str(ledger), "0", "plain"))
            proxy.rule = Losses(dice, replies=dice.randint(1, 15), requests=dice.randint(0, 5))
            request = SubmitRun(name=f"n{n}", jobs=[spec], idempotency_key=f"key {n}")
            answers = submit_while(small_cluster, proxy, request, dice.uniform(0.0, 0.2) if killing else None)
            proxy.heal()
            runs = {answer.run_id for answer in answers}
            if len(answers) != CLIENTS:
                violations.append(f"{CLIENTS - len(answers)} clients never got an answer")
            if len(runs) != 1:
                violations.append(f"one key made {len(runs)} runs: {sorted(runs)}")
            if not killing and sum(not answer.repeated for answer in answers) > 1:
                violations.append("several clients were told that their submission made the run")
            for run_id in runs:
                small_cluster.wait_run(run_id)
            ran = [execution for execution in read_ledger(ledger) if execution.job_id == spec.id]
            if len(ran) != 1 or ran[0].end is None:
                violations.append(f"{spec.id} ran {len(ran)} times")


def submit_while(cluster: Cluster, proxy: FaultProxy, request: SubmitRun, kill_after_s: float | None) -> list[Accepted]:
    """Twenty clients at once, and perhaps a SIGKILL of the master in the middle."""

    def kill() -> None:
        time.sleep(kill_after_s or 0.0)
        master = next(program for program in reversed(cluster.programs) if program.name == "master")
        master.kill()
        cluster.start_master()

    killer = threading.Thread(target=kill)
    if kill_after_s is not None:
        killer.start()
    answers = submit_at_once(cluster, proxy, request)
    if kill_after_s is not None:
        killer.join(60)
    return answers
