"""The key-value store as tables: each change read, decided and written in the one transaction that it is part of.

Values, members and items stay in the database: nothing of them is kept in memory. A key whose time is over is as good
as gone from that moment on, whoever asks; ``sweep`` then removes it for good.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Final

from titan_sdk.errors import Conflict, RemoteError
from titan_sdk.messages import (
    AddMembers,
    DeleteKey,
    Expire,
    Increment,
    KvEntry,
    KvKind,
    KvMemberPage,
    KvPart,
    KvUpdate,
    KvUpdated,
    PopItem,
    PushItems,
    RemoveMembers,
    SetValue,
    decode_message,
    encode_message,
)

REPEATS_MS: Final = 300_000
"""A repeated request is known for so long; a client that gets no answer repeats it for 30 s, unless told otherwise."""
ANSWER_BYTES: Final = 8 << 20
"""Items in one answer: below the limit of a frame, and at least one item fits."""
LONGEST_INTEGER: Final = 1 << 63

_ALIVE: Final = "NOT EXISTS (SELECT 1 FROM kv_expiry e WHERE e.key = t.key AND e.at <= ?)"


class KvTables:
    """The statements of the key-value store on a connection. ``now`` is the wall clock in epoch ms.

    Methods that change something belong into a transaction of the caller's.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._change: dict[type, Callable[[str, Any, int], KvUpdated]] = {
            SetValue: self._set,
            DeleteKey: self._delete,
            Increment: self._increment,
            AddMembers: self._add_members,
            RemoveMembers: self._remove_members,
            PushItems: self._push,
            PopItem: self._pop,
            Expire: self._expire,
        }

    # --- changes --------------------------------------------------------------------------------------------------

    def apply(self, update: KvUpdate, now: int) -> KvUpdated | RemoteError:
        """Carry out one change, or find that it was before. A Conflict that is returned has changed nothing."""
        if update.request_id:
            row = self._one("SELECT answer FROM kv_requests WHERE id = ?", update.request_id)
            if row is not None:
                return decode_message(row[0], KvUpdated)
        self._bury(update.key, now)
        try:
            answer = self._change[type(update.change)](update.key, update.change, now)
        except RemoteError as error:
            return error
        if update.request_id:
            keep = "INSERT INTO kv_requests (id, until, answer) VALUES (?,?,?)"
            self._db.execute(keep, (update.request_id, now + REPEATS_MS, encode_message(answer)))
        return answer

    def put(self, key: str, value: bytes, now: int) -> None:
        """KV_SET of old: the value and no end of its time; a set of that key stays beside it."""
        self._bury(key, now)
        self._db.execute("DELETE FROM kv_expiry WHERE key = ?", (key,))
        self._put(key, value)

    def add(self, key: str, member: str, now: int) -> bool:
        """KV_SADD of old: whether the member is new."""
        self._bury(key, now)
        return self._add(key, (member,)) == 1

    def sweep(self, now: int, limit: int) -> int:
        """Remove what is over, some ``limit`` rows of it at most; how many it were: with ``limit`` there is more."""
        rest = limit
        over = "SELECT key FROM kv_expiry WHERE at <= ? ORDER BY at LIMIT ?"
        for (key,) in self._db.execute(over, (now, limit)).fetchall():
            for table in ("kv_members", "kv_items"):  # of a large set a part at a time; nobody sees it any more
                some = f"SELECT rowid FROM {table} WHERE key = ? LIMIT ?"
                rest -= self._db.execute(f"DELETE FROM {table} WHERE rowid IN ({some})", (key, max(0, rest))).rowcount
            if rest <= 0:
                return limit
            self._remove(key)
            rest -= 1
        old = "SELECT id FROM kv_requests WHERE until <= ? ORDER BY until LIMIT ?"
        rest -= self._db.execute(f"DELETE FROM kv_requests WHERE id IN ({old})", (now, max(0, rest))).rowcount
        return limit - max(0, rest)

    def _set(self, key: str, change: SetValue, now: int) -> KvUpdated:
        if change.condition != "always":
            value = self._value(key, new=change.condition == "absent")
            if value is None and change.condition == "absent" and self._kinds(key):
                return KvUpdated(done=False)
            if value != (None if change.condition == "absent" else change.expected):
                return KvUpdated(done=False, value=value)
            if change.ttl_ms:
                self._set_end(key, now + change.ttl_ms)
        else:
            self._remove(key)
            if change.ttl_ms:
                self._set_end(key, now + change.ttl_ms)
        self._put(key, change.value)
        return KvUpdated(done=True)

    def _delete(self, key: str, change: DeleteKey, now: int) -> KvUpdated:
        if change.expected is not None:
            value = self._value(key)
            if value != change.expected:
                return KvUpdated(done=False, value=value)
        elif not self._kinds(key):
            return KvUpdated(done=False)
        self._remove(key)
        return KvUpdated(done=True)

    def _increment(self, key: str, change: Increment, now: int) -> KvUpdated:
        value = self._value(key)
        try:
            number = int(value or b"0") + change.by
        except ValueError:
            raise Conflict(f"{key} holds no number") from None
        if not -LONGEST_INTEGER <= number < LONGEST_INTEGER:
            raise Conflict(f"{key} would be {number}, which is beyond 64 bits")
        self._put(key, b"%d" % number)
        return KvUpdated(done=True, number=number)

    def _add_members(self, key: str, change: AddMembers, now: int) -> KvUpdated:
        self._check_kind(key, "set")
        added = self._add(key, change.members)
        return KvUpdated(done=added > 0, number=added)

    def _remove_members(self, key: str, change: RemoveMembers, now: int) -> KvUpdated:
        self._check_kind(key, "set")
        removed = sum(
            self._db.execute("DELETE FROM kv_members WHERE key = ? AND member = ?", (key, member)).rowcount
            for member in change.members
        )
        self._grow(key, "set", -removed)
        return KvUpdated(done=removed > 0, number=removed)

    def _push(self, key: str, change: PushItems, now: int) -> KvUpdated:
        self._check_kind(key, "list")
        row = self._one("SELECT low, length FROM kv_collections WHERE key = ? AND kind = 'list'", key)
        low, length = row or (0, 0)
        count = len(change.items)
        places = range(low - 1, low - 1 - count, -1) if change.left else range(low + length, low + length + count)
        insert = "INSERT INTO kv_items (key, place, item) VALUES (?,?,?)"
        self._db.executemany(insert, [(key, at, item) for at, item in zip(places, change.items, strict=True)])
        self._grow(key, "list", count, -count if change.left else 0)
        return KvUpdated(done=True, number=length + count)

    def _pop(self, key: str, change: PopItem, now: int) -> KvUpdated:
        self._check_kind(key, "list")
        order = "ASC" if change.left else "DESC"
        row = self._one(f"SELECT place, item FROM kv_items WHERE key = ? ORDER BY place {order} LIMIT 1", key)
        if row is None:
            return KvUpdated(done=False)
        self._db.execute("DELETE FROM kv_items WHERE key = ? AND place = ?", (key, row[0]))
        self._grow(key, "list", -1, 1 if change.left else 0)
        return KvUpdated(done=True, value=row[1])

    def _expire(self, key: str, change: Expire, now: int) -> KvUpdated:
        if not self._kinds(key):
            return KvUpdated(done=False)
        if change.ttl_ms:
            self._set_end(key, now + change.ttl_ms)
            return KvUpdated(done=True)
        return KvUpdated(done=self._db.execute("DELETE FROM kv_expiry WHERE key = ?", (key,)).rowcount > 0)

    # --- what changes are made of ---------------------------------------------------------------------------------

    def _one(self, query: str, *parameters: Any) -> Any:
        return self._db.execute(query, parameters).fetchone()

    def _bury(self, key: str, now: int) -> None:
        """A key whose time is over holds nothing any more."""
        if self._one("SELECT 1 FROM kv_expiry WHERE key = ? AND at <= ?", key, now) is not None:
            self._remove(key)

    def _remove(self, key: str) -> None:
        for table in ("kv", "kv_members", "kv_items", "kv_collections", "kv_expiry"):
            self._db.execute(f"DELETE FROM {table} WHERE key = ?", (key,))

    def _kinds(self, key: str) -> set[str]:
        kinds = {row[0] for row in self._db.execute("SELECT kind FROM kv_collections WHERE key = ?", (key,))}
        return kinds if self._one("SELECT 1 FROM kv WHERE key = ?", key) is None else {"value", *kinds}

    def _check_kind(self, key: str, kind: KvKind) -> None:
        """Raises Conflict when the key holds something, and nothing of this kind."""
        kinds = self._kinds(key)
        if kinds and kind not in kinds:
            raise Conflict(f"{key} holds a {' and a '.join(sorted(kinds))}, not a {kind}")

    def _value(self, key: str, *, new: bool = False) -> bytes | None:
        row = self._one("SELECT value FROM kv WHERE key = ?", key)
        if row is None and not new:
            self._check_kind(key, "value")
        return None if row is None else bytes(row[0])

    def _put(self, key: str, value: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO kv (key, value) VALUES (?,?)", (key, value))

    def _set_end(self, key: str, at: int) -> None:
        self._db.execute("INSERT OR REPLACE INTO kv_expiry (key, at) VALUES (?,?)", (key, at))

    def _add(self, key: str, members: tuple[str, ...]) -> int:
        insert = "INSERT OR IGNORE INTO kv_members (key, member) VALUES (?,?)"
        added = sum(self._db.execute(insert, (key, member)).rowcount for member in members)
        self._grow(key, "set", added)
        return added

    def _grow(self, key: str, kind: KvKind, by: int, low_by: int = 0) -> None:
        """Note the new length of a collection; an empty one is gone, and with it the end of its time."""
        if not by:
            return
        changed = self._db.execute(
            "UPDATE kv_collections SET length = length + ?, low = low + ? WHERE key = ? AND kind = ?",
            (by, low_by, key, kind),
        )
        if not changed.rowcount:
            insert = "INSERT INTO kv_collections (key, kind, length, low) VALUES (?,?,?,?)"
            self._db.execute(insert, (key, kind, by, low_by))
        elif by < 0:
            self._db.execute("DELETE FROM kv_collections WHERE key = ? AND kind = ? AND length = 0", (key, kind))
            if not self._kinds(key):
                self._db.execute("DELETE FROM kv_expiry WHERE key = ?", (key,))

    # --- looking --------------------------------------------------------------------------------------------------

    def get(self, key: str, now: int) -> bytes | None:
        row = self._one(f"SELECT value FROM kv t WHERE key = ? AND {_ALIVE}", key, now)
        return None if row is None else bytes(row[0])

    def members(self, key: str, now: int, after: int = 0, limit: int = -1) -> KvMemberPage:
        """Members in order of addition; ``limit`` -1: all."""
        query = f"SELECT seq, member FROM kv_members t WHERE key = ? AND seq > ? AND {_ALIVE} ORDER BY seq LIMIT ?"
        rows = self._db.execute(query, (key, after, now, limit)).fetchall()
        return KvMemberPage(members=[row[1] for row in rows], next=rows[-1][0] if len(rows) == limit else 0)

    def items(self, key: str, now: int, start: int, count: int) -> KvPart:
        query = f"SELECT low, length FROM kv_collections t WHERE key = ? AND kind = 'list' AND {_ALIVE}"
        low, length = self._one(query, key, now) or (0, 0)
        start = max(0, start + length) if start < 0 else min(start, length)
        items: list[bytes] = []
        size = 0
        query = "SELECT item FROM kv_items WHERE key = ? AND place >= ? AND place < ? ORDER BY place LIMIT ?"
        for (item,) in self._db.execute(query, (key, low + start, low + length, count)):
            size += len(item)
            if items and size > ANSWER_BYTES:
                break
            items.append(item)
        return KvPart(items=items, length=length, start=start)

    def keys(self, prefix: str, after: str, limit: int, now: int) -> list[KvEntry]:
        """What keys with the prefix, beyond ``after``, hold: ``limit`` entries; a key may have one of each kind."""
        condition = f"key >= ? AND key > ? AND {_ALIVE}"
        end = "(SELECT at FROM kv_expiry x WHERE x.key = t.key)"
        # Keys with one prefix stand together in the order of their bytes: the first without it ends the search.
        query = f"""SELECT * FROM (SELECT key, 'value', length(value), {end} FROM kv t WHERE {condition}
                ORDER BY key LIMIT ?)
            UNION ALL SELECT * FROM (SELECT key, kind, length, {end} FROM kv_collections t WHERE {condition}
                ORDER BY key LIMIT ?)
            ORDER BY 1, 2 LIMIT ?"""
        entries: list[KvEntry] = []
        half = (prefix, after, now, limit)
        for key, kind, size, at in self._db.execute(query, (*half, *half, limit)):
            if not key.startswith(prefix):
                break
            entries.append(KvEntry(key=key, kind=kind, size=size, expires_at=at or 0))
        return entries

    def next_end(self) -> int | None:
        """The earliest moment (epoch ms) at which something is to be swept; None: never."""
        row = self._one(
            "SELECT min(at) FROM (SELECT min(at) AS at FROM kv_expiry UNION ALL SELECT min(until) FROM kv_requests)"
        )
        return None if row is None else row[0]
