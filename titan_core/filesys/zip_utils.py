"""Unpacking an archive that somebody sent: nothing leaves the folder, nothing expands without end."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from titan_sdk.errors import InvalidName, TitanError
from titan_sdk.names import check_relative_path

_BLOCK = 256 * 1024


class BadArchive(TitanError):
    """The archive is damaged, holds an entry that may not be, or is larger than the limits."""


@dataclass(frozen=True)
class ExtractLimits:
    """What an archive may expand to. Project sources are far below; a bomb is far above."""

    entries: int = 50_000
    total_bytes: int = 4 * 1024**3


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
            with zipfile.ZipFile(archive) as zipped:
                _extract_all(zipped, root, limits)
            os.replace(root, target)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, InvalidName, RuntimeError) as error:
        shutil.rmtree(target)
        raise BadArchive(f"{archive.name}: {error}") from None
    except BaseException:
        shutil.rmtree(target)
        raise


def _extract_all(zipped: zipfile.ZipFile, root: Path, limits: ExtractLimits) -> None:
    entries = zipped.infolist()
    if len(entries) > limits.entries:
        raise BadArchive(f"{len(entries)} entries are over the limit of {limits.entries}")
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
