"""Lists that the hub keeps up to date while somebody looks at them: asked for once after a change, shown to all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from dashboard import wire
from dashboard.cluster_state import ClusterState
from titan_sdk.messages import ListServices, Request, ServiceList


class Listing(NamedTuple):
    """``topic`` is its name, as a topic and as that of its events; ``shown`` makes the event of an answer."""

    topic: str
    request: Request[Any]
    shown: Callable[[Any, ClusterState], wire.Json]


def _services(answer: ServiceList, state: ClusterState) -> wire.Json:
    return wire.services(answer, state.worker_services(), state.ended_services())


LISTINGS: Final = {each.topic: each for each in (Listing("services", ListServices(), _services),)}
