"""IdempotencyKeys: which run was made for which key."""

from __future__ import annotations

from collections import deque
from hashlib import sha256
from typing import NamedTuple

import msgspec

from titan_core.model.run import Run
from titan_sdk.messages import JobSpec

_CANONICAL = msgspec.msgpack.Encoder(order="deterministic")


class KnownKey(NamedTuple):
    run_id: str
    digest: str


class IdempotencyKeys:
    """Keys of the runs in memory, and of the ``bound`` runs that left it last."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._known: dict[str, KnownKey] = {}
        self._forgettable: deque[tuple[str, KnownKey]] = deque()

    def find(self, key: str) -> KnownKey | None:
        return self._known.get(key)

    def remember(self, run: Run) -> None:
        if run.row.idempotency_key:
            self._known[run.row.idempotency_key] = KnownKey(run.run_id, run.row.digest)

    def run_left_memory(self, run: Run) -> None:
        key = run.row.idempotency_key
        known = self._known.get(key)
        if known is None or known.run_id != run.run_id:
            return
        self._forgettable.append((key, known))
        if len(self._forgettable) > self._bound:
            key, known = self._forgettable.popleft()
            if self._known.get(key) is known:
                del self._known[key]


def digest_of(jobs: tuple[JobSpec, ...]) -> str:
    """Equal specs in the same order give equal digests, whatever the order of their environments.

    It is stored with the run and compared by later masters.
    """
    return sha256(_CANONICAL.encode(jobs)).hexdigest()
