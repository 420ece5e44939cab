"""How jobs look in little room."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console
from rich.table import Table

from titan_core.cli.render import how_it_ended, jobs_table, short_moment
from titan_sdk.messages import JobInfo
from titan_sdk.render import shortened

NOW_MS = int(time.mktime((2026, 5, 4, 12, 30, 15, 0, 0, -1))) * 1000


def lines(table: Table, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 100, 120])
def test_words_and_names_of_a_job_stay_in_one_piece(width: int) -> None:
    job = JobInfo(
        key="run-0123456789abcde/a_long_name_of_a_job",
        id="a_long_name_of_a_job",
        run_id="run-0123456789abcde",
        file="folder/another_folder/a_long_file_name.py",
        state="COMPLETED",
        worker="127.0.0.1:38617",
        exit_code=0,
        attempt=1,
        submitted_at=NOW_MS,
        started_at=NOW_MS,
        ended_at=NOW_MS + 103,
    )
    head, line = lines(jobs_table([job], NOW_MS, width), width)
    assert head.split()[:2] == ["job", "state"] and len(head) <= width
    words = line.split()
    assert words[0].startswith("run-") and "…" in words[0] and words[0].endswith("a_job"[-3:])
    assert {"COMPLETED", "127.0.0.1:38617", "12:30:15", "103ms", "exit", "0"} <= set(words)


@pytest.mark.parametrize(
    ("exit_code", "reason", "expected"),
    [
        (0, "", "exit 0"),
        (1, "exit code 1; failed 4 times", "exit code 1; failed 4 times"),
        (1, "exit code 12", "exit 1; exit code 12"),
        (3, "timed out", "exit 3; timed out"),
        (None, "", ""),
    ],
)
def test_an_exit_code_is_told_once(exit_code: int | None, reason: str, expected: str) -> None:
    assert how_it_ended(exit_code, reason) == expected


def test_a_text_loses_its_middle() -> None:
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdefgh", 5) == "ab…gh"
    assert shortened("abcdefgh", 4) == "ab…h"
    assert shortened("abcdefgh", 1) == "…"
    assert shortened("漢字漢字", 5) == "漢…字"


def test_a_moment_of_today_needs_no_date() -> None:
    assert short_moment(NOW_MS, NOW_MS) == "12:30:15"
    assert short_moment(NOW_MS - 86_400_000, NOW_MS) == "05-03 12:30"
    assert short_moment(0, NOW_MS) == ""
