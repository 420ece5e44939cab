"""KvTables: each change is one step that is decided and written at once, and what has expired is gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from titan_core.scheduling.core.commands import KvAddMember, KvApply, KvPut, KvSweep
from titan_core.storage.kv_tables import REPEATS_MS
from titan_core.storage.sqlite_store import SqliteStore
from titan_sdk.errors import Conflict
from titan_sdk.messages import (
    AddMembers,
    DeleteKey,
    Expire,
    Increment,
    KvChange,
    KvEntry,
    KvUpdate,
    KvUpdated,
    PopItem,
    PushItems,
    RemoveMembers,
    SetValue,
)

NOW = 1_000_000


class Kv:
    """A store, and the changes made in it one after the other."""

    def __init__(self, folder: Path) -> None:
        self.store = SqliteStore(folder)
        self.store.open()
        self.now = NOW

    def __call__(self, key: str, change: KvChange, request_id: str = "") -> KvUpdated:
        (answer,) = self.store.apply([KvApply(KvUpdate(key=key, change=change, request_id=request_id), self.now)])
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, KvUpdated)
        return answer

    def get(self, key: str) -> bytes | None:
        return self.store.kv_get(key, self.now)

    def keys(self, prefix: str = "", after: str = "") -> list[str]:
        return [entry.key for entry in self.store.kv_keys(prefix, after, 100, self.now)]

    def list(self, key: str, start: int = 0, count: int = 100) -> list[bytes]:
        return self.store.kv_items(key, self.now, start, count).items

    def rows(self) -> int:
        with self.store._reading() as db:
            tables = ("kv", "kv_members", "kv_items", "kv_collections", "kv_expiry", "kv_requests")
            return sum(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables)


@pytest.fixture
def kv(tmp_path: Path) -> Iterator[Kv]:
    kv = Kv(tmp_path / "data")
    yield kv
    kv.store.close()


def test_conditions_decide_and_a_refusal_shows_what_is_there(kv: Kv) -> None:
    assert kv("k", SetValue(value=b"1", condition="equals", expected=b"0")) == KvUpdated(done=False)
    assert kv("k", SetValue(value=b"1", condition="absent")).done
    assert kv("k", SetValue(value=b"2", condition="absent")) == KvUpdated(done=False, value=b"1")
    assert kv("k", SetValue(value=b"2", condition="equals", expected=b"1")).done
    assert kv("k", DeleteKey(expected=b"1")) == KvUpdated(done=False, value=b"2")
    assert kv("k", DeleteKey(expected=b"2")).done and kv.get("k") is None
    assert not kv("k", DeleteKey()).done


def test_changes_of_one_commit_see_each_other(kv: Kv) -> None:
    cas = KvApply(KvUpdate(key="k", change=SetValue(value=b"new", condition="equals", expected=b"old")), NOW)
    first, second, third = kv.store.apply([KvPut("k", b"old"), cas, cas])
    assert (first, second, third) == (None, KvUpdated(done=True), KvUpdated(done=False, value=b"new"))


def test_counters_begin_at_nothing_and_stay_numbers(kv: Kv) -> None:
    assert [kv("n", Increment(by=by)).number for by in (1, 5, -10)] == [1, 6, -4]
    assert kv.get("n") == b"-4"
    kv("text", SetValue(value=b"four"))
    with pytest.raises(Conflict, match="text holds no number"):
        kv("text", Increment())
    kv("most", SetValue(value=b"%d" % (2**63 - 1)))
    with pytest.raises(Conflict, match="beyond 64 bits"):
        kv("most", Increment())


def test_sets(kv: Kv) -> None:
    assert kv("s", AddMembers(members=("z", "a", "z", "ü"))).number == 3
    assert kv("s", AddMembers(members=("a", "b"))).number == 1
    page = kv.store.kv_members("s", NOW, limit=3)
    assert page.members == ["z", "a", "ü"] and page.next
    assert kv.store.kv_members("s", NOW, page.next, 3).members == ["b"]
    assert kv("s", RemoveMembers(members=("z", "none"))).number == 1
    assert kv.store.kv_keys("s", "", 9, NOW) == [KvEntry(key="s", kind="set", size=3)]
    kv("s", RemoveMembers(members=("a", "ü", "b")))
    assert kv.rows() == 0


def test_lists(kv: Kv) -> None:
    assert kv("l", PushItems(items=(b"c", b"\x00"))).number == 2
    assert kv("l", PushItems(items=(b"b", b"a"), left=True)).number == 4
    assert kv.list("l") == [b"a", b"b", b"c", b"\x00"]
    assert kv.list("l", -2) == [b"c", b"\x00"] and kv.list("l", 1, 2) == [b"b", b"c"] and kv.list("l", 9) == []
    assert kv("l", PopItem(left=True)).value == b"a" and kv("l", PopItem()).value == b"\x00"
    assert kv("l", PushItems(items=(b"d",))).number == 3 and kv.list("l") == [b"b", b"c", b"d"]
    for _ in range(3):
        kv("l", PopItem(left=True))
    assert kv("l", PopItem()) == KvUpdated(done=False) and kv.rows() == 0


def test_long_answers_are_cut_and_told(kv: Kv) -> None:
    for n in range(4):
        kv("l", PushItems(items=(bytes([n]) * (3 << 20),)))
    part = kv.store.kv_items("l", NOW, 0, 100)
    assert (len(part.items), part.length) == (2, 4)


def test_a_key_is_of_one_kind(kv: Kv) -> None:
    kv("k", AddMembers(members=("m",)))
    for change in (Increment(), PushItems(items=(b"",)), PopItem(), DeleteKey(expected=b"v")):
        with pytest.raises(Conflict, match="k holds a set, not a"):
            kv("k", change)
    assert not kv("k", SetValue(value=b"v", condition="absent")).done
    kv("k", SetValue(value=b"v"))  # whatever it held, it holds this
    assert kv.store.kv_members("k").members == [] and kv.get("k") == b"v"
    kv.store.apply([KvAddMember("k", "beside", NOW)])  # as the classic dialect always could
    assert [entry.kind for entry in kv.store.kv_keys("", "", 9, NOW)] == ["set", "value"]


def test_keys_by_prefix_in_order_and_in_pages(kv: Kv) -> None:
    for key in ("a/2", "a/10", "a", "b", "a0", "ä", "a\U0010ffff"):
        kv(key, SetValue(value=b""))
    kv("a/list", PushItems(items=(b"",)))
    assert kv.keys("a/") == ["a/10", "a/2", "a/list"]
    assert kv.keys("a/", "a/10") == ["a/2", "a/list"] and kv.keys("none") == []
    assert kv.keys() == sorted(kv.keys(), key=str.encode) and len(kv.keys()) == 8


def test_a_repeated_request_gets_the_first_answer(kv: Kv) -> None:
    kv("l", PushItems(items=(b"a", b"b")), "one")
    kv("l", PushItems(items=(b"a", b"b")), "one")
    assert kv.list("l") == [b"a", b"b"]
    assert [kv("l", PopItem(), "two").value for _ in range(2)] == [b"b", b"b"]
    assert kv("l", PopItem(), "three").value == b"a"
    kv.now += REPEATS_MS
    kv.store.apply([KvSweep(kv.now, 100)])
    assert kv.rows() == 0


def test_what_has_expired_is_gone_before_it_is_removed(kv: Kv) -> None:
    kv("v", SetValue(value=b"x", ttl_ms=100))
    kv("s", AddMembers(members=("m",)))
    kv("l", PushItems(items=(b"i",)))
    assert kv("s", Expire(ttl_ms=100)).done and kv("l", Expire(ttl_ms=200)).done
    assert not kv("none", Expire(ttl_ms=1)).done
    assert kv.store.kv_next_end() == NOW + 100
    kv.now = NOW + 99
    assert kv.keys() == ["l", "s", "v"]
    kv.now = NOW + 100
    assert kv.keys() == ["l"] and kv.get("v") is None and kv.store.kv_members("s", kv.now).members == []
    assert kv("v", SetValue(value=b"again", condition="absent")).done and kv("s", AddMembers(members=("m",))).number
    kv.now = NOW + 1000
    assert kv.get("v") == b"again"  # its new life has no end
    assert kv.store.apply([KvSweep(kv.now, 100)]) == [2]  # the item, and the key of it
    assert kv.keys() == ["s", "v"] and kv.store.kv_next_end() is None


def test_the_end_of_a_key_stays_or_goes(kv: Kv) -> None:
    kv("k", SetValue(value=b"1", ttl_ms=100))
    kv("k", Increment())
    kv("k", SetValue(value=b"3", condition="equals", expected=b"2"))
    assert kv.store.kv_keys("", "", 1, NOW)[0].expires_at == NOW + 100
    assert kv("k", Expire()).done and not kv("k", Expire()).done
    kv("k", Expire(ttl_ms=5))
    kv("k", SetValue(value=b""))
    assert kv.store.kv_next_end() is None
    kv("k", Expire(ttl_ms=5))
    kv.store.apply([KvPut("k", b"", NOW)])
    assert kv.store.kv_next_end() is None


def test_large_sets_are_removed_part_by_part(kv: Kv) -> None:
    kv("s", AddMembers(members=tuple(map(str, range(25)))))
    kv("s", Expire(ttl_ms=1))
    kv.now += 1
    removed = [kv.store.apply([KvSweep(kv.now, 10)])[0] for _ in range(4)]
    assert removed[:3] == [10, 10, 6] and removed[3] == 0 and kv.rows() == 0


def test_all_of_it_survives_the_process(kv: Kv, tmp_path: Path) -> None:
    kv("v", SetValue(value=b"x", ttl_ms=100), "id")
    kv("l", PushItems(items=(b"i",)))
    kv.store.close()
    again = Kv(tmp_path / "data")
    try:
        assert again.keys() == ["l", "v"] and again.store.kv_next_end() == NOW + 100
        assert again("v", SetValue(value=b"y"), "id").done and again.get("v") == b"x"
    finally:
        again.store.close()
