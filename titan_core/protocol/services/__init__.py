"""What can be asked of the master, whatever the dialect it was asked in.

Requests and answers are the structured messages; a handler of the classic dialect translates. A method that has to
wait, for durability or for a change, takes ``done`` and calls it once with the answer or the error, as a rule later and
from another thread; the others return the answer or raise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
Done = Callable[[T | Exception], None]
"""Takes the answer, or why there is none. Must not block, and must not raise."""
