"""ClusterService: what workers say of their machines, told apart by the connection it came by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from titan_core.protocol.services.cluster import ClusterService
from titan_sdk.messages import Heartbeat
from titan_test_suite.pytests.engine import Engine


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ClusterService]:
    engine = Engine(tmp_path)
    yield ClusterService(engine.scheduler)
    engine.close()


def free_memory(cluster: ClusterService) -> dict[str, int]:
    return {worker_id: load.memory_free for worker_id, load in cluster.loads().items()}


def test_the_end_of_an_older_link_takes_nothing_that_a_newer_one_brought(cluster: ClusterService) -> None:
    cluster.heartbeat("w", 1, Heartbeat(memory_free=100))
    cluster.heartbeat("w", 2, Heartbeat(memory_free=200))
    cluster.heartbeat("w", 1, Heartbeat(memory_free=300))
    assert free_memory(cluster) == {"w": 200}, "what was still under way on the older link is old news"
    cluster.forget("w", 1)
    assert free_memory(cluster) == {"w": 200}
    cluster.forget("w", 2)
    assert free_memory(cluster) == {}


def test_a_worker_is_heard_anew_after_its_link_has_ended(cluster: ClusterService) -> None:
    cluster.heartbeat("w", 1, Heartbeat(memory_free=100))
    cluster.forget("w", 1)
    cluster.forget("w", 1)
    cluster.heartbeat("w", 2, Heartbeat(memory_free=200))
    assert free_memory(cluster) == {"w": 200}
