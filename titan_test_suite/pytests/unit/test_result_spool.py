"""Results survive the worker's death on disk, and a torn file harms nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from titan_core.tasks.result_spool import ResultSpool, SpooledResult
from titan_sdk.messages import JobReport, Lease


def result(epoch: int, job: str = "r1/a", **fields) -> SpooledResult:
    report = JobReport(lease=Lease(job=job, attempt=1, epoch=epoch), outcome="completed", exit_code=0, **fields)
    return SpooledResult(report=report, log_path="/w/jobs/a/a.log")


@pytest.fixture
def spool(tmp_path: Path) -> ResultSpool:
    spool = ResultSpool(tmp_path / "spool")
    assert spool.open() == []
    return spool


def test_results_are_found_by_the_next_process_in_order_of_their_leases(spool: ResultSpool, tmp_path: Path) -> None:
    first = result(9, log_size=70_000, log_offset=37_232, log_tail=bytes(range(256)) * 128)
    second = result(10)
    spool.put(second)
    spool.put(first)
    assert ResultSpool(tmp_path / "spool").open() == [first, second]


def test_a_result_is_gone_after_its_verdict(spool: ResultSpool, tmp_path: Path) -> None:
    spool.put(result(1))
    spool.remove(result(1).report.lease)
    spool.remove(result(1).report.lease)  # a second verdict on the same report
    assert ResultSpool(tmp_path / "spool").open() == []
    assert list((tmp_path / "spool").iterdir()) == []


def test_leases_of_two_masters_with_equal_epochs_are_kept_apart(spool: ResultSpool, tmp_path: Path) -> None:
    one, other = result(1, "r1/a"), result(1, "r2/a")
    spool.put(one)
    spool.put(other)
    spool.remove(one.report.lease)
    assert ResultSpool(tmp_path / "spool").open() == [other]


def test_the_last_word_on_a_lease_counts(spool: ResultSpool, tmp_path: Path) -> None:
    spool.put(result(1, reason="x" * 1000))
    spool.put(result(1))
    assert ResultSpool(tmp_path / "spool").open() == [result(1)]


def test_a_torn_file_is_dropped_and_the_others_are_kept(spool: ResultSpool, tmp_path: Path) -> None:
    spool.put(result(1, reason="x" * 100))
    spool.put(result(2))
    torn = next(path for path in (tmp_path / "spool").iterdir() if path.name.startswith("1-"))
    whole = torn.read_bytes()
    for length in (0, 1, 50, len(whole) - 1):
        torn.write_bytes(whole[:length])
        assert ResultSpool(tmp_path / "spool").open() == [result(2)]
        assert not torn.exists()


def test_a_file_that_is_not_ours_is_not_read_into_memory(spool: ResultSpool, tmp_path: Path) -> None:
    with (tmp_path / "spool" / "1-1-0.result").open("wb") as file:
        file.truncate(10 * 1024**3)
    assert spool.open() == []


def test_a_disk_that_takes_nothing_is_an_error(spool: ResultSpool, tmp_path: Path) -> None:
    (tmp_path / "spool").rmdir()
    with pytest.raises(OSError, match="No such file"):
        spool.put(result(1))
