"""Unpacking an archive that somebody sent: nothing leaves the folder, nothing expands without end."""

from __future__ import annotations

import io
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from titan_sdk.errors import InvalidName, TitanError
from titan_sdk.names import check_relative_path

_BLOCK: Final = 256 * 1024
MAX_DIRECTORY_BYTES: Final = 8 * 1024 * 1024
"""Of the list of entries inside an archive; in memory it takes some fifteen times as much."""
_UNREADABLE: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    InvalidName,
    RuntimeError,
    ValueError,
)


class BadArchive(TitanError):
    """The archive is damaged, holds an entry that may not be, or is larger than the limits."""


@dataclass(frozen=True)
class ExtractLimits:
    """What an archive may expand to. Project sources are far below; a bomb is far above."""

    entries: int = 50_000
    total_bytes: int = 4 * 1024**3


def entry_names(archive: Path, limits: ExtractLimits | None = None) -> frozenset[str]:
    """The names of everything in an archive, which is not unpacked for that.

    Raises:
        BadArchive: not a zip, damaged, or with more entries than the limits.
    """
    with _opened(archive, limits or ExtractLimits()) as zipped:
        return frozenset(zipped.namelist())


def safe_extract(archive: Path, target: Path, limits: ExtractLimits | None = None) -> None:
    """Unpack ``archive`` into the new folder ``target``, whole or not at all.

    What the archive says of its sizes refuses it before anything is written; they are counted while unpacking all the
    same, since a header can lie. Permission bits are kept, so executables stay so.

    Raises:
        BadArchive: not a zip, damaged, encrypted, an absolute path, ``..``, a symbolic link or another special file,
            two entries in one place, or more than the limits. ``target`` does not exist then.
        FileExistsError: ``target`` is there already.
    """
    limits = limits or ExtractLimits()
    target.mkdir()
    try:
        with tempfile.TemporaryDirectory(prefix=".unpack", dir=target.parent) as scratch:
            root = Path(scratch) / "root"
            root.mkdir()
            with _opened(archive, limits) as zipped:
                _extract_all(zipped, root, limits)
            os.replace(root, target)
    except BaseException:
        shutil.rmtree(target)
        raise


class _BoundedReader(io.BufferedReader):
    """ZipFile reads an archive's list of entries at once, however long the archive says that it is."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_DIRECTORY_BYTES:
            raise BadArchive(f"its list of entries is over the limit of {MAX_DIRECTORY_BYTES} bytes")
        return super().read(size)


@contextmanager
def _opened(archive: Path, limits: ExtractLimits) -> Iterator[zipfile.ZipFile]:
    """The archive, with at most as many entries as the limits say; what zipfile cannot read is a BadArchive."""
    try:
        with _BoundedReader(io.FileIO(archive)) as file, zipfile.ZipFile(file) as zipped:
            if len(zipped.infolist()) > limits.entries:
                raise BadArchive(f"{len(zipped.infolist())} entries are over the limit of {limits.entries}")
            yield zipped
    except _UNREADABLE as error:
        raise BadArchive(f"it cannot be read as a zip: {error}") from None


def _extract_all(zipped: zipfile.ZipFile, root: Path, limits: ExtractLimits) -> None:
    entries = zipped.infolist()
    room = limits.total_bytes
    if sum(entry.file_size for entry in entries) > room:
        raise BadArchive(f"it expands to more than {room} bytes")
    for entry in entries:
        name = entry.filename.rstrip("/")
        check_relative_path(name, "archive entry")
        mode = entry.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise BadArchive(f"entry {name!r} is a link or a special file")
        if entry.flag_bits & 0x1:
            raise BadArchive(f"entry {name!r} is encrypted")
        place = root / name
        try:
            if entry.is_dir():
                place.mkdir(parents=True, exist_ok=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            with zipped.open(entry) as content, place.open("xb") as file:
                while block := content.read(_BLOCK):
                    room -= len(block)
                    if room < 0:
                        raise BadArchive(f"it expands to more than {limits.total_bytes} bytes")
                    file.write(block)
                if mode & 0o777:
                    os.fchmod(file.fileno(), mode & 0o777 | 0o600)
        except (FileExistsError, NotADirectoryError):
            raise BadArchive(f"two entries in the place of {name!r}") from None
