"""Lists that the hub keeps up to date while somebody looks at them: asked for once after a change, shown to all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from dashboard import wire
from dashboard.cluster_state import ClusterState
from titan_sdk.messages import ListApprovals, ListSchedules, ListServices, Request, ServiceList

DECIDED_SHOWN: Final = 100
"""Questions that have been answered."""


class Listing(NamedTuple):
    """``topic`` is its name, as a topic and as that of its events; ``shown`` makes the event of an answer."""

    topic: str
    request: Request[Any]
    shown: Callable[[Any, ClusterState], wire.Json]


def _services(answer: ServiceList, state: ClusterState) -> wire.Json:
    return wire.services(answer, state.worker_services(), state.ended_services())


def _plain(answer: Any, state: ClusterState) -> wire.Json:
    return wire.plain(answer)


SCHEDULES: Final = ListSchedules(next=3)
_ALL: Final = (
    Listing("services", ListServices(), _services),
    Listing("approvals", ListApprovals(), _plain),
    Listing("schedules", SCHEDULES, _plain),
    Listing("decisions", ListApprovals(decided=True, limit=DECIDED_SHOWN), _plain),
)
LISTINGS: Final = {each.topic: each for each in _ALL}
