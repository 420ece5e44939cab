"""When the master and the worker look for garbage that reference counts do not find."""

from __future__ import annotations

import gc
from typing import Final

_THRESHOLDS: Final = (10_000, 20, 50)
"""Of Python's three generations. The core makes no cycles, and what requests leave behind is small: with the usual
(700, 10, 10) the collector would walk again and again through 100,000 queued jobs, a quarter of what they cost."""


def settle() -> None:
    """What there is now is here to stay: modules, and what was restored from the journal. From now on look seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
