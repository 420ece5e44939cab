"""A run on a screen: what is shown of many jobs in little room, and of each change."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from titan_sdk.messages import JobInfo, RunInfo
from titan_sdk.run_view import MAX_ROWS, LiveView, PlainView, causes, print_failure, print_result


def job(name: str, state: Any, **fields: Any) -> JobInfo:
    return JobInfo(key=f"run-1/{name}", id=name, run_id="run-1", file="a.py", state=state, **fields)


def run(*jobs: JobInfo) -> RunInfo:
    return RunInfo(run_id="run-1", name="x", version=1, finished=False, jobs=list(jobs))


def console(height: int = 25) -> Console:
    return Console(file=io.StringIO(), width=100, height=height, markup=False, highlight=False)


def written(on: Console) -> str:
    assert isinstance(on.file, io.StringIO)
    return on.file.getvalue()


def drawn(view: LiveView, on: Console) -> list[str]:
    on.print(view._drawn())
    return written(on).splitlines()


def test_a_line_for_each_change(capsys: pytest.CaptureFixture[str]) -> None:
    view = PlainView()
    view.show(run(job("a", "PENDING"), job("bc", "WAITING"), job("d", "PENDING", reason="no worker with GPU")))
    view.show(run(job("a", "RUNNING", worker="w:1", attempt=1, started_at=1000)))
    view.show(run(job("a", "RUNNING", worker="w:1", attempt=1, started_at=1000)))
    view.show(run(job("a", "DELAYED", attempt=1, exit_code=1, reason="exit code 1")))
    view.show(run(job("a", "PENDING", attempt=1)))
    view.show(run(job("a", "RUNNING", worker="w:2", attempt=2, started_at=2000)))
    view.show(run(job("a", "COMPLETED", attempt=2, exit_code=0, started_at=2000, ended_at=3500)))
    view.show(run(job("bc", "RUNNING", worker="w:1", attempt=1, ready=True)))
    view.show(run(job("e", "CANCELLED", reason="cancelled\n\033[2J")))
    lines = [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in capsys.readouterr().out.splitlines()]
    assert [" ".join(line.split()) for line in lines] == [
        "d PENDING: no worker with GPU",
        "a RUNNING on w:1",
        "a DELAYED: exit code 1",
        "a PENDING",
        "a RUNNING on w:2, attempt 2",
        "a COMPLETED after 1.5s",
        "bc RUNNING (ready) on w:1",
        "e CANCELLED: cancelled \ufffd[2J",
    ]


def test_all_jobs_are_drawn_when_there_is_room() -> None:
    on = console()
    view = LiveView(on)
    assert drawn(view, on) == [""], "nothing is known yet"
    view.show(run(job("b", "COMPLETED"), job("a", "DEAD", reason="exit code 3"), job("c", "WAITING")))
    text = drawn(view, on)[1:]
    assert text[0] == "1 WAITING, 1 COMPLETED, 1 DEAD"
    assert [line.split()[0] for line in text[2:]] == ["b", "a", "c"], "in the order of the file"
    assert "exit code 3" in text[3]


def test_of_many_jobs_those_are_drawn_that_matter() -> None:
    on = console(height=8)
    view = LiveView(on)
    jobs = [job(f"done-{n}", "COMPLETED") for n in range(50)]
    jobs += [job(f"next-{n}", "WAITING") for n in range(50)]
    view.show(run(*jobs, job("now", "RUNNING"), job("up", "RUNNING", ready=True), job("lost", "DEAD")))
    text = drawn(view, on)
    assert text[0] == "2 RUNNING, 50 WAITING, 50 COMPLETED, 1 DEAD"
    assert [line.split()[0] for line in text[2:]] == ["lost", "now", "next-0", "next-1"]
    assert len(text) < 8


def test_a_long_table_at_the_end_is_cut_and_keeps_what_failed() -> None:
    on = console()
    print_result(on, run(*[job(f"a{n}", "COMPLETED") for n in range(1000)], job("lost", "DEAD", attempt=4)))
    lines = written(on).splitlines()
    assert lines[1].split() == ["lost", "DEAD", "4"]
    assert lines[-2:] == [f"... and {1001 - MAX_ROWS} more", "1000 COMPLETED, 1 DEAD"]


def test_causes_are_those_that_failed_by_themselves() -> None:
    jobs = [
        job("a", "DEAD"),
        job("b", "DEAD", parents=("a",)),
        job("c", "CANCELLED", parents=("ok",)),
        job("d", "DEAD", parents=("b", "ok")),
        job("ok", "COMPLETED"),
    ]
    assert [each.id for each in causes(jobs)] == ["a", "c"]


def test_a_failure_shows_nothing_that_a_terminal_would_obey() -> None:
    on = console()
    print_failure(on, job("a", "DEAD", exit_code=-9), ["[red]plain[/red]", "\033[2Jx"])
    assert written(on) == "\na is DEAD: exit code -9\n  | [red]plain[/red]\n  | \ufffd[2Jx\n"
