"""What a worker keeps from one start to the next: its name, and that only one process at a time goes by it."""

from __future__ import annotations

import fcntl
import os
import uuid
from pathlib import Path

from titan_core.filesys.atomic import replacing
from titan_sdk.errors import ConfigError, InvalidName
from titan_sdk.names import check_job_id


class WorkerState:
    """The folder ``<workspace>/worker-<port>`` of one worker: its id, spool, contents and process registry.

    Attributes:
        worker_id: lasts as long as the folder.
        boot_id: made anew at each start, so that the master can tell a restart from a reconnect.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spool = folder / "spool"
        self.contents = folder / "content"
        self.processes = folder / "processes"
        self.worker_id = ""
        self.boot_id = uuid.uuid4().hex
        self._lock_fd = -1

    def open(self) -> None:
        """Make the folder, take it for this process, and read or make the id.

        Raises:
            ConfigError: another worker uses it, or it cannot be used at all.
        """
        try:
            self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.mkdir(exist_ok=True)
            self._lock_fd = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.worker_id = self._read_or_make_id()
        except BlockingIOError:
            self.close()
            raise ConfigError(f"{self.folder} is in use by another worker; choose another port or workspace") from None
        except OSError as error:
            self.close()
            raise ConfigError(f"{self.folder} cannot be used: {error.strerror or error}") from None

    def close(self) -> None:
        """Give the folder free."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _read_or_make_id(self) -> str:
        path = self.folder / "worker_id"
        try:
            return check_job_id(path.read_text(encoding="utf-8").strip(), "worker id")
        except (FileNotFoundError, InvalidName, UnicodeDecodeError):
            worker_id = f"worker-{uuid.uuid4().hex[:16]}"
            with replacing(path) as file:
                file.write(f"{worker_id}\n".encode())
            return worker_id
