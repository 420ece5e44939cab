"""perm_files: the artifact registry, where people and submissions put scripts, projects and binaries."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from titan_core.filesys.atomic import replacing
from titan_sdk.errors import InvalidName, NotFound
from titan_sdk.messages import FileItem
from titan_sdk.names import check_file_name

STAGED: Final = "staged"
"""The sub-folder for what submissions bring along: it never takes the place of a file that a person put here."""


MAX_LISTED: Final = 10_000
"""Files in one listing, some 1 MB."""


class AssetManager:
    """Files by plain names, looked for at the top, then in the sub-folders in order, then in ``staged/``."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def open(self) -> None:
        (self._root / STAGED).mkdir(parents=True, exist_ok=True)

    def save(self, name: str, data: bytes, *, staged: bool = False) -> Path:
        """Put these bytes under a plain name; an older file of that name is replaced at once and whole.

        Raises:
            InvalidName: the name is a path, or no name at all, or a folder's.
        """
        target = self._target(name, staged)
        with replacing(target, durable=not staged) as file:
            file.write(data)
        return target

    def save_file(self, name: str, source: Path, *, staged: bool = False) -> Path:
        """Like save, from a file."""
        target = self._target(name, staged)
        with source.open("rb") as content, replacing(target, durable=not staged) as file:
            shutil.copyfileobj(content, file, 1024 * 1024)
        return target

    def find(self, name: str) -> Path:
        """The file of that name.

        Raises:
            InvalidName: the name is a path, or no name at all.
            NotFound: there is none.
        """
        check_file_name(name)
        top = self._root / name
        if top.is_file():
            return top
        staged = self._root / STAGED
        for folder, folders, files in os.walk(self._root):
            folders.sort()
            if Path(folder) == self._root and STAGED in folders:
                folders.remove(STAGED)
            if name in files:
                return Path(folder) / name
        if (staged / name).is_file():
            return staged / name
        raise NotFound(f"no file {name!r} in {self._root.name}/")

    def names(self) -> list[str]:
        """The names that find would find, sorted."""
        found: set[str] = set()
        for _, _, files in os.walk(self._root):
            found.update(name for name in files if not name.startswith("."))
        return sorted(found)

    def listing(self, *, staged: bool = False) -> list[FileItem]:
        """The MAX_LISTED first files by folder and name: those that people put here, or those of submissions."""
        found: list[FileItem] = []
        top = self._root / STAGED if staged else self._root
        for folder, folders, files in os.walk(top):
            folders[:] = sorted(name for name in folders if staged or Path(folder, name) != self._root / STAGED)
            for name in sorted(files):
                if name.startswith(".") or len(found) >= MAX_LISTED:
                    continue
                try:
                    status = os.stat(Path(folder, name))
                except OSError:  # removed just now
                    continue
                place = os.path.relpath(folder, self._root)
                found.append(
                    FileItem(
                        name=name,
                        size=status.st_size,
                        modified_at=status.st_mtime_ns // 1_000_000,
                        folder="" if place == "." else place,
                    )
                )
        return found

    def staged(self) -> list[Path]:
        """The files in ``staged/``, but for those being written."""
        folder = self._root / STAGED
        return [
            Path(entry.path)
            for entry in os.scandir(folder)
            if entry.is_file(follow_symlinks=False) and not entry.name.startswith(".")
        ]

    def _target(self, name: str, staged: bool) -> Path:
        check_file_name(name)
        target = self._root / STAGED / name if staged else self._root / name
        if target.is_dir():
            raise InvalidName(f"{name!r} is a folder in {self._root.name}/; a file cannot take its place")
        return target
