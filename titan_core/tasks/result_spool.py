"""Results on disk from the end of an attempt until the master's verdict on it, however long the master is away."""

from __future__ import annotations

import logging
import os
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Final

from titan_sdk.errors import BadMessage
from titan_sdk.messages import JobReport, Lease, Message, decode_message, encode_message

log = logging.getLogger(__name__)

_SUFFIX: Final = ".result"
_MAX_FILE_BYTES: Final = 1024 * 1024
"""A report with its piece of log is far below; a longer file is not ours and is not read into memory."""


class SpooledResult(Message):
    """A report that waits for its verdict. ``log_path``: the worker's log, for what the master lacks of it."""

    report: JobReport
    log_path: str = ""


class ResultSpool:
    """A folder with one small file for every result. Any thread may call; a lease is handled by one at a time.

    Files are written without fsync, before the result is sent. They outlive the death of the worker at any moment. A
    power cut may take a result with it: then its attempt counts as lost and the job runs again, as it would had the cut
    come an instant earlier, so an fsync for every job would buy nothing that the engine promises. A file torn by the
    worker's death is the same case: it is dropped.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._prefix = f"{folder}{os.sep}"

    def open(self) -> list[SpooledResult]:
        """Make the folder, and give what an earlier process of this worker left in it, oldest lease first."""
        self._folder.mkdir(parents=True, exist_ok=True)
        found = []
        for path in self._folder.glob(f"*{_SUFFIX}"):
            try:
                if path.stat().st_size > _MAX_FILE_BYTES:
                    raise BadMessage("too long")
                found.append(decode_message(path.read_bytes(), SpooledResult))
            except BadMessage as error:
                log.warning("%s: not a whole result, dropped: %s", path, error)
                path.unlink()
        found.sort(key=lambda result: result.report.lease.epoch)
        return found

    def put(self, result: SpooledResult) -> None:
        """Keep a result until ``remove``.

        Raises:
            OSError: the disk does not take it.
        """
        data = encode_message(result)
        fd = os.open(self._path(result.report.lease), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            while data:
                data = data[os.write(fd, data) :]
        finally:
            os.close(fd)

    def remove(self, lease: Lease) -> None:
        """The master has the result, or does not want it. Nothing happens when it is not here."""
        try:
            os.unlink(self._path(lease))
        except FileNotFoundError:
            pass

    def _path(self, lease: Lease) -> str:
        # Epochs of two masters that a worker served in turn may be equal, hence the job's checksum.
        return f"{self._prefix}{lease.epoch}-{lease.attempt}-{zlib.crc32(lease.job.encode()):08x}{_SUFFIX}"


def spooled_logs(folder: Path) -> list[Path]:
    """The logs of the results in a spool, which may be another worker's. Raises OSError."""
    found = []
    for path in folder.glob(f"*{_SUFFIX}"):
        with suppress(FileNotFoundError, BadMessage):  # answered for just now; or being written, then its job is in use
            if path.stat().st_size <= _MAX_FILE_BYTES:
                log_path = decode_message(path.read_bytes(), SpooledResult).log_path
                if log_path:
                    found.append(Path(log_path))
    return found
