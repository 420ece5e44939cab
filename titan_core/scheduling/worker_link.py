"""WorkerLink: what the engine asks of a connection to a worker."""

from __future__ import annotations

from typing import Protocol

from titan_sdk.messages import JobSpec, Lease


class WorkerLink(Protocol):
    """One connection to one worker, structured or classic; implementations are in titan_core.protocol.

    The methods are called on the Dispatcher's thread, in order, and none of them may block: they queue what is to be
    sent. A link that is broken drops it: its end is an event of its own (LinkBroken), which tells the core more.
    """

    @property
    def link_id(self) -> int:
        """Unique in this process, as in WorkerRegistered.link."""
        ...

    def dispatch(self, lease: Lease, spec: JobSpec) -> None: ...

    def end_attempt(self, lease: Lease, reason: str) -> None: ...

    def decommission(self, reason: str) -> None: ...

    def close(self, reason: str) -> None: ...


class WorkerLinks:
    """Which link leads to which worker.

    ``attach`` only makes a link known. It takes over when the registration that came with it is delivered (``switch``):
    what the journal held for the worker's earlier link then never reaches the new one, and the core, told by the
    registration what the worker holds, knows that it did not.
    """

    def __init__(self) -> None:
        self._links: dict[int, WorkerLink] = {}
        self._current: dict[str, int] = {}

    def attach(self, link: WorkerLink) -> None:
        self._links[link.link_id] = link

    def detach(self, worker_id: str, link_id: int) -> None:
        """The link has ended. Nothing happens to a newer link of the same worker."""
        self._links.pop(link_id, None)
        if self._current.get(worker_id) == link_id:
            self._current.pop(worker_id, None)

    def switch(self, worker_id: str, link_id: int) -> None:
        if link_id in self._links:
            self._current[worker_id] = link_id

    def current(self, worker_id: str) -> WorkerLink | None:
        link_id = self._current.get(worker_id)
        return None if link_id is None else self._links.get(link_id)

    def find(self, link_id: int) -> WorkerLink | None:
        return self._links.get(link_id)
