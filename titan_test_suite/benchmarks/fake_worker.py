"""A worker that runs nothing: every job it is given has completed at once. It shows what the master alone costs."""

from __future__ import annotations

import threading
import time
import uuid
from typing import Final

from titan_sdk.channel import Channel
from titan_sdk.connection import open_channel
from titan_sdk.errors import TitanError
from titan_sdk.messages import Deregister, Dispatch, JobReport, Message, Ok, Register, Verdict, decode_message
from titan_sdk.protocol import Frame
from titan_test_suite.benchmarks.cluster import Cluster
from titan_test_suite.benchmarks.submitting import DEADLINE_S

SLOTS: Final = 32


class FakeWorker:
    """Takes part on its own connection until it has completed ``limit`` jobs; the rest it gives back."""

    def __init__(self, cluster: Cluster, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._judged = 0
        self._done = threading.Event()
        self._channel, _ = open_channel(
            "127.0.0.1", cluster.port, token=cluster.token, role="worker", name="fake", on_request=self._on_request
        )

    def run(self) -> None:
        """Register, and return when the master has taken the last result, which is durable then."""
        worker_id = f"fake-{uuid.uuid4()}"
        register = Register(worker_id=worker_id, boot_id="boot", port=1, capabilities=("GENERAL",), slots=SLOTS)
        self._channel.request(register, 30.0)
        if not self._done.wait(DEADLINE_S):
            raise TimeoutError(f"{self._judged} of {self._limit} jobs in {DEADLINE_S:g} s")

    def leave(self) -> None:
        self._channel.request(Deregister(reason="has seen enough"), 30.0)
        self._channel.close("left")
        self._channel.join(5.0)

    def _on_request(self, channel: Channel, frame: Frame) -> None:
        dispatch = decode_message(frame.payload, Dispatch)
        channel.reply(frame, Ok())
        self._taken += 1
        if self._taken > self._limit:
            return
        now = time.time_ns() // 1_000_000
        report = JobReport(lease=dispatch.lease, outcome="completed", exit_code=0, started_at=now, ended_at=now)
        channel.send_request(report, self._on_verdict)

    def _on_verdict(self, answer: Verdict | TitanError | Message) -> None:
        self._judged += 1
        if self._judged == self._limit:
            self._done.set()
