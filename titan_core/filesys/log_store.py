"""The master's copy of every attempt's output, kept by offset so that sending a piece twice does no harm."""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from pathlib import Path
from typing import Final, NamedTuple

_LOCKS: Final = 64
"""Locks are shared by hash of the attempt: enough that two busy jobs rarely meet, without one for each job ever run."""
_REMEMBERED: Final = 1000
"""Rotating logs whose files are known without looking."""
KEPT_ATTEMPTS: Final = 20
"""Of a service, which may be started again for ever, the latest attempts whose logs are kept; as many as are shown."""


class Rotation(NamedTuple):
    """A log without end goes on in a new file at so many bytes, and so many files of it are kept."""

    bytes: int
    files: int


class LogStore:
    """One file per attempt, ``<run>/<job>.<attempt>.log``; none for one that printed nothing. Any thread may call.

    The log of a service rotates: what begins at byte n, not 0, is in a file of the same name with ``.n`` at its end.

    Pieces are written, not synced: they outlive the master's death at once and a power cut within the time that the
    operating system takes; the worker keeps its own copy.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._prefix = f"{root}{os.sep}"
        self._locks = [threading.Lock() for _ in range(_LOCKS)]
        self._starts: dict[Path, list[int]] = {}
        """Where the files of rotating logs begin, ascending. An entry is changed with its log's lock held."""

    def open(self) -> None:
        """Make the folder, for this user alone."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, key: str, attempt: int) -> Path:
        """Where the log of attempt number ``attempt`` of the job ``run/job`` lies, or begins."""
        return Path(self._name(key, attempt))

    def _name(self, key: str, attempt: int) -> str:
        """The same as text, which every job needs: a Path costs more than the file."""
        run_id, job_id = key.split("/", 1)
        return f"{self._prefix}{run_id}{os.sep}{job_id}.{attempt}.log"

    def _lock(self, name: str) -> threading.Lock:
        return self._locks[hash(name) % _LOCKS]

    # --- writing --------------------------------------------------------------------------------------------------

    def append(
        self, key: str, attempt: int, offset: int, data: bytes, *, rotation: Rotation | None = None, gap: bool = False
    ) -> int:
        """Take bytes that begin at ``offset``; how much of the log is here now.

        What is here already is not written again, and a piece that would leave a gap is not taken unless it may: the
        answer says where the next piece should begin. With ``rotation`` the oldest part of the log may go.
        """
        name = self._name(key, attempt)
        with self._lock(name):
            if rotation is None:
                return _append(name, offset, data)
            path = Path(name)
            starts = self._known(path)
            size = starts[-1] + _size(_part(path, starts[-1]))
            if offset > size and not gap:
                return size
            if size == 0:
                self._drop_attempts(path, attempt - KEPT_ATTEMPTS)
            if offset > size or size - starts[-1] >= rotation.bytes:
                starts.append(max(offset, size))
                for start in starts[: -rotation.files]:
                    _part(path, start).unlink(missing_ok=True)
                del starts[: -rotation.files]
            return starts[-1] + _append(str(_part(path, starts[-1])), offset - starts[-1], data)

    def extend(self, key: str, attempt: int, data: bytes) -> int:
        """Append at the end, for peers that know no offsets; how much of the log is here now."""
        path = self.path(key, attempt)
        with self._lock(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                file.write(data)
                return file.tell()

    # --- reading --------------------------------------------------------------------------------------------------

    def read(self, key: str, attempt: int, offset: int, limit: int, *, rotates: bool = False) -> bytes:
        """At most ``limit`` bytes from ``offset`` on; empty when there are none (yet, or any more)."""
        name, start = self._name(key, attempt), 0
        if rotates:
            path = Path(name)
            starts = self._files(path)
            start = starts[max(0, bisect_right(starts, offset) - 1)]
            name = str(_part(path, start))
        if offset < start:
            return b""
        try:
            with open(name, "rb", buffering=0) as file:
                return os.pread(file.fileno(), limit, offset - start)
        except FileNotFoundError:
            return b""

    def size(self, key: str, attempt: int, *, rotates: bool = False) -> int:
        """Bytes so far, those that are gone included."""
        if not rotates:
            return _size(self._name(key, attempt))
        path = self.path(key, attempt)
        start = self._files(path)[-1]
        return start + _size(_part(path, start))

    def first(self, key: str, attempt: int) -> int:
        """Where the part of a rotating log begins that is still here."""
        return self._files(self.path(key, attempt))[0]

    # --- rotation -------------------------------------------------------------------------------------------------

    def _files(self, path: Path) -> list[int]:
        with self._lock(str(path)):
            return list(self._known(path))

    def _known(self, path: Path) -> list[int]:
        """Where the files of this log begin; 0 alone when there is none. With its lock held."""
        starts = self._starts.get(path)
        if starts is None:
            if len(self._starts) >= _REMEMBERED:
                self._starts.clear()
            prefix = f"{path.name}."
            found = [name[len(prefix) :] for name in _names(path.parent) if name.startswith(prefix)]
            starts = sorted(int(start) for start in found if start.isdecimal())
            if not starts or path.exists():
                starts.insert(0, 0)
            self._starts[path] = starts
        return starts

    def _drop_attempts(self, path: Path, last: int) -> None:
        """Remove the logs of this service's attempts up to number ``last``."""
        if last < 1:
            return
        job = path.name.rsplit(".", 2)[0]
        for name in _names(path.parent):
            number = name.removeprefix(f"{job}.").partition(".log")[0]
            if name.startswith(f"{job}.{number}.log") and number.isdecimal() and int(number) <= last:
                (path.parent / name).unlink(missing_ok=True)
                self._starts.pop(path.parent / f"{job}.{number}.log", None)


def _part(path: Path, start: int) -> Path:
    return path.with_name(f"{path.name}.{start}") if start else path


def _append(name: str, offset: int, data: bytes) -> int:
    try:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(name), exist_ok=True)
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        size = os.lseek(fd, 0, os.SEEK_END)
        if offset > size:
            return size
        rest = memoryview(data)[size - offset :]
        while rest:
            written = os.write(fd, rest)
            size += written
            rest = rest[written:]
        return size
    finally:
        os.close(fd)


def _size(path: Path | str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
