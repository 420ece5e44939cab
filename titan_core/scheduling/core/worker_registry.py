"""WorkerRegistry: every worker the master knows of."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush

from titan_core.model.requirement import STRUCTURED, Need, describe_need
from titan_core.model.rows import CordonRow
from titan_core.model.worker import PastExecution, Worker


class WorkerRegistry:
    """Workers by id, the dead ones among them bounded; which are held back after a refusal; what ran on each."""

    def __init__(self, dead_workers: int, histories: int, history_length: int) -> None:
        self.workers: dict[str, Worker] = {}
        self.cordons: dict[str, CordonRow] = {}
        """Of workers that are here, and of those that may come back."""
        self._seq = 0
        self._dead: dict[str, None] = {}
        self._dead_bound = dead_workers
        self._holds: list[tuple[float, str]] = []
        self._histories: dict[str, deque[PastExecution]] = {}
        self._histories_bound = histories
        self._history_length = history_length

    def get(self, worker_id: str) -> Worker | None:
        return self.workers.get(worker_id)

    def add(self, worker_id: str) -> Worker:
        """A worker that was not known; neither connected nor dead yet."""
        self._seq += 1
        worker = self.workers[worker_id] = Worker(worker_id, self._seq, self.history(worker_id))
        worker.cordoned = worker_id in self.cordons
        return worker

    def place(self, worker: Worker) -> list[Worker]:
        """It has been told, or told anew, where it is. Returns the others on the machines that it left and came to."""
        before = worker.ports
        beside = [each for each in self.workers.values() if each is not worker and worker.is_beside(each)]
        left = [each for each in self.workers.values() if each is not worker and each.ports is before]
        if not beside and left:
            worker.share_ports({})
        elif beside and beside[0].ports is not before:
            worker.share_ports(beside[0].ports)
        else:
            return []
        return [*beside, *(each for each in left if each not in beside)]

    def machines_for(self, need: Need) -> int:
        """On how many machines a worker is in use that could run such jobs."""
        useful = (each for each in self.present() if not (each.draining or each.cordoned) and each.satisfies(need))
        return len({id(worker.ports) for worker in useful})

    def port_holders(self, need: Need) -> str:
        """Who has the port that is needed, in words, when that is all that keeps such jobs from running; else empty."""
        if not need.port:
            return ""
        rest = need._replace(port=0)
        fit = [each for each in self.present() if each.satisfies(need) and each.has_room_for(rest)]
        if not fit or not all(need.port in each.ports for each in fit):
            return ""
        names = sorted({key for each in fit for key in each.ports[need.port]})
        return f"{', '.join(names[:3])}{' and others' if len(names) > 3 else ''} {'has' if len(names) == 1 else 'have'}"

    def remove(self, worker: Worker) -> None:
        del self.workers[worker.worker_id]
        self._dead.pop(worker.worker_id, None)

    def declare_dead(self, worker: Worker) -> None:
        """It stays listed until too many others have died since. It must have no leases by the end of the event."""
        worker.dead = True
        worker.connected = False
        worker.draining = False
        self.release(worker)
        self._dead[worker.worker_id] = None
        if len(self._dead) > self._dead_bound:
            self.remove(self.workers[next(iter(self._dead))])

    def revive(self, worker: Worker) -> None:
        worker.dead = False
        self._dead.pop(worker.worker_id, None)

    def present(self) -> list[Worker]:
        """The workers that are not dead, in order of registration."""
        return [worker for worker in self.workers.values() if not worker.dead]

    def at(self, host: str, port: int, others: frozenset[str] = frozenset()) -> Worker | None:
        """The worker at that address that is not dead; a connected one, then the latest, when there are several.

        ``others``: further names of the host.
        """
        found = [worker for worker in self.present() if worker.is_at(host, port, others)]
        return max(found, key=lambda worker: (worker.connected, worker.seq), default=None)

    def can_serve(self, need: Need) -> bool:
        """Whether some worker would take such jobs, now or when it has room."""
        return any(worker.satisfies(need) and not worker.draining and not worker.cordoned for worker in self.present())

    def describe(self, need: Need) -> str:
        """The need in words. The dialect is named only where a classic worker lacks nothing else."""
        rest = need._replace(capabilities=need.capabilities - {STRUCTURED})
        return describe_need(need, dialect=not need.counted and self.can_serve(rest))

    # --- holding back ---

    def hold(self, worker: Worker, until: float) -> None:
        """It gets nothing before ``until`` (monotonic seconds), unless it is released."""
        if until > worker.held_until:
            worker.held_until = until
            heappush(self._holds, (until, worker.worker_id))

    def release(self, worker: Worker) -> None:
        worker.held_until = 0.0

    def next_release(self) -> float | None:
        """When the first hold is over; None when nobody is held."""
        holds = self._holds
        while holds:
            until, worker_id = holds[0]
            worker = self.workers.get(worker_id)
            if worker is not None and worker.held_until == until:
                return until
            heappop(holds)  # released, held again until later, or gone
        return None

    def release_due(self, now: float) -> Iterator[Worker]:
        """Release the workers whose hold is over."""
        while (until := self.next_release()) is not None and until <= now:
            worker = self.workers[heappop(self._holds)[1]]
            self.release(worker)
            yield worker

    # --- history ---

    def history(self, worker_id: str) -> deque[PastExecution]:
        """What ran on the worker, also while it is gone."""
        history = self._histories.get(worker_id)
        if history is None:
            history = self._histories[worker_id] = deque(maxlen=self._history_length)
            if len(self._histories) > self._histories_bound:
                absent = (known for known in self._histories if known not in self.workers and known != worker_id)
                oldest = next(absent, None)
                if oldest is not None:
                    del self._histories[oldest]
        return history
