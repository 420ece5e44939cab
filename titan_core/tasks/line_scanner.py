"""LineScanner: waits for a line in a file that grows."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

_READ_BYTES: Final = 64 * 1024
_LONGEST_LINE: Final = 64 * 1024
"""Of a line longer than that, the end is looked at."""


class LineScanner:
    """Looks at what was added to a file since the last time, whole lines and the one that is not complete yet."""

    def __init__(self, path: Path, pattern: re.Pattern[bytes]) -> None:
        self._path = path
        self._pattern = pattern
        self._file = 0
        self._offset = 0
        self._rest = b""
        self._was_found = False

    def found(self) -> bool:
        """Whether some line so far matches. A file that is not there has none."""
        if self._was_found:
            return True
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            file = os.fstat(fd).st_ino
            if file != self._file:  # the first look, or the log goes on in a new file
                self._file, self._offset = file, 0
            while data := os.pread(fd, _READ_BYTES, self._offset):
                self._offset += len(data)
                lines = (self._rest + data).split(b"\n")
                self._rest = lines[-1][-_LONGEST_LINE:]
                if any(map(self._pattern.search, lines)):
                    self._was_found = True
                    break
        finally:
            os.close(fd)
        return self._was_found
