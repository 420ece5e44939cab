"""Schedules in the store: what is kept of them, however their records are put together into transactions."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from msgspec.structs import replace

from titan_core.model.schedule import FiringRow, ScheduleRow, ScheduleState, Waiting
from titan_core.scheduling.core.commands import ForgetSchedule, Record, SaveFiring, SaveSchedule
from titan_core.storage.sqlite_rows import KEPT_FIRINGS
from titan_core.storage.sqlite_store import SqliteStore
from titan_core.storage.store import StoreError
from titan_sdk.messages import FiringInfo, JobSpec, Recurrence, ScheduleSpec

SPEC = ScheduleSpec(name="a", jobs=(JobSpec(id="j", file="j.py"),), when=Recurrence(every_ms=1000))
STATE = ScheduleState(created_at=1, updated_at=2, anchor=3, cursor=4)
FIRED = FiringInfo(number=1, due_at=5, at=6, outcome="fired", run_id="r")
LATER = replace(STATE, cursor=5, number=1, active=(FIRED,), last=FIRED, waiting=(Waiting(due_at=7, manual=True),))
ENDED = replace(FIRED, state="COMPLETED", ended_at=9)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    found = SqliteStore(tmp_path)
    found.open()
    yield found
    found.close()


def save(seq: int, name: str, spec: ScheduleSpec | None, state: ScheduleState = STATE) -> SaveSchedule:
    return SaveSchedule(ScheduleRow(seq, name, spec, state))


STORY: list[Record] = [
    save(1, "a", SPEC),
    SaveFiring(FiringRow(1, FIRED)),
    save(1, "a", None, LATER),
    save(2, "b", replace(SPEC, name="b")),
    SaveFiring(FiringRow(2, FIRED)),
    SaveFiring(FiringRow(1, ENDED)),
    ForgetSchedule(2),
    save(3, "b", replace(SPEC, name="b")),
    save(3, "b", replace(SPEC, name="b", jobs=())),
    save(3, "b", None, LATER),
]


@pytest.mark.parametrize("cuts", [(), (1,), (3, 6), (2, 4, 5, 7, 8, 9), tuple(range(1, len(STORY)))])
def test_the_same_records_in_any_transactions_leave_the_same(store: SqliteStore, cuts: tuple[int, ...]):
    for begin, end in pairwise((0, *cuts, len(STORY))):
        store.apply(STORY[begin:end])
    rows, last = store.load_schedules()
    assert rows == [ScheduleRow(1, "a", SPEC, LATER), ScheduleRow(3, "b", replace(SPEC, name="b", jobs=()), LATER)]
    assert last == 3
    assert store.load_firings(1, 10) == [ENDED] and store.load_firings(2, 10) == store.load_firings(3, 10) == []


def test_the_seq_of_what_is_deleted_is_known_for_ever(store: SqliteStore) -> None:
    store.apply([save(7, "a", SPEC)])
    store.apply([ForgetSchedule(7)])
    assert store.load_schedules() == ([], 7)


def test_old_firings_go_and_pages_follow_one_another(store: SqliteStore) -> None:
    store.apply([save(1, "a", SPEC)])
    firings = [SaveFiring(FiringRow(1, replace(FIRED, number=number))) for number in range(1, KEPT_FIRINGS + 4)]
    for begin in range(0, len(firings), 100):
        store.apply(firings[begin : begin + 100])
    kept = [each.number for each in store.load_firings(1, 5000)]
    assert kept == list(range(KEPT_FIRINGS + 3, 3, -1))
    assert [each.number for each in store.load_firings(1, 2, before=100)] == [99, 98]


def test_a_schedule_that_is_not_stored_is_not_updated(store: SqliteStore) -> None:
    with pytest.raises(StoreError, match="not stored"):
        store.apply([save(1, "a", None)])
