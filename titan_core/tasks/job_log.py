"""The log of one attempt: whole up to a limit, and beyond it its two ends, or of a service the latest files of it.

One of the launcher's own modules: see zygote.py for what these may import.
"""

from __future__ import annotations

import os
import time

_TAIL_BYTES = 32 * 1024
"""As launch.TAIL_BYTES."""
_COPY_BYTES = 1024 * 1024
_AGAIN_S = 5.0
"""After a service's log could not be written, before that is tried again."""


class JobLog:
    """Takes what a job prints; ``size`` bytes of it are in the file at ``path``, which is made anew.

    The first half of ``limit`` goes there at once. What follows goes to two files without names in turn, each a quarter
    of ``limit``: so the last quarter at the least is at hand when the job ends, and is appended then. Should all of it
    be there, the log is whole.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(self, path: str, limit: int) -> None:
        self.fd = _new_file(path)
        self._path = path
        self._limit = limit
        self._head = limit // 2
        self._segment = max(1, limit // 4)
        self._tails: list[int] = []
        self._in_tail = 0
        """Bytes in the newest of ``_tails``."""
        self.size = 0
        self.printed = 0
        """Bytes the job has printed, those that are left out too."""
        self.error = ""

    def write(self, chunk: bytes) -> None:
        """More output. After an error nothing is written any more: the job goes on, and must not be held up by it."""
        self.printed += len(chunk)
        if self.error:
            return
        try:
            room = self._head - self.size
            if room >= len(chunk):
                _write_all(self.fd, chunk)
                self.size += len(chunk)
                return
            if room > 0:
                _write_all(self.fd, chunk[:room])
                self.size += room
                chunk = chunk[room:]
            self._write_tail(chunk)
        except OSError as error:
            self._fail(error)

    def _write_tail(self, chunk: bytes) -> None:
        while chunk:
            if not self._tails or self._in_tail == self._segment:
                self._tails.append(_nameless_file(self._path))
                self._in_tail = 0
                for fd in self._tails[:-2]:
                    os.close(fd)
                del self._tails[:-2]
            piece = chunk[: self._segment - self._in_tail]
            _write_all(self._tails[-1], piece)
            self._in_tail += len(piece)
            chunk = chunk[len(piece) :]

    def _fail(self, error: OSError) -> None:
        self.error = f"its log could not be written: {error.strerror}"
        self.size = os.fstat(self.fd).st_size

    def close(self) -> tuple[bytes, int]:
        """Complete the file; its last bytes and where they begin."""
        if self._tails and not self.error:
            try:
                self._append_tails()
            except OSError as error:
                self._fail(error)
        for fd in self._tails:
            os.close(fd)
        offset = max(0, self.size - _TAIL_BYTES)
        try:
            tail = os.pread(self.fd, self.size - offset, offset)
        except OSError:
            tail = b""
        os.close(self.fd)
        return tail, offset

    def _append_tails(self) -> None:
        left_out = self.printed - self.size - self._in_tail - self._segment * (len(self._tails) - 1)
        if left_out:
            mark = f"\n[titan: {left_out} bytes are left out here; a log keeps some {self._limit}]\n".encode()
            _write_all(self.fd, mark)
            self.size += len(mark)
        for fd in self._tails:
            offset = 0
            while piece := os.pread(fd, _COPY_BYTES, offset):
                _write_all(self.fd, piece)
                offset += len(piece)
                self.size += len(piece)


class RotatingLog:
    """Takes what a service prints for as long as it lives: files of ``limit`` bytes each, ``count`` of them at most.

    The current one is at ``path``, which is made anew; a full one is renamed to ``path.1``, the next to ``path.2`` and
    so on, so that byte number n of the whole log is in file number n // limit + 1. The oldest go. ``size`` is that of
    the whole, whatever is still there. What cannot be written (the disk is full) is left out, and a mark says so once
    writing works again: a service may outlive that by months.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(self, path: str, limit: int, count: int) -> None:
        self.fd = _new_file(path)
        self._path = path
        self._limit = limit
        self._count = count
        self._in_file = 0
        self._left_out = 0
        self._again_at = 0.0
        self.size = 0
        self.printed = 0
        self.error = ""

    def write(self, chunk: bytes) -> None:
        """More output. An error does not hold the service up."""
        self.printed += len(chunk)
        if self.error:
            if time.monotonic() < self._again_at:
                self._left_out += len(chunk)
                return
            mark = f"\n[titan: {self._left_out} bytes are left out here; {self.error}]\n".encode()
            if not self._try(mark):
                self._left_out += len(chunk)
                return
            self.error, self._left_out = "", 0
        self._try(chunk)

    def _try(self, data: bytes) -> bool:
        """Whether all could be written."""
        try:
            while data:
                if self._in_file == self._limit:
                    self._rotate()
                piece = data[: self._limit - self._in_file]
                _write_all(self.fd, piece, self._in_file)
                self._in_file += len(piece)
                self.size += len(piece)
                data = data[len(piece) :]
        except OSError as error:
            if not self.error:  # else what is left of the mark is no output
                self._left_out = len(data)
            self.error = f"its log could not be written: {error.strerror}"
            self._again_at = time.monotonic() + _AGAIN_S
            return False
        return True

    def _rotate(self) -> None:
        number = self.size // self._limit
        try:
            os.rename(self._path, f"{self._path}.{number}")
        except FileNotFoundError:  # it was renamed already, and then no new one could be made
            pass
        fd = _new_file(self._path)
        os.close(self.fd)
        self.fd = fd
        self._in_file = 0
        if number >= self._count:
            try:
                os.unlink(f"{self._path}.{number - self._count + 1}")
            except FileNotFoundError:
                pass

    def close(self) -> tuple[bytes, int]:
        """The last bytes of the current file, and where they begin in all that was printed."""
        length = min(self._in_file, _TAIL_BYTES)
        try:
            tail = os.pread(self.fd, length, self._in_file - length)
        except OSError:
            tail = b""
        os.close(self.fd)
        return tail, self.size - len(tail)


def _new_file(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)


def _write_all(fd: int, data: bytes, offset: int = -1) -> None:
    """At the end, or at an offset: over what a write that failed may have left there."""
    written = 0
    while written < len(data):
        rest = data[written:] if written else data
        written += os.write(fd, rest) if offset < 0 else os.pwrite(fd, rest, offset + written)


def _nameless_file(beside: str) -> int:
    """A file on the same disk that is gone once it is closed."""
    path = f"{beside}.tail"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    os.unlink(path)
    return fd
