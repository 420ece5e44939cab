"""The oracle sees what it is there to see."""

from __future__ import annotations

from pathlib import Path

import pytest

from titan_test_suite.pytests.chaos.oracle import Execution, Outcome, Planned, check_final, check_run, read_ledger

PLAN = (
    Planned("a"),
    Planned("b", ("a",)),
    Planned("bad", (), "doomed", "DEAD"),
    Planned("c", ("bad",), "plain", "DEAD"),
)
OUTCOMES = {
    "a": Outcome("COMPLETED", 2),
    "b": Outcome("COMPLETED", 1),
    "bad": Outcome("DEAD", 1),
    "c": Outcome("DEAD", 0),
}


def ran(job: str, attempt: int, start: int, end: int | None, pid: int = 1) -> Execution:
    return Execution("run", job, attempt, pid, start, end)


LEDGER = (ran("a", 1, 10, None), ran("a", 2, 20, 30), ran("b", 1, 31, 40), ran("bad", 1, 12, 13))


def test_a_run_without_fault_is_left_alone() -> None:
    assert check_run(PLAN, OUTCOMES, LEDGER) == []


@pytest.mark.parametrize(
    ("outcomes", "ledger", "text"),
    [
        ({"b": None}, LEDGER, "accepted and is gone"),
        ({"b": Outcome("DEAD", 1)}, LEDGER, "should be COMPLETED"),
        ({"b": Outcome("COMPLETED", 2)}, LEDGER, "never came to its end"),
        ({}, LEDGER[:2], "never came to its end"),
        ({"a": Outcome("COMPLETED", 1)}, LEDGER, "ran as attempt 2"),
        ({}, (*LEDGER, ran("b", 1, 33, 39, pid=2)), "ran 2 times"),
        ({}, (*LEDGER[:2], ran("b", 1, 29, 40), LEDGER[3]), "before its parent a"),
        ({}, (*LEDGER, ran("c", 1, 50, 51)), "before its parent bad"),
        ({}, (*LEDGER, ran("x", 1, 50, 51)), "nobody submitted"),
        ({}, (ran("a", 1, 35, None), *LEDGER[1:]), "began after attempt 2"),
    ],
)
def test_what_is_wrong_is_seen(outcomes, ledger, text: str) -> None:
    told = {job: outcome for job, outcome in {**OUTCOMES, **outcomes}.items() if outcome is not None}
    wrong = check_run(PLAN, told, ledger)
    assert any(text in line for line in wrong), wrong


def test_a_revived_job_is_seen() -> None:
    assert check_final(OUTCOMES, OUTCOMES) == []
    assert check_final(OUTCOMES, {**OUTCOMES, "bad": Outcome("COMPLETED", 2)})
    assert check_final(OUTCOMES, {})


def test_the_ledger_is_read_as_the_jobs_write_it(tmp_path: Path) -> None:
    (tmp_path / "run~a~2~77").write_text("start 5\nend 9\n")
    (tmp_path / "run~b~1~78").write_text("start 6\n")
    (tmp_path / "run~c~1~79").write_text("")
    assert sorted(read_ledger(tmp_path), key=lambda e: e.start) == [
        Execution("run", "a", 2, 77, 5, 9),
        Execution("run", "b", 1, 78, 6, None),
    ]
