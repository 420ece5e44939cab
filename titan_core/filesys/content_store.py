"""Contents by SHA-256: scripts and archives travel and are kept once, whatever they are called."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from titan_core.filesys.atomic import replacing, sync_directory
from titan_sdk.errors import BadRequest, InvalidName, NotFound
from titan_sdk.messages import UploadState
from titan_sdk.names import check_sha256

MAX_CONTENT_BYTES: Final = 4 * 1024**3
"""A content is a script or a project, not a data set; this keeps one upload from filling a disk."""
ABANDONED_AFTER_S: Final = 24 * 3600
"""An upload that nobody went on with for a day is not going to be finished."""
_BLOCK: Final = 1024 * 1024
SMALL_BYTES: Final = 64 * 1024
"""Contents up to this size are kept in memory by ``small``: scripts, which many jobs share."""
_SMALL_KEPT: Final = 64
"""So many of them: 4 MiB at most."""


class StoredContent(NamedTuple):
    """A content on the disk. ``used_at``: of its last use, or when it came; epoch seconds."""

    sha256: str
    size: int
    used_at: float


class ContentStore:
    """A folder of immutable files named by their digest, ``ab/abcdef...``, and of uploads under way, ``partial/``.

    Safe for any number of threads. ``durable``: a content is on the disk (fsync) before anybody hears that it is
    stored; the master needs that for what it acknowledges, a worker's copy can be fetched again.
    """

    def __init__(self, root: Path, *, durable: bool = True) -> None:
        self._root = root
        self._prefix = f"{root}{os.sep}"
        self._partial = root / "partial"
        self._durable = durable
        self._lock = threading.Lock()
        self._uploads: dict[str, threading.Lock] = {}
        self._small: OrderedDict[str, bytes] = OrderedDict()
        self._named: set[str] = set()
        """Folders whose own names are known to be on the disk."""
        self._used: set[str] = set()
        """Asked for since ``note_uses``: what somebody was told is here stays here."""

    def open(self) -> None:
        """Make the folders, for this user alone, and drop what abandoned uploads and a crash left."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._partial.mkdir(exist_ok=True)
        if self._durable:
            sync_directory(self._root.absolute().parent)
        oldest = time.time() - ABANDONED_AFTER_S
        for left in self._partial.iterdir():
            if left.name.startswith(".") or left.stat().st_mtime < oldest:
                left.unlink()

    # --- what is here ---------------------------------------------------------------------------------------------

    def path(self, sha256: str) -> Path:
        """Where the content lies, or would lie.

        Raises:
            InvalidName: not a digest.
        """
        return Path(self._name(sha256))

    def _name(self, sha256: str) -> str:
        """The same as text, which every job needs: a Path costs more than the look at the file."""
        check_sha256(sha256)
        return f"{self._prefix}{sha256[:2]}{os.sep}{sha256}"

    def has(self, sha256: str) -> bool:
        name = self._name(sha256)
        with self._lock:
            here = os.path.isfile(name)
            if here:
                self._used.add(sha256)
        return here

    def size(self, sha256: str) -> int:
        """Bytes. Raises NotFound."""
        name = self._name(sha256)
        try:
            with self._lock:
                size = os.stat(name).st_size
                self._used.add(sha256)
        except FileNotFoundError:
            raise NotFound(f"no content {sha256}") from None
        return size

    def small(self, sha256: str, size: int) -> bytes | None:
        """A content of that size in whole, when it is here and has SMALL_BYTES at most; the latest cost no look at the
        disk. None: use ``path``."""
        data = self._small.get(sha256)
        if data is not None:
            self._used.add(sha256)
            return data
        if size > SMALL_BYTES:
            return None
        try:
            data = self.read(sha256, 0, SMALL_BYTES + 1)
        except NotFound:
            return None
        if len(data) > SMALL_BYTES:
            return None
        with self._lock:
            self._used.add(sha256)
            self._small[sha256] = data
            while len(self._small) > _SMALL_KEPT:
                self._small.popitem(last=False)
        return data

    def read(self, sha256: str, offset: int, limit: int) -> bytes:
        """At most ``limit`` bytes from ``offset``; empty at the end. Raises NotFound."""
        try:
            with self.path(sha256).open("rb") as file:
                return os.pread(file.fileno(), limit, offset)
        except FileNotFoundError:
            raise NotFound(f"no content {sha256}") from None

    def put_bytes(self, data: bytes) -> str:
        """Keep these bytes; their digest."""
        sha256 = hashlib.sha256(data).hexdigest()
        if not self.has(sha256):
            with replacing(self._prepare(sha256), durable=self._durable) as file:
                file.write(data)
        return sha256

    def put_file(self, source: Path) -> str:
        """Keep a copy of a file; its digest. The copy is digested, so a file that changes meanwhile does no harm."""
        self._partial.mkdir(parents=True, exist_ok=True)
        copy = self._partial / f".{threading.get_ident()}.{time.monotonic_ns()}"
        try:
            shutil.copyfile(source, copy)
            sha256 = file_digest(copy)
            self._adopt(copy, sha256)
        finally:
            with suppress(FileNotFoundError):
                copy.unlink()
        return sha256

    def append_upload(self, sha256: str, size: int, offset: int, data: bytes) -> UploadState:
        """Take the next piece of an upload; several uploaders of one content help each other along.

        A piece that does not begin where the upload stands is not taken: the answer says where to go on.

        Raises:
            BadRequest: a size out of bounds, more data than announced, or a digest that does not fit at the end (then
                the upload begins anew).
        """
        if not 0 <= size <= MAX_CONTENT_BYTES:
            raise BadRequest(f"a content of {size} bytes is over the limit of {MAX_CONTENT_BYTES}")
        with self._upload_lock(sha256):
            if self.has(sha256):
                return UploadState(received=size, complete=True)
            partial = self._partial / sha256
            with partial.open("ab") as file:
                received = file.tell()
                if offset != received:
                    return UploadState(received=received, complete=False)
                if received + len(data) > size:
                    raise BadRequest(f"{received + len(data)} bytes sent of a content announced with {size}")
                file.write(data)
                received += len(data)
            if received < size:
                return UploadState(received=received, complete=False)
            found = file_digest(partial)
            if found != sha256:
                partial.unlink()
                raise BadRequest(f"the upload of {sha256} has the digest {found}; it was dropped")
            self._adopt(partial, sha256)
            with self._lock:
                self._uploads.pop(sha256, None)
            return UploadState(received=size, complete=True)

    # --- what may go: see content_retention -----------------------------------------------------------------------

    def note_uses(self) -> None:
        """Make the times of contents those of their last use, to within the time since the last call."""
        with self._lock:
            used, self._used = self._used, set()
        # Meanwhile nothing is removed: who calls this does that too. ``small``, without the lock, may still add to it.
        for sha256 in list(used):
            with suppress(FileNotFoundError):
                os.utime(self._name(sha256))

    def stored(self) -> Iterator[StoredContent]:
        """Every content, in no order."""
        for folder in os.scandir(self._root):
            if len(folder.name) != 2 or not folder.is_dir(follow_symlinks=False):
                continue
            for entry in os.scandir(folder):
                with suppress(FileNotFoundError, InvalidName):
                    check_sha256(entry.name)
                    status = entry.stat(follow_symlinks=False)
                    yield StoredContent(entry.name, status.st_size, status.st_mtime)

    def remove(self, sha256: str, unused_since: float) -> bool:
        """Remove a content unless it was used after ``unused_since``, epoch seconds. Raises OSError."""
        name = self._name(sha256)
        with self._lock:
            if sha256 in self._used or not os.path.isfile(name) or os.stat(name).st_mtime > unused_since:
                return False
            os.unlink(name)
            self._small.pop(sha256, None)
        return True

    def drop_abandoned(self) -> None:
        """Remove what is here of uploads that nobody went on with. Raises OSError."""
        oldest = time.time() - ABANDONED_AFTER_S
        for left in list(self._partial.iterdir()):
            with self._upload_lock(left.name), suppress(FileNotFoundError):
                if left.stat().st_mtime < oldest:
                    left.unlink()

    def _upload_lock(self, sha256: str) -> threading.Lock:
        with self._lock:
            return self._uploads.setdefault(sha256, threading.Lock())

    def _prepare(self, sha256: str) -> Path:
        target = self.path(sha256)
        folder = target.parent
        folder.mkdir(parents=True, exist_ok=True)
        if self._durable and folder.name not in self._named:
            sync_directory(self._root)
            self._named.add(folder.name)
        return target

    def _adopt(self, file: Path, sha256: str) -> None:
        target = self._prepare(sha256)
        if self._durable:
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
        os.replace(file, target)
        if self._durable:
            sync_directory(target.parent)


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
