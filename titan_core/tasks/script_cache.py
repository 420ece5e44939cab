"""Compiled scripts, for the many jobs that run the same one.

One of the launcher's own modules: see zygote.py for what these may import.
"""

from __future__ import annotations

from titan_core.tasks.warm_python import compile_quietly

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

MAX_SOURCE_BYTES = 256 * 1024
"""A larger script is left to a new interpreter, whose start is little beside compiling it."""
_MAX_ENTRIES = 64
_MAX_TOTAL_BYTES = 2 * 1024 * 1024
"""Of source; forked jobs share it, but forking costs with the size of the process that does it."""


class ScriptCache:
    """Code by source. A source is compiled here only after a job has compiled and run it without coming to harm."""

    def __init__(self) -> None:
        self._codes: dict[bytes, CodeType | None] = {}
        """None: not compiled yet."""
        self._total = 0

    def code_for(self, source: bytes) -> CodeType | None:
        """The code, under the file name ``<script>``; None when the job has to compile it."""
        if source not in self._codes:
            return None
        code = self._codes[source]
        if code is None:
            code = self._codes[source] = compile_quietly(source, "<script>", refuse=Warning)
        return code

    def note_harmless(self, source: bytes) -> None:
        """A job with this source has ended by itself."""
        if source in self._codes:
            return
        self._codes[source] = None
        self._total += len(source)
        while len(self._codes) > _MAX_ENTRIES or self._total > _MAX_TOTAL_BYTES:
            oldest = next(iter(self._codes))
            del self._codes[oldest]
            self._total -= len(oldest)
