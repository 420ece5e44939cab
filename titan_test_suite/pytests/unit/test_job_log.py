"""JobLog: whole up to its limit, first and last part beyond it, and never in a job's way."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from titan_core.tasks.job_log import JobLog

ROOT = Path(__file__).resolve().parents[3]
MARK = re.compile(rb"\n\[titan: (\d+) bytes are left out here; a log keeps some (\d+)\]\n")


def written(path: Path, chunks: list[bytes], limit: int) -> tuple[bytes, JobLog]:
    log = JobLog(str(path), limit)
    for chunk in chunks:
        log.write(chunk)
    tail, offset = log.close()
    data = path.read_bytes()
    assert log.error == ""
    assert log.size == len(data) and log.printed == sum(map(len, chunks))
    assert data[offset:] == tail
    assert [item.name for item in path.parent.iterdir()] == [path.name], "nothing is left beside the log"
    return data, log


@given(
    st.lists(st.integers(0, 300), max_size=30),
    st.sampled_from([8, 64, 100, 1000, 100_000]),
)
def test_first_and_last_part_are_kept_and_the_gap_is_counted(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], limit: int
) -> None:
    everything = bytes(number % 251 for number in range(sum(lengths)))
    chunks, at = [], 0
    for length in lengths:
        chunks.append(everything[at : at + length])
        at += length
    data, _ = written(tmp_path_factory.mktemp("log") / "job.log", chunks, limit)
    found = MARK.search(data)
    if len(everything) <= limit // 2 + limit // 4:
        assert data == everything
    if found is None:
        assert data == everything
        return
    head, tail = data[: found.start()], data[found.end() :]
    assert everything.startswith(head) and everything.endswith(tail)
    assert len(head) == limit // 2
    assert limit // 4 <= len(tail) <= 2 * (limit // 4)
    assert int(found[1]) == len(everything) - len(head) - len(tail) > 0
    assert int(found[2]) == limit


ON_A_FULL_DISK = """
import resource, sys
from titan_core.tasks.job_log import JobLog

resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
log = JobLog(sys.argv[1], 1 << 20)
for _ in range(5):
    log.write(b"x" * 1000)
assert log.error.startswith("its log could not be written: "), log.error
log.write(b"y" * 1000)
tail, offset = log.close()
assert (log.size, log.printed, offset, tail) == (4096, 6000, 0, b"x" * 4096)
"""
"""In a process of its own: the limit holds for all that a process writes, a report of the tests included."""


def test_a_disk_that_takes_no_more_is_told_of_once_and_holds_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "job.log"
    done = subprocess.run([sys.executable, "-c", ON_A_FULL_DISK, str(path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert path.read_bytes() == b"x" * 4096
