"""SIGKILL at the n-th fsync, and the order of fsync and answer, as the kernel sees them (strace)."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from titan_test_suite.pytests.chaos.tally import ROUNDS, Tally
from titan_test_suite.pytests.crash_facts import ROOT, Facts, check_facts, run_under

SYNCS = "fsync,fdatasync"
KILLED = 128 + 9
"""strace ends as its program did, and a shell would say so; strace itself dies of the same signal."""
ACKS = 5

ONE_BY_ONE = f"""
import os, pathlib, sys
from titan_test_suite.pytests.engine import Engine, run_of
engine = Engine(pathlib.Path(sys.argv[1]))
for n in range({ACKS}):
    engine.scheduler.call(run_of(f"run-{{n}}", f"job-{{n}}"))
    os.write(1, b"acknowledged\\n")
engine.close()
"""


@pytest.fixture
def strace(tally: Tally, tmp_path: Path) -> str:
    """The path of an strace that works; skips where there is none, or tracing is not allowed."""
    path = shutil.which("strace")
    probe = [path or "strace", "-f", "-o", str(tmp_path / "probe"), "-e", f"trace={SYNCS}", sys.executable, "-c", ""]
    if path is None or subprocess.run(probe, capture_output=True, timeout=30, check=False).returncode:
        reason = "strace is not there or may not trace"
        tally.skipped["SIGKILL at the n-th fsync"] = reason
        pytest.skip(reason)
    return path


def test_sigkill_at_the_nth_fsync(strace: str, tmp_path: Path, tally: Tally, dice: random.Random) -> None:
    facts: Facts = []
    for round_ in range(4 * ROUNDS):
        # The first few are those of opening and making the database.
        nth = dice.randint(1, 15) if round_ % 2 else dice.randint(10, 80)
        tracer = [
            strace,
            "-f",
            "-o",
            "/dev/null",
            "-e",
            f"trace={SYNCS}",
            "-e",
            f"inject={SYNCS}:signal=KILL:when={nth}",
        ]
        with tally.trial("SIGKILL at the n-th fsync"):
            code, said = run_under(tracer, tmp_path / "data", round_)
            assert code in (-9, KILLED), f"the master ended with {code} before its {nth}th fsync"
            facts += said
            check_facts(tmp_path / "data", facts)


def test_an_answer_follows_its_fsync(strace: str, tmp_path: Path, tally: Tally) -> None:
    trace = tmp_path / "trace"
    command = [strace, "-f", "-y", "-o", str(trace), "-e", f"trace={SYNCS},write", sys.executable, "-c", ONE_BY_ONE]
    with tally.trial("answer before its fsync", count=ACKS):
        subprocess.run([*command, str(tmp_path / "data")], capture_output=True, cwd=ROOT, timeout=60, check=True)
        synced = False
        acknowledged = 0
        for line in trace.read_text().splitlines():
            if re.search(r"f(data)?sync\(\d+<[^>]*titan\.db-wal>", line):
                synced = True
            elif "write(1<" in line and "acknowledged" in line:
                acknowledged += 1
                assert synced, f"answer {acknowledged} came without an fsync of the journal"
                synced = False
        assert acknowledged == ACKS
