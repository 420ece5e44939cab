"""Where ``now`` comes from."""

from __future__ import annotations

import time
from typing import Protocol

from titan_core.scheduling.core.events import Instant


class Clock(Protocol):
    """The one source of moments for the core; tests bring their own."""

    def now(self) -> Instant: ...


class SystemClock:
    """This machine's clocks."""

    def now(self) -> Instant:
        return Instant(time.monotonic(), time.time_ns() // 1_000_000)
