"""One data directory, one master."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Final

from titan_core.storage.store import StoreError

LOCK_NAME: Final = "master.lock"


class DataDirLock:
    """An exclusive lock on a data directory, held as long as the process lives or until ``release``.

    ``flock`` belongs to the open file: the kernel drops it when the process ends, however it ends, so there is no stale
    lock to clean up. The file stays (removing it would let two masters lock two different files of that name) and
    holds the owner's pid for people.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / LOCK_NAME
        self._fd = -1

    def acquire(self) -> None:
        """Take the lock without waiting.

        Raises:
            StoreError: another process holds it, or the directory cannot be written.
        """
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"cannot lock the data directory: {self._path}: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            os.close(fd)
            who = f" (process {owner})" if owner else ""
            raise StoreError(f"the data directory {self._path.parent} is in use by another master{who}") from None
        except OSError as error:
            os.close(fd)
            raise StoreError(f"cannot lock the data directory: {self._path}: {error.strerror}") from error
        self._fd = fd
        with contextlib.suppress(OSError):  # The pid is for people; the lock is held without it, on a full disk too.
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the lock up; harmless when it is not held."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
